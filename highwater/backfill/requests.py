"""A backfill: what would run and why, asking for one, how far it is, ending it. Thin over the SQL of the same names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import psycopg2
from psycopg2.extensions import cursor as Cursor

from highwater.environment import commands
from highwater.model import estimates
from highwater.model.errors import ConfigurationError, HighwaterError
from highwater.store import driver_errors, warehouse

DAG = "selective_backfill"
LOAD, SKIP = "load", "skip"
WHICH = ("missing", "failed", "all")
CLOSED_DAYS = (SKIP, LOAD)
DIRECTIONS = ("oldest", "newest")
ON_FAILURE = ("continue", "stop")
MOST_ACTIVE = 8
"""What a backfill may say, for the form to offer. The warehouse is who refuses, and a test holds the two together."""
OVER = ("done", "failed", "cancelled")
"""The states in which nothing more happens by itself."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PlanChanged(HighwaterError):
    """What would run is not what was shown: look again, and say so again."""


@dataclass(frozen=True)
class Request:
    """What somebody asks for: windows of a dataset that lie wholly in ``[from_time, to_time)``."""

    dataset: str
    from_time: datetime
    to_time: datetime
    which: str = "missing"
    excluded_dates: Sequence[date] = ()
    weekdays: Sequence[int] | None = None
    closed_days: str = SKIP
    direction: str = "oldest"
    via: str = "cli"
    reason: str = ""
    requested_by: str = ""
    max_active: int = 3
    on_failure: str = "continue"

    def values(self) -> dict[str, Any]:
        """As the statements bind them."""
        return vars(self) | {
            "excluded_dates": list(self.excluded_dates),
            "weekdays": None if self.weekdays is None else list(self.weekdays),
        }


class Planned(NamedTuple):
    """A window of a plan: what happens to it, by which rule if it is skipped, and why."""

    start: datetime
    end: datetime
    action: str
    rule: str | None
    reason: str


