"""What the DAG catchup_control does: announces policy changes, requests backfills of gaps, resumes stopped datasets."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from psycopg2.extensions import cursor as Cursor

from highwater.backfill import requests
from highwater.backfill.requests import Request
from highwater.model.windows import Grid, Window, window_of
from highwater.policy import file
from highwater.store import breakers, warehouse

log = logging.getLogger(__name__)

WHO = "catchup_control"


@dataclass(frozen=True)
class Change:
    """A row of control.catchup_policy_history: a change of a policy or rule, with user, time and reason."""

    change_id: int
    what: str
    dataset: str | None
    changed_at: datetime
    changed_by: str
    old: dict[str, Any] | None
    new: dict[str, Any] | None
    reason: str | None
    announced_at: datetime | None

    def __str__(self) -> str:
        """One line: time, user, old and new values, reason."""
        old, new = self.old or {}, self.new or {}
        parts = [
            f"{name} {file.shown(old.get(name), name)} -> {file.shown(new.get(name), name)}"
            for name in dict.fromkeys([*old, *new])
            if old.get(name) != new.get(name)
        ]
        why = f": {self.reason}" if self.reason else ""
        about = f"{self.what} of {self.dataset or 'every dataset'}"
        return f"{self.changed_at:%Y-%m-%d %H:%M:%S} {self.changed_by}, {about}: {', '.join(parts)}{why}"


@dataclass(frozen=True)
class Gap:
    """A range of windows that the policy wants and the schedule has passed."""

    dataset: str
    dag_id: str
    frontier: datetime
    from_time: datetime
    to_time: datetime
    windows: int


def announce(cursor: Cursor) -> list[Change]:
    """The changes that were not announced yet; marks them as announced."""
    cursor.execute("SELECT * FROM control.announce_changes()")
    return [warehouse.as_dataclass(Change, row) for row in warehouse.fetch_all(cursor)]


def history(cursor: Cursor, dataset: str | None = None, most: int = 50) -> list[Change]:
    """The latest changes of the policies and rules of a dataset, or of all, the newest last."""
    cursor.execute(
        "SELECT * FROM control.catchup_policy_history WHERE %(dataset)s IS NULL OR dataset IS NULL"
        " OR dataset = %(dataset)s ORDER BY change_id DESC LIMIT %(most)s",
        {"dataset": dataset, "most": most},
    )
    return [warehouse.as_dataclass(Change, row) for row in warehouse.fetch_all(cursor)][::-1]


def gaps_to_fill(cursor: Cursor, live: Mapping[str, Collection[Window]] | None = None) -> list[Gap]:
    """The windows that the policy wants and that Airflow will create no run for any more.

    Those of ``live``, by dataset, may still be landed by unfinished runs: they are left out.
    """
    waiting = {
        dataset: "{" + ",".join(f"[{each.start.isoformat()},{each.end.isoformat()})" for each in windows) + "}"
        for dataset, windows in (live or {}).items()
    }
    warehouse.run_file(cursor, "policy/gaps_to_fill.sql", {"live": json.dumps(waiting)})
    return [warehouse.as_dataclass(Gap, row) for row in warehouse.fetch_all(cursor)]


def windows_of_live_runs(gap: Gap, grid: Grid, newest_before: Callable[[datetime], datetime | None]) -> set[Window]:
    """The windows of a gap that unfinished runs may still land.

    ``newest_before`` returns the logical date of the newest such run before a moment. A run loads the window that
    contains its logical date, so a run outside of the gap, or without a logical date, does not matter.
    """
    found: set[Window] = set()
    moment = gap.to_time
    while (logical_date := newest_before(moment)) is not None and logical_date >= gap.from_time:
        window = window_of(logical_date, grid)
        found.add(window)
        moment = window.start
    return found


def fill(cursor: Cursor, gap: Gap) -> int:
    """Request a backfill of a gap; returns its number.

    Raises:
        ConfigurationError: it is refused; says why.
    """
    reason = _why(cursor, gap)
    wanted = Request(gap.dataset, gap.from_time, gap.to_time, via="policy", reason=reason, requested_by=WHO)
    return requests.request(cursor, wanted)


@dataclass(frozen=True)
class Resumed:
    """A dataset whose breaker has closed: the windows from ``from_time`` on were not tried and are requested now."""

    breaker_id: int
    dataset: str
    reason: str
    from_time: datetime
    to_time: datetime


def close_changed_breakers() -> list[Resumed]:
    """Close the breakers whose cause has changed; returns each dataset until `resume` has requested its windows."""
    with warehouse.session("loader") as cursor:
        cursor.execute("SELECT dataset FROM ops.breakers WHERE closed_at IS NULL ORDER BY dataset")
        open_ones = [row.dataset for row in warehouse.fetch_all(cursor)]
    for dataset in open_ones:
        if why := breakers.still_stopped(dataset):
            log.warning("%s", why)
    with warehouse.session("loader") as cursor:
        warehouse.run_file(cursor, "policy/resumed.sql")
        return [warehouse.as_dataclass(Resumed, row) for row in warehouse.fetch_all(cursor)]


def resume(cursor: Cursor, resumed: Resumed) -> int | None:
    """Request a backfill of the windows that were not tried; returns its number, or None if there are no such windows.

    Raises:
        ConfigurationError: it is refused now; says why.
    """
    number = None
    if resumed.from_time < resumed.to_time:
        reason = f"something changed: {resumed.reason}"[:1000]
        wanted = Request(
            resumed.dataset, resumed.from_time, resumed.to_time, via="policy", reason=reason, requested_by=WHO
        )
        to_load = [window for window in requests.plan(cursor, wanted).windows if window.action == requests.LOAD]
        if to_load:
            begin, end = min(window.start for window in to_load), max(window.end for window in to_load)
            number = requests.request(cursor, replace(wanted, from_time=begin, to_time=end))
    cursor.execute("SELECT ops.breaker_resumed(%s)", (resumed.breaker_id,))
    return number


def windows_to_try(cursor: Cursor) -> list[Request]:
    """A request for one window of each stopped dataset that is due for a test whether it works again."""
    warehouse.run_file(cursor, "policy/windows_to_try.sql")
    # Not via 'policy', which skips windows that wait for a person.
    return [
        Request(
            row.dataset, row.from_time, row.to_time, via="sql", requested_by=WHO,
            reason=f"to test whether it works again: {row.reason}"[:1000],
        )
        for row in warehouse.fetch_all(cursor)
    ]  # fmt: skip


def _why(cursor: Cursor, gap: Gap) -> str:
    """Why a gap is filled: the schedule is past it; and who switched catch-up on again, if it was off."""
    cursor.execute(
        "SELECT changed_at, changed_by FROM control.catchup_policy_history WHERE what = 'policy' AND dataset = %s"
        " AND old ->> 'enabled' = 'false' AND new ->> 'enabled' = 'true' AND changed_at >= %s"
        " ORDER BY change_id DESC LIMIT 1",
        (gap.dataset, gap.from_time),
    )
    switched = warehouse.fetch(cursor)
    since = f"; catch-up is on again since {switched[0]:%Y-%m-%d %H:%M} by {switched[1]}" if switched else ""
    return f"the schedule of {gap.dag_id} has passed these windows, it is at {gap.frontier:%Y-%m-%d %H:%M}{since}"


def as_json(changes: list[Change]) -> str:
    """The changes as JSON."""
    return json.dumps([vars(change) for change in changes], default=str, indent=2)
