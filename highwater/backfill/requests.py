"""Backfills: plan, request, follow and end them. A thin layer over the SQL functions of the same names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import psycopg2
from psycopg2.extensions import cursor as Cursor

from highwater.backfill import options
from highwater.environment import commands
from highwater.model import estimates
from highwater.model.errors import ConfigurationError, HighwaterError
from highwater.store import driver_errors, warehouse

DAG = "selective_backfill"
LOAD, SKIP = "load", "skip"
OVER = ("done", "failed", "cancelled")
"""The states in which nothing more happens automatically."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PlanChanged(HighwaterError):
    """The plan changed since it was shown: show it again, and let the user confirm it again."""


@dataclass(frozen=True)
class Request:
    """A request for the windows of a dataset that lie wholly in ``[from_time, to_time)``."""

    dataset: str
    from_time: datetime
    to_time: datetime
    which: str = options.WHICH.default
    excluded_dates: Sequence[date] = ()
    weekdays: Sequence[int] | None = None
    closed_days: str = options.CLOSED_DAYS.default
    direction: str = options.DIRECTION.default
    via: str = "cli"
    reason: str = ""
    requested_by: str = ""
    max_active: int = options.MAX_ACTIVE.default
    on_failure: str = options.ON_FAILURE.default

    def values(self) -> dict[str, Any]:
        """The fields as parameters of the SQL statements."""
        return vars(self) | {
            "excluded_dates": list(self.excluded_dates),
            "weekdays": None if self.weekdays is None else list(self.weekdays),
        }


class Planned(NamedTuple):
    """A window of a plan: its action, the rule if it is skipped, and the reason."""

    start: datetime
    end: datetime
    action: str
    rule: str | None
    reason: str


@dataclass(frozen=True)
class Plan:
    """Every window in the range of a request, in the order of loading, and the plan's fingerprint."""

    windows: list[Planned]
    fingerprint: str

    @property
    def to_load(self) -> int:
        """Number of windows to load."""
        return sum(window.action == LOAD for window in self.windows)

    def difference(self, later: Plan) -> list[tuple[Planned | None, Planned]]:
        """The windows whose action or rule differs in a later plan, each as it was (None: not there) and as it is.

        A window that the later plan lacks is returned as skipped.
        """
        before = {window.start: window for window in self.windows}
        changed: list[tuple[Planned | None, Planned]] = []
        for window in later.windows:
            former = before.pop(window.start, None)
            if former is None or (former.action, former.rule) != (window.action, window.rule):
                changed.append((former, window))
        gone = [window._replace(action=SKIP, rule="gone", reason="no window of it") for window in before.values()]
        return changed + [(before[window.start], window) for window in gone]


def plan(cursor: Cursor, request: Request) -> Plan:
    """Every window in the range of the request and what would happen to it. Changes nothing.

    Raises:
        ConfigurationError: the request is invalid, or another backfill has some of its windows; the message is that of
            `request`.
    """
    same: dict[str | None, str | None] = {LOAD: LOAD, SKIP: SKIP}
    windows = []
    # Streamed as plain tuples with interned texts: a plan may have a hundred thousand windows.
    with in_words(), cursor.connection.cursor("plan", cursor_factory=Cursor) as stream:
        stream.itersize = 5000
        warehouse.run_file(stream, "ops/plan_backfill.sql", request.values())
        _, step, fingerprint, _, refusal = stream.fetchone() or ()
        if refusal is not None:
            raise ConfigurationError(refusal)
        length = timedelta(microseconds=step)
        for _, start, action, rule, reason in stream:
            begins = _EPOCH + timedelta(microseconds=start)
            texts = (same.setdefault(text, text) for text in (action, rule, reason))
            windows.append(Planned(begins, begins + length, *texts))  # type: ignore[arg-type]
    return Plan(windows, fingerprint)


def check(cursor: Cursor, wanted: Request) -> None:
    """Check the fields that do not choose windows (reason, user, options), before a plan is shown.

    Raises:
        ConfigurationError: one is invalid; the message is that of `request`.
    """
    with in_words():
        cursor.execute(
            "SELECT control.check_order(%(reason)s, %(requested_by)s, %(max_active)s, %(on_failure)s, %(via)s)",
            wanted.values(),
        )


