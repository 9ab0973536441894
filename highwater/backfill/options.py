"""The options of a backfill: names, values, defaults and help, shared by the command line, the form and the page.

The warehouse enforces the same values (``control.check_backfill``, ``control.check_order``); a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """An option with a fixed list of values.

    Attributes:
        title: its label in a form.
        help: what it is for, in one sentence.
        labels: what each value means, by value.
        default: the value if none is given.
    """

    title: str
    help: str
    labels: Mapping[str, str]
    default: str

    @property
    def values(self) -> list[str]:
        """Its values, in the order in which a form lists them."""
        return list(self.labels)

    @property
    def display(self) -> dict[str, str]:
        """What a form shows for each value."""
        return {value: f"{value}: {label}" for value, label in self.labels.items()}

    @property
    def usage(self) -> str:
        """Its values and what they mean, for the help of a command line."""
        return f"{'; '.join(self.display.values())}."


WHICH = Choice(
    "Which windows",
    "While a window is reloaded, its current rows stay readable.",
    {
        "missing": "due and not landed",
        "failed": "of those, only the ones whose latest attempt failed",
        "all": "landed ones are loaded again too",
    },
    "missing",
)
CLOSED_DAYS = Choice(
    "Closed days",
    "What to do with the days of control.closed_days.",
    {"skip": "leave them out", "load": "load them like any other day"},
    "skip",
)
DIRECTION = Choice(
    "Order",
    "Newest first brings the most recent days back soonest.",
    {"oldest": "oldest window first", "newest": "newest window first"},
    "oldest",
)
ON_FAILURE = Choice(
    "When a window fails",
    "Either way nothing of it is published, and its current version is kept.",
    {
        "continue": "continue with the others",
        "stop": "stop; resume continues at the window that failed",
    },
    "continue",
)
CHOICES = {"which": WHICH, "closed_days": CLOSED_DAYS, "direction": DIRECTION, "on_failure": ON_FAILURE}
"""By the field of a request."""


@dataclass(frozen=True)
class Number:
    """An option that is a whole number from ``least`` to ``most``."""

    title: str
    help: str
    default: int
    least: int
    most: int


MAX_ACTIVE = Number(
    "Windows at once",
    "Number of windows loaded in parallel; scheduled runs have slots of their own.",
    default=3,
    least=1,
    most=8,
)
