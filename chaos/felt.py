"""What the faults of a stretch have done so far."""

from __future__ import annotations

from collections.abc import Callable

from chaos.backup import Backup

MISSED = "missed: nobody was there to feel it"


class Felt:
    """What a schedule has done so far, for the checks to judge by.

    How many processes that may have been about to send a message were killed, what is to be healed at the end, and the
    backup of the sources from before the stretch, where the schedule restores one.
    """

    def __init__(self, backup: Backup | None = None) -> None:
        self.senders_killed = 0
        self.heals: list[Callable[[], None]] = []
        self.backup = backup

    def heal(self) -> None:
        """Heal what lasts until the end."""
        while self.heals:
            self.heals.pop()()