def request(cursor: Cursor, wanted: Request, *, shown: Plan | None = None, run_id: str | None = None) -> int:
    """Request a backfill; returns its number. With ``shown``, it runs exactly that plan or is refused.

    The caller commits. ``run_id`` is the Airflow run that makes the request, if one does.

    Raises:
        ConfigurationError: it is refused; says why.
        PlanChanged: the plan differs from the one that was shown.
    """
    values = wanted.values() | {"plan_shown": shown and shown.fingerprint, "dag_run_id": run_id}
    with in_words():
        warehouse.run_file(cursor, "ops/request_backfill.sql", values)
        return int(warehouse.fetch_value(cursor))


def progress(cursor: Cursor, backfill: int) -> dict[str, Any]:
    """The progress of a backfill: its row of ops.backfill_progress.

    Raises:
        ConfigurationError: no backfill has that number; names the latest.
    """
    cursor.execute("SELECT * FROM ops.backfill_progress WHERE backfill_id = %s", (backfill,))
    row = warehouse.fetch(cursor)
    if row is None:
        cursor.execute("SELECT backfill_id FROM control.backfills ORDER BY 1 DESC LIMIT 5")
        latest = ", ".join(str(other) for (other,) in cursor.fetchall()) or "none"
        raise ConfigurationError(f"there is no backfill {backfill}; the latest are: {latest}")
    return dict(row._asdict())


def sentence(now: dict[str, Any]) -> str:
    """The progress of a backfill in one line."""
    rest = estimates.rest_in_words(now["at_least"], now["at_most"])
    rate = f"; {now['windows_per_minute']:g} windows a minute" if now["windows_per_minute"] else ""
    note = f"; {now['note']}" if now["note"] else ""
    ended = f" since {now['ended_at']:%Y-%m-%d %H:%M}, counted then" if now["ended_at"] and not now["running"] else ""
    return (
        f"backfill {now['backfill_id']} of {now['dataset']} is {now['state']}{ended}: {now['landed']:,} landed, "
        f"{now['failed']:,} failed, {now['skipped']:,} skipped, {now['running']:,} running, {now['planned']:,} planned "
        f"of {now['windows_total']:,}{rate}{f', {rest} left' if rest else ''}{note}"
    )


def latest(cursor: Cursor, most: int, *, active: bool = False) -> list[dict[str, Any]]:
    """The progress of the latest backfills, newest first; with ``active`` only of those that are not over."""
    cursor.execute(
        "SELECT * FROM ops.backfill_progress WHERE NOT (%s AND state = ANY(%s)) ORDER BY backfill_id DESC LIMIT %s",
        (active, list(OVER), most),
    )
    return [dict(row._asdict()) for row in warehouse.fetch_all(cursor)]


def windows(cursor: Cursor, backfill: int) -> list[dict[str, Any]]:
    """Each window of a backfill in the order of loading: the planned action with its reason, and the result."""
    cursor.execute(
        'SELECT place, lower(window_range) AS start, upper(window_range) AS "end", action, rule, reason, state, error,'
        " version, started_at, ended_at FROM ops.backfill_windows WHERE backfill_id = %s ORDER BY place",
        (backfill,),
    )
    return [dict(row._asdict()) for row in warehouse.fetch_all(cursor)]


def missing(cursor: Cursor, datasets: Sequence[str], reason: str, by: str) -> list[Request]:
    """One request per dataset with gaps, of those named or of all: from its first gap to the end of its last.

    Raises:
        ConfigurationError: an unknown dataset, or one without windows; lists those that have windows.
    """
    cursor.execute("SELECT dataset FROM control.datasets WHERE grid = 'fixed' ORDER BY dataset")
    known = [dataset for (dataset,) in cursor.fetchall()]
    if strange := [dataset for dataset in datasets if dataset not in known]:
        raise ConfigurationError(f"dataset {strange[0]!r} has no windows to load: expected one of {', '.join(known)}")
    cursor.execute(
        "SELECT g.dataset, min(g.gap_start) AS first, max(g.gap_end) AS last FROM ops.gaps AS g"
        " INNER JOIN control.datasets AS d USING (dataset) WHERE g.dataset = ANY(%s) GROUP BY g.dataset, d.critical"
        " ORDER BY d.critical DESC, g.dataset",
        (list(datasets) or known,),
    )
    return [
        Request(row.dataset, row.first, row.last, via="recovery", reason=reason, requested_by=by)
        for row in warehouse.fetch_all(cursor)
    ]


def failures(cursor: Cursor, backfill: int) -> list[tuple[datetime, str]]:
    """The start and error of each failed window of a backfill."""
    cursor.execute(
        "SELECT lower(window_range), error FROM control.backfill_windows"
        " WHERE backfill_id = %s AND state = 'failed' ORDER BY place",
        (backfill,),
    )
    return [(start, error) for start, error in cursor.fetchall()]


