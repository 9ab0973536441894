"""Rollback of a window to a former version: preview, execution, and pruning of old versions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from highwater.model import moments
from highwater.model.errors import ConfigurationError
from highwater.model.windows import Grid, Window
from highwater.store import ledger, warehouse
from highwater.store.publish import in_words, retry_when_busy

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Version:
    """A version of a window, current or former."""

    version: int
    rows_published: int
    rows_quarantined: int
    content_hash: str
    run_id: str
    landed_at: datetime


@dataclass(frozen=True)
class Plan:
    """What a rollback would do: ``former`` replaces ``present``, with the numbers of rows removed and added."""

    dataset: str
    window: Window
    present: Version
    former: Version
    replaced_at: datetime
    rows_going: int
    rows_coming: int


@dataclass(frozen=True)
class Done:
    """A rollback that was carried out: a row of ops.rollbacks."""

    rollback_id: int
    from_version: int
    to_version: int
    as_version: int
    content_hash: str


def plan(dataset: str, name: str, to: int | None = None) -> Plan:
    """Preview a rollback of a window; changes nothing.

    Args:
        dataset: the dataset of the window.
        name: the window, see `window_named`.
        to: the version to restore; None for the newest that is kept.

    Raises:
        ConfigurationError: unknown dataset, or the name is not that of a window.
        DataRejected: it cannot be rolled back; says why, and the way out.
    """
    with in_words(), warehouse.session("analyst") as cursor:
        cursor.execute("SELECT ops.assert_keeps_versions(%s)", (dataset,))
        window = window_named(name, dataset, ledger.grid(cursor, dataset))
        cursor.execute(
            "SELECT (t.target).version AS target FROM ops.rollback_target(%s, %s, %s) AS t",
            (dataset, ledger.as_range(window), to),
        )
        cursor.execute(
            "SELECT v.version, v.rows_published, v.rows_quarantined, v.content_hash, v.run_id, v.landed_at,"
            " v.replaced_at FROM ops.versions AS v WHERE v.dataset = %s AND v.window_range = %s"
            " AND (v.state = 'published' OR (v.state = 'kept' AND v.version = %s)) ORDER BY v.version DESC",
            (dataset, ledger.as_range(window), warehouse.fetch_value(cursor)),
        )
        published, kept = warehouse.fetch_all(cursor)
        cursor.execute(
            "SELECT rows_going, rows_coming FROM ops.rollback_difference(%s, %s, %s)",
            (dataset, ledger.as_range(window), kept.version),
        )
        difference = warehouse.fetch(cursor)
    present, former = _version(published), _version(kept)
    return Plan(dataset, window, present, former, kept.replaced_at, difference.rows_going, difference.rows_coming)


@retry_when_busy
def carry_out(wanted: Plan, by: str, reason: str) -> Done:
    """Do what the plan shows, in one transaction; waits for locks of other sessions, within bounds.

    Raises:
        DataRejected: the window is at another version now, or can no longer be rolled back.
        Busy: readers held the published table for too long.
    """
    with in_words(), warehouse.session("operator") as cursor:
        cursor.execute(
            "SELECT rollback_id, from_version, to_version, as_version, content_hash"
            " FROM ops.rollback_window(%s, %s, %s, %s, %s, %s)",
            (
                wanted.dataset,
                ledger.as_range(wanted.window),
                by,
                reason,
                wanted.present.version,
                wanted.former.version,
            ),
        )
        return warehouse.as_dataclass(Done, warehouse.fetch(cursor))


def prune() -> int:
    """Drop expired versions; returns their number. One that is being read is left for the next time."""
    pruned = 0
    while True:
        with warehouse.session("loader") as cursor:
            cursor.execute("SELECT ops.prune_versions()")
            if not (dropped := warehouse.fetch_value(cursor)):
                return pruned
        pruned += dropped


def window_named(name: str, dataset: str, grid: Grid) -> Window:
    """The window that begins at ``2026-10-24``, ``2026-10-24T06:00``, or is ``2026-10-24T06:00/2026-10-24T12:00``.

    A day alone names a window only on a grid of whole days; a moment without an offset is in UTC. The warehouse checks
    whether the window is on the grid.

    Raises:
        ConfigurationError: it is not one of these forms; shows an example.
    """
    start, slash, end = name.strip().partition("/")
    try:
        begins = moments.moment(start, "window")
        ends = moments.moment(end, "window") if slash else None
    except ConfigurationError:
        raise ConfigurationError(
            f"invalid window {name!r} of {dataset}: expected its start, such as {_example(grid)}, yesterday or 10d"
        ) from None
    if ends is None and grid.step % DAY and moments.is_day(start):
        raise ConfigurationError(
            f"{name!r} contains several windows of {dataset}: expected the start of one, such as {_example(grid)}"
        )
    try:
        return Window(begins, begins + grid.step if ends is None else ends)
    except OverflowError:
        raise ConfigurationError(f"invalid window {name!r} of {dataset}: its end is beyond the calendar") from None


def _version(row: Any) -> Version:
    return Version(row.version, row.rows_published, row.rows_quarantined, row.content_hash, row.run_id, row.landed_at)


def _example(grid: Grid) -> str:
    return f"{grid.first:%Y-%m-%d}" if not grid.step % DAY else f"{grid.first:%Y-%m-%dT%H:%M}"