@dataclass(frozen=True)
class Plan:
    """Every window that a request reaches, in the order of loading, and the plan's fingerprint."""

    windows: list[Planned]
    fingerprint: str

    @property
    def to_load(self) -> int:
        """How many of them are to be loaded."""
        return sum(window.action == LOAD for window in self.windows)

    def difference(self, later: Plan) -> list[tuple[Planned | None, Planned]]:
        """The windows to which something else happens in a later plan, as they were (None: not there) and as they are.

        One that is gone from the later plan comes as skipped.
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
    """Every window the request reaches and what would happen to it. Changes nothing.

    Raises:
        ConfigurationError: what was asked for cannot be meant, or another backfill has some of it: what asking for it
            would say.
    """
    same: dict[str | None, str | None] = {LOAD: LOAD, SKIP: SKIP}
    windows = []
    # Streamed, in plain tuples, each text kept once: a plan may have a hundred thousand windows.
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
    """See whether who, why and how are said as they must be, before a plan is shown.

    Raises:
        ConfigurationError: they are not; what asking for it would say.
    """
    with in_words():
        cursor.execute(
            "SELECT control.check_order(%(reason)s, %(requested_by)s, %(max_active)s, %(on_failure)s, %(via)s)",
            wanted.values(),
        )


def request(cursor: Cursor, wanted: Request, *, shown: Plan | None = None, run_id: str | None = None) -> int:
    """Ask for a backfill; returns its number. It runs exactly the plan ``shown``, or not at all.

    The caller commits. ``run_id`` is the run of Airflow that asks, if one does.

    Raises:
        ConfigurationError: it is refused; says why.
        PlanChanged: the plan is not the one that was shown any more.
    """
    values = wanted.values() | {"plan_shown": shown and shown.fingerprint, "dag_run_id": run_id}
    with in_words():
        warehouse.run_file(cursor, "ops/request_backfill.sql", values)
        return int(warehouse.fetch_value(cursor))


def progress(cursor: Cursor, backfill: int) -> dict[str, Any]:
    """How far a backfill is: its row of ops.backfill_progress.

    Raises:
        ConfigurationError: there is none of that number; names the latest.
    """
    cursor.execute("SELECT * FROM ops.backfill_progress WHERE backfill_id = %s", (backfill,))
    row = warehouse.fetch(cursor)
    if row is None:
        cursor.execute("SELECT backfill_id FROM control.backfills ORDER BY 1 DESC LIMIT 5")
        latest = ", ".join(str(other) for (other,) in cursor.fetchall()) or "none"
        raise ConfigurationError(f"there is no backfill {backfill}; the latest are: {latest}")
    return dict(row._asdict())


def sentence(now: dict[str, Any]) -> str:
    """How far a backfill is, in one line."""
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
    """The latest backfills, newest first; with ``active`` those only in which something may still happen."""
    cursor.execute(
        "SELECT * FROM ops.backfill_progress WHERE NOT (%s AND state = ANY(%s)) ORDER BY backfill_id DESC LIMIT %s",
        (active, list(OVER), most),
    )
    return [dict(row._asdict()) for row in warehouse.fetch_all(cursor)]


def windows(cursor: Cursor, backfill: int) -> list[dict[str, Any]]:
    """Each window of a backfill in the order of loading: what was to happen to it and why, and what became of it."""
    cursor.execute(
        'SELECT place, lower(window_range) AS start, upper(window_range) AS "end", action, rule, reason, state, error,'
        " version, started_at, ended_at FROM ops.backfill_windows WHERE backfill_id = %s ORDER BY place",
        (backfill,),
    )
    return [dict(row._asdict()) for row in warehouse.fetch_all(cursor)]


def missing(cursor: Cursor, datasets: Sequence[str], reason: str, by: str) -> list[Request]:
    """A request for what is missing of each of the datasets, or of all: from its first gap to the end of its last.

    Raises:
        ConfigurationError: there is no such dataset, or it has no windows; lists those that have.
    """
    cursor.execute("SELECT dataset FROM control.datasets WHERE grid = 'fixed' ORDER BY dataset")
    known = [dataset for (dataset,) in cursor.fetchall()]
    if strange := [dataset for dataset in datasets if dataset not in known]:
        raise ConfigurationError(f"dataset {strange[0]!r} has no windows to load; those that have: {', '.join(known)}")
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
    """The windows of a backfill that failed, by their starts, each with its error."""
    cursor.execute(
        "SELECT lower(window_range), error FROM control.backfill_windows"
        " WHERE backfill_id = %s AND state = 'failed' ORDER BY place",
        (backfill,),
    )
    return [(start, error) for start, error in cursor.fetchall()]


def change(cursor: Cursor, verb: str, backfill: int, by: str) -> None:
    """Cancel, pause or resume a backfill. The caller commits.

    Raises:
        ConfigurationError: there is none of that number, or its state forbids it.
    """
    statement = {
        "cancel": "SELECT control.cancel_backfill(%s, %s)",
        "pause": "SELECT control.pause_backfill(%s, %s)",
        "resume": "SELECT control.resume_backfill(%s, %s)",
    }[verb]
    with in_words():
        cursor.execute(statement, (backfill, by))


def note_not_started(cursor: Cursor, backfill: int, why: str) -> None:
    """Write beside a backfill why Airflow has not started a run for it. The caller commits."""
    cursor.execute("SELECT control.note_not_started(%s, %s)", (backfill, why))


def cancelling(cursor: Cursor, backfill: int) -> str:
    """What cancelling it does, and what it does not undo: for a person who is asked whether to.

    Raises:
        ConfigurationError: there is none of that number, or its state forbids it: what `change` would say.
    """
    now = progress(cursor, backfill)
    with in_words():
        cursor.execute(
            "SELECT control.refuse_state(b, 'cancelled') FROM control.backfills AS b WHERE b.backfill_id = %s",
            (backfill,),
        )
    in_work = f" {now['running']:,} in work finish first." if now["running"] else ""
    landed = (
        f" It undoes nothing: what has landed so far ({now['landed']:,}) stays"
        f" ({commands.typed('rollback')} puts the former version of a window back)."
        if now["landed"]
        else " Nothing of it has landed so far."
    )
    return (
        f"Cancelling backfill {backfill} of {now['dataset']} is final: {now['planned']:,} of its"
        f" {now['windows_total']:,} windows are not begun, and it cannot be resumed; a paused one can.{in_work}{landed}"
    )


def conf_of(cursor: Cursor, backfill: int) -> tuple[str, dict[str, Any]]:
    """What starts a run of Airflow for a backfill: the run's id, the same for the same start, and its conf."""
    cursor.execute("SELECT * FROM control.backfills WHERE backfill_id = %s", (backfill,))
    return _conf(warehouse.fetch(cursor))


def waiting(cursor: Cursor) -> list[tuple[str, dict[str, Any]]]:
    """The same for each backfill that waits for a run: asked for, or paused by a policy that wants it again."""
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
    """The backfills in which nothing has lived for a while, by number, each with the run of Airflow that has it."""
    cursor.execute("SELECT backfill_id, dag_run_id FROM ops.silent_backfills ORDER BY backfill_id")
    return [(number, run_id) for number, run_id in cursor.fetchall()]


def end_without_run(cursor: Cursor, backfill: int, run_id: str, *, is_known: bool) -> None:
    """End, or have begun again, what a run left that will not end it itself any more. The caller commits.

    ``is_known``: whether Airflow knows the run, which has ended then; if it does not, another one is asked for.
    """
    cursor.execute("SELECT control.end_without_run(%s, %s, %s)", (backfill, run_id, is_known))


@contextmanager
def in_words() -> Iterator[None]:
    """SQLSTATE HW03x is a refusal of the backfill's; the rest is as it is."""
    try:
        yield
    except psycopg2.Error as error:
        if error.pgcode == "HW032":
            raise PlanChanged(driver_errors.said(error)) from error
        if (error.pgcode or "").startswith("HW03"):
            raise ConfigurationError(driver_errors.said(error)) from error
        if isinstance(error, psycopg2.errors.InsufficientPrivilege):
            raise ConfigurationError(f"this login may not do that: {driver_errors.said(error)}") from error
        raise