def change(cursor: Cursor, verb: str, backfill: int, by: str) -> None:
    """Cancel, pause or resume a backfill, by the ``verb``. The caller commits.

    Raises:
        ConfigurationError: no backfill has that number, or its state forbids it.
    """
    statement = {
        "cancel": "SELECT control.cancel_backfill(%s, %s)",
        "pause": "SELECT control.pause_backfill(%s, %s)",
        "resume": "SELECT control.resume_backfill(%s, %s)",
    }[verb]
    with in_words():
        cursor.execute(statement, (backfill, by))


def note_not_started(cursor: Cursor, backfill: int, why: str) -> None:
    """Record why Airflow has not started a run for a backfill. The caller commits."""
    cursor.execute("SELECT control.note_not_started(%s, %s)", (backfill, why))


def cancelling(cursor: Cursor, backfill: int) -> str:
    """What cancelling a backfill does and does not undo, for the confirmation prompt.

    Raises:
        ConfigurationError: no backfill has that number, or its state forbids it; the message is that of `change`.
    """
    now = progress(cursor, backfill)
    with in_words():
        cursor.execute(
            "SELECT control.refuse_state(b, 'cancelled') FROM control.backfills AS b WHERE b.backfill_id = %s",
            (backfill,),
        )
    in_work = f" {now['running']:,} running windows finish first." if now["running"] else ""
    landed = (
        f" It undoes nothing: the {now['landed']:,} windows that have landed are kept"
        f" ({commands.typed('rollback')} restores the former version of a window)."
        if now["landed"]
        else " None of its windows has landed."
    )
    return (
        f"Cancelling backfill {backfill} of {now['dataset']} is final: {now['planned']:,} of its"
        f" {now['windows_total']:,} windows will not be loaded, and it cannot be resumed. A paused one can."
        f"{in_work}{landed}"
    )


def conf_of(cursor: Cursor, backfill: int) -> tuple[str, dict[str, Any]]:
    """The id and conf of the Airflow run to trigger for a backfill. The id is the same for the same start."""
    cursor.execute("SELECT * FROM control.backfills WHERE backfill_id = %s", (backfill,))
    return _conf(warehouse.fetch(cursor))


def waiting(cursor: Cursor) -> list[tuple[str, dict[str, Any]]]:
    """The same for each backfill that waits for a run: requested, or paused by a policy that wants it again."""
    cursor.execute("SELECT * FROM control.backfills_to_start() ORDER BY backfill_id")
    return [_conf(row) for row in warehouse.fetch_all(cursor)]


def _conf(row: Any) -> tuple[str, dict[str, Any]]:
    conf = {
        "backfill_id": row.backfill_id,
        "dataset": row.dataset,
        "first_day": row.from_time.date().isoformat(),
        "last_day": (row.to_time - timedelta(microseconds=1)).date().isoformat(),
        "reason": row.reason,
    }
    return f"backfill_{row.backfill_id}_{row.starts}", conf


def silent(cursor: Cursor) -> list[tuple[int, str]]:
    """The backfills without a live lane for a while: the number and the Airflow run of each."""
    cursor.execute("SELECT backfill_id, dag_run_id FROM ops.silent_backfills ORDER BY backfill_id")
    return [(number, run_id) for number, run_id in cursor.fetchall()]


def end_without_run(cursor: Cursor, backfill: int, run_id: str, *, is_known: bool) -> None:
    """End or restart a backfill whose run will not end it any more. The caller commits.

    ``is_known``: whether Airflow knows the run, which has ended then. If it does not, another run is requested.
    """
    cursor.execute("SELECT control.end_without_run(%s, %s, %s)", (backfill, run_id, is_known))


@contextmanager
def in_words() -> Iterator[None]:
    """Translates the warehouse's refusals.

    Raises:
        PlanChanged: SQLSTATE HW032.
        ConfigurationError: any other SQLSTATE HW03x, or a missing privilege.
        psycopg2.Error: any other error, unchanged.
    """
    try:
        yield
    except psycopg2.Error as error:
        if error.pgcode == "HW032":
            raise PlanChanged(driver_errors.said(error)) from error
        if (error.pgcode or "").startswith("HW03"):
            raise ConfigurationError(driver_errors.said(error)) from error
        if isinstance(error, psycopg2.errors.InsufficientPrivilege):
            raise ConfigurationError(f"this login lacks the privilege: {driver_errors.said(error)}") from error
        raise
