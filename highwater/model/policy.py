"""Which windows a policy wants of a dataset: ``control.policy_verdict`` in Python, for use without the warehouse."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from highwater.model.errors import ConfigurationError
from highwater.model.windows import Grid, Window

MAX_AGE, MAX_WINDOWS, WEEKDAYS, CLOSED_DAYS = "max_age", "max_windows", "skip_weekdays", "skip_closed_days"
"""The rules that leave windows out, the strongest first; named like the columns of control.catchup_policies."""

DAY = timedelta(days=1)
LONGEST = timedelta(days=36_600)
"""The longest span of a policy, as in ``control.is_usual_span``."""
FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2999, 12, 31)
"""The range of closed days, as in ``control.is_usual_day``."""
DAY_NAMES = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")


@dataclass(frozen=True)
class Verdict:
    """Why a window is left out, and the moment up to which the same rule leaves out those after it."""

    rule: str
    reason: str
    until: datetime


@dataclass(frozen=True)
class Policy:
    """A row of control.catchup_policies with the grid and the closed days of its dataset.

    ``is_on``: whether missing windows are loaded automatically now; ``off_because``: why not.
    """

    dataset: str
    grid: Grid
    due_after: timedelta = timedelta(0)
    max_age: timedelta | None = None
    max_age_text: str = ""
    max_windows: int | None = None
    skip_weekdays: frozenset[int] = frozenset()
    closed_days: tuple[tuple[date, str], ...] = ()
    is_on: bool = True
    off_because: str | None = None

    def verdict(self, window: Window, now: datetime) -> Verdict | None:
        """The rule that leaves out a window of the grid; None if it is wanted."""
        if self.max_age is not None:
            left_out = -((self.grid.first - (now - self.max_age)) // self.grid.step) - 1
            until = self.grid.first + left_out * self.grid.step
            if window.end <= until:
                return Verdict(MAX_AGE, f"it ended more than {self.max_age_text} ago", until)
        if self.max_windows is not None:
            # Counted in windows: max_windows as a time span could overflow.
            due = (self.due_until(now) - self.grid.first) // self.grid.step
            until = self.grid.first + max(0, due - self.max_windows) * self.grid.step
            if window.end <= until:
                return Verdict(MAX_WINDOWS, f"it is not among the newest {self.max_windows} due windows", until)
        if (until := self._skipped_until(window, frozenset())) >= window.end:
            names = ", ".join(DAY_NAMES[day - 1] for day in sorted(self.skip_weekdays))
            return Verdict(WEEKDAYS, f"the policy skips {names}", until)
        if self.closed_days and (until := self._skipped_until(window, self._closed())) >= window.end:
            closed = [f"{day} is closed: {why}" for day, why in self.closed_days if _touches(window, day)]
            return Verdict(CLOSED_DAYS, ", ".join(closed), until)
        return None

    def due_until(self, now: datetime) -> datetime:
        """The start of the first window that is not due yet, as in ``control.due_until``."""
        due = max(0, (now - self.due_after - self.grid.first) // self.grid.step)
        return self.grid.first + due * self.grid.step

    def _closed(self) -> frozenset[date]:
        return frozenset(day for day, _why in self.closed_days)

    def _skipped_until(self, window: Window, closed: frozenset[date]) -> datetime:
        """The end of the consecutive windows from this one on that touch only skipped days; its start if none does."""
        moment = datetime.combine(window.start.date(), time(), tzinfo=window.start.tzinfo)
        while moment.isoweekday() in self.skip_weekdays or moment.date() in closed:
            moment += DAY
        return max(window.start, self.grid.first + (moment - self.grid.first) // self.grid.step * self.grid.step)


def read(text: str) -> dict[str, Policy]:
    """The policies in the JSON of ``highwater/sql/ops/policies.sql``, by dataset.

    Raises:
        ValueError: it is not a list of policies, or one of them cannot be read: names it.
    """
    known, problems = read_each(text)
    for dataset, problem in problems.items():
        raise ValueError(f"the policy of {dataset} cannot be read: {problem}")
    return known


def read_each(text: str) -> tuple[dict[str, Policy], dict[str, str]]:
    """The policies that can be read, by dataset; and, of those that cannot, what is wrong with them.

    Raises:
        ValueError: it is not a list of policies.
    """
    rows = json.loads(text)
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and isinstance(row.get("dataset"), str) for row in rows
    ):
        raise ValueError(f"expected a list of policies, got {text[:100]!r}")
    known: dict[str, Policy] = {}
    problems: dict[str, str] = {}
    for row in rows:
        try:
            known[row["dataset"]] = _policy(row)
        except (KeyError, TypeError, ValueError, OverflowError, ConfigurationError) as error:
            problems[row["dataset"]] = _problem(error)
    return known, problems


def _problem(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _policy(row: dict[str, Any]) -> Policy:
    max_age = None if row["max_age"] is None else timedelta(seconds=row["max_age"])
    if max_age is not None and not timedelta(0) < max_age <= LONGEST:
        raise ValueError(f"invalid max_age {max_age}: expected more than 0 and at most {LONGEST.days} days")
    return Policy(
        row["dataset"],
        Grid(_first_window(row["first_window"]), timedelta(seconds=row["step"])),
        timedelta(seconds=row["due_after"]),
        max_age,
        row["max_age_text"] or "",
        row["max_windows"],
        frozenset(row["skip_weekdays"]),
        tuple((date.fromisoformat(day), why) for day, why in row["closed_days"]),
        row["is_on"],
        row["off_because"],
    )


def _first_window(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"invalid first_window {text!r}: expected a moment between 1900 and 2999") from None


def _touches(window: Window, day: date) -> bool:
    midnight = datetime.combine(day, time(), tzinfo=window.start.tzinfo)
    return midnight < window.end and window.start < midnight + DAY
