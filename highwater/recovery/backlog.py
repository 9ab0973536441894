"""Recovery after an outage: the backlog, the windows that are lost, the progress, and the integrity of the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg2.extensions import cursor as Cursor

from highwater.loading.stages import Pipeline
from highwater.model import clock, estimates
from highwater.model.errors import IntegrityBroken
from highwater.model.windows import Window
from highwater.recovery.checks import Check, NoGaps
from highwater.store import ledger, publish, statements, warehouse
from highwater.store.ledger import Run

MOST_CRITICAL = 500
"""The number of critical windows planned at once; the next run plans the rest."""
LOST = "lost"
"""The rule that skips windows which the source no longer keeps."""
FIRST_LOAD = "first load of history"
"""The kind of incident that is not a trouble: windows that were due before the first start."""


@dataclass(frozen=True)
class Recovered:
    """A pipeline that a recovery loads, and the checks of what it has loaded; gaps are always checked."""

    pipeline: Pipeline
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """The windows of one pipeline that a recovery has loaded, with a snapshot of their source."""

    recovered: Recovered
    source: Cursor
    windows: Sequence[Window]


@dataclass(frozen=True)
class Progress:
    """The progress of a recovery; once ``recovered_at`` is set, its result."""

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
        """One line: what is done, the rate, and the estimate of the rest."""
        rest = estimates.rest_in_words(self.at_least, self.at_most)
        rate = f"{self.windows_per_minute:g} windows a minute, " if self.windows_per_minute else ""
        is_first = self.kind == FIRST_LOAD
        end = (
            f"{'loaded' if is_first else 'recovered'} at {self.recovered_at:%Y-%m-%d %H:%M:%S}, counted then"
            if self.recovered_at
            else f"{rest} left"
            if rest
            else "too few landed to estimate the rest"
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
    """At most ``most`` due windows of a dataset that have not landed, in the order of loading.

    Windows that were refused are left out, except the one that contains ``own``.
    """
    values = {"dataset": dataset, "most": most, "newest": newest, "own": own}
    warehouse.run_file(cursor, "recovery/backlog.sql", values)
    return [Window(row.window_start, row.window_end) for row in warehouse.fetch_all(cursor)]


def is_behind(cursor: Cursor, dataset: str, own: datetime | None) -> bool:
    """Whether a later run than that of the logical date ``own`` is due by now; False for a run without one."""
    if own is None:
        return False
    return own + 2 * ledger.grid(cursor, dataset).step + ledger.due_after(cursor, dataset) <= clock.now()


def give_up_lost(source: Cursor, pipeline: Pipeline, windows: Sequence[Window], run: Run) -> list[Window]:
    """Skip the windows that the source no longer keeps, by the rule ``lost``; returns the others."""
    kept_from = statements.ask_one(source, f"{pipeline.folder}/kept_from.sql").kept_from
    kept = []
    for window in windows:
        if kept_from is None or window.start >= kept_from:
            kept.append(window)
        else:
            reason = f"the source keeps nothing before {kept_from:%Y-%m-%d %H:%M} UTC"
            publish.skip_window(pipeline.dataset, window, LOST, reason, run)
    return kept


def progress(cursor: Cursor) -> Progress | None:
    """The progress of the newest recovery or first load of history; None if there was neither."""
    cursor.execute("SELECT * FROM ops.recovery_progress ORDER BY incident_id DESC LIMIT 1")
    row = warehouse.fetch(cursor)
    return warehouse.as_dataclass(Progress, row) if row else None


def recent(cursor: Cursor) -> list[Progress]:
    """The recoveries and first loads that are under way or ended in the last day, oldest first."""
    warehouse.run_file(cursor, "ops/recent_recoveries.sql")
    return [warehouse.as_dataclass(Progress, row) for row in warehouse.fetch_all(cursor)]


def check_integrity(loaded: Sequence[Loaded], target: Cursor, run: Run) -> None:
    """Run the checks of each pipeline on the windows that were loaded, record a verdict for each check, and commit.

    Raises:
        IntegrityBroken: a check failed; names each dataset, check and problem.
    """
    found = []
    for each in loaded:
        dataset = each.recovered.pipeline.dataset
        for check in (*each.recovered.checks, NoGaps()) if each.windows else ():
            problem = check.problem(each.recovered.pipeline, each.source, target, each.windows)
            target.execute(
                "SELECT ops.record_integrity_check(%s, %s, %s::tstzrange[], %s, %s, %s)",
                (
                    dataset,
                    check.name,
                    [ledger.as_range(window) for window in each.windows],
                    "failed" if problem else "passed",
                    problem or "",
                    run.run_id,
                ),
            )
            if problem:
                found.append(f"{dataset}, {check.name}: {problem}")
    target.connection.commit()
    if found:
        raise IntegrityBroken("; ".join(found))
