"""Back after an outage: what is still to land, what can no longer be had, how far it is, and whether it is whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg2.extensions import cursor as Cursor

from highwater.model import clock, estimates
from highwater.model.errors import IntegrityBroken
from highwater.model.windows import Window
from highwater.sources import sources
from highwater.store import ledger, publish, statements, warehouse
from highwater.store.ledger import Run

FOLDER = "system_recovery_processing"
CRITICAL, NON_CRITICAL = "payments", "page_views"
MOST_CRITICAL = 500
"""So many critical windows are planned at once; what is more is found by the next run."""
TOLERANCE = 0.001
"""The share of page views that source and warehouse may differ by."""
LOST = "lost"
FIRST_LOAD = "first load of history"
"""The kind of incident that is none: windows that were due before the first start."""


@dataclass(frozen=True)
class Progress:
    """How far a recovery is; with ``recovered_at``, what it had come to then."""

    incident_id: int
    outage_from: datetime
    outage_to: datetime
    found_at: datetime
    recovered_at: datetime | None
    critical_done: int
    critical_total: int
    non_critical_done: int
    non_critical_total: int
    lost: int
    windows_per_minute: float | None
    eta: timedelta | None
    attempts: int
    failures: int
    kind: str
    at_least: timedelta | None
    at_most: timedelta | None

    def __str__(self) -> str:
        """One line: what is done, how fast, and when the rest may be."""
        rest = estimates.rest_in_words(self.at_least, self.at_most)
        rate = f"{self.windows_per_minute:g} windows a minute, " if self.windows_per_minute else ""
        is_first = self.kind == FIRST_LOAD
        end = (
            f"{'loaded' if is_first else 'recovered'} at {self.recovered_at:%Y-%m-%d %H:%M:%S}, counted then"
            if self.recovered_at
            else f"{rest} left"
            if rest
            else "too few landed to say how much is left"
        )
        lost = f", {self.lost} lost" if self.lost else ""
        return (
            f"{FIRST_LOAD if is_first else 'outage'}"
            f" {self.outage_from:%Y-%m-%d %H:%M} to {self.outage_to:%Y-%m-%d %H:%M}: "
            f"critical {self.critical_done}/{self.critical_total}, "
            f"non-critical {self.non_critical_done}/{self.non_critical_total}{lost}, "
            f"{rate}{end}; "
            f"{self.attempts} attempts, {self.failures} failed"
        )


def backlog(
    cursor: Cursor, dataset: str, most: int, *, newest: bool = False, own: datetime | None = None
) -> list[Window]:
    """The due windows of a dataset that are still to land, at most so many, in the order in which to load them.

    Windows that were refused are left out, but for the one that holds ``own``.
    """
    values = {"dataset": dataset, "most": most, "newest": newest, "own": own}
    warehouse.run_file(cursor, "recovery/backlog.sql", values)
    return [Window(row.window_start, row.window_end) for row in warehouse.fetch_all(cursor)]


def is_behind(cursor: Cursor, dataset: str, own: datetime | None) -> bool:
    """Whether a later run than that of the logical date ``own`` is due by now; False for a run without one."""
    if own is None:
        return False
    return own + 2 * ledger.grid(cursor, dataset).step + ledger.due_after(cursor, dataset) <= clock.now()


def give_up_lost(source: Cursor, dataset: str, windows: Sequence[Window], run: Run) -> list[Window]:
    """Record the windows that the source no longer keeps as skipped by the rule ``lost``; returns the others."""
    kept_from = statements.ask_one(source, f"{FOLDER}/{dataset}/kept_from.sql").kept_from
    kept = []
    for window in windows:
        if kept_from is None or window.start >= kept_from:
            kept.append(window)
        else:
            reason = f"the source keeps nothing before {kept_from:%Y-%m-%d %H:%M} UTC"
            publish.skip_window(dataset, window, LOST, reason, run)
    return kept


def progress(cursor: Cursor) -> Progress | None:
    """How far the recovery that was found last is, or the first load of history; None where there was neither."""
    cursor.execute("SELECT * FROM ops.recovery_progress ORDER BY incident_id DESC LIMIT 1")
    row = warehouse.fetch(cursor)
    return Progress(*row) if row else None


def recent(cursor: Cursor) -> list[Progress]:
    """The recoveries and first loads under way, and what those came to that were over in the last day, oldest first."""
    warehouse.run_file(cursor, "ops/recent_recoveries.sql")
    return [Progress(*row) for row in warehouse.fetch_all(cursor)]


def check_integrity(
    *, billing: Cursor, web: Cursor, target: Cursor, critical: Sequence[Window], others: Sequence[Window], run: Run
) -> None:
    """Compare what was loaded with its sources, store a verdict for each check, and commit.

    Raises:
        IntegrityBroken: names each check that failed, the window and both counts.
    """
    problems = {
        ("payments", "equal to the source"): _unequal_payments(billing, target, critical),
        ("payments", "orders are there"): _orphans(target, critical),
        ("payments", "windows without gap or overlap"): _holes(target, CRITICAL, critical),
        ("page_views", "windows without gap or overlap"): _holes(target, NON_CRITICAL, others),
        ("page_views", "within tolerance of the source"): _unequal_views(web, target, others),
    }
    for (dataset, name), problem in problems.items():
        windows = critical if dataset == CRITICAL else others
        if windows:
            target.execute(
                "SELECT ops.record_integrity_check(%s, %s, %s::tstzrange[], %s, %s, %s)",
                (
                    dataset,
                    name,
                    [ledger.as_range(window) for window in windows],
                    "failed" if problem else "passed",
                    problem or "",
                    run.run_id,
                ),
            )
    target.connection.commit()
    if found := [f"{dataset}, {name}: {problem}" for (dataset, name), problem in problems.items() if problem]:
        raise IntegrityBroken("; ".join(found))


def _unequal_payments(source: Cursor, target: Cursor, windows: Sequence[Window]) -> str | None:
    if not windows:
        return None
    stretch = _stretch(windows)
    refused = statements.ask_one(target, f"{FOLDER}/payments/refused.sql", stretch).refused
    there = _totals(source, "payments/source_totals.sql", stretch | {"refused": refused})
    here = _totals(target, "payments/published_totals.sql", stretch)
    for window in windows:
        expected, found = there.get(window.start, (0, 0)), here.get(window.start)
        if found is not None and found != expected:
            return (
                f"{window} has {found[0]} payments of {found[1] / 100:.2f} together, "
                f"its source {expected[0]} of {expected[1] / 100:.2f}"
            )
    return None


def _unequal_views(source: Cursor, target: Cursor, windows: Sequence[Window]) -> str | None:
    if not windows:
        return None
    stretch = _stretch(windows)
    there = _totals(source, "page_views/source_totals.sql", stretch)
    here = _totals(target, "page_views/published_totals.sql", stretch)
    for window in windows:
        (expected,), found = there.get(window.start, (0,)), here.get(window.start)
        if found is not None and abs(found[0] - expected) > TOLERANCE * max(expected, 1):
            return f"{window} has {found[0]} views, its source {expected}"
    return None


def _orphans(target: Cursor, windows: Sequence[Window]) -> str | None:
    if not windows:
        return None
    count = statements.ask_one(target, f"{FOLDER}/payments/orphans.sql", _stretch(windows)).orphans
    return f"{count} payments are for orders that should be there and are not" if count else None


def _holes(target: Cursor, dataset: str, windows: Sequence[Window]) -> str | None:
    """Whether between the first and the last of the windows every one landed, once, or is skipped by a rule."""
    if not windows:
        return None
    stretch = _stretch(windows)
    target.execute(
        "SELECT count(*) AS gaps, min(gap_start) AS first_gap FROM ops.gaps"
        " WHERE dataset = %(dataset)s AND window_range && tstzrange(%(window_start)s, %(window_end)s)",
        stretch | {"dataset": dataset},
    )
    row = warehouse.fetch(target)
    return f"{row.gaps} gaps, the first at {row.first_gap:%Y-%m-%d %H:%M}" if row.gaps else None


def _totals(cursor: Cursor, statement: str, values: dict[str, Any]) -> dict[datetime, tuple[Any, ...]]:
    rows = statements.ask(cursor, f"{FOLDER}/{statement}", values)
    return {
        row.window_start: (row.row_count, *([row.hundredths] if hasattr(row, "hundredths") else [])) for row in rows
    }


def _stretch(windows: Sequence[Window]) -> dict[str, Any]:
    return sources.bounds(Window(min(windows).start, max(windows).end))
