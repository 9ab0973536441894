"""Errors of the page: a status and a sentence, never a traceback."""

from __future__ import annotations


class Problem(Exception):
    """A request that is refused or cannot be answered; its sentence is shown to the user, or sent as JSON."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
