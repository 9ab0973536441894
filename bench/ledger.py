"""Queries of the ledger with 100, 10,000 and 1,000,000 windows: milliseconds, beside counting its rows.

Two times each: the clock's, and the processor's in the server process that answers, which other work on the machine
disturbs less.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import measuring
import typer
from measuring import AsJson, Figure, Repeat
from psycopg2 import errors
from psycopg2.extensions import cursor as Cursor

from highwater.airflow import catchup_control
from highwater.incidents import alerts
from highwater.model import clock
from highwater.recovery import backlog
from highwater.store import status, warehouse

DATASET = "hourly"
BASELINE, STATUS = "count the ledger", "highwater status"
STATUS_MOST = 100
"""Milliseconds."""
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

FILLED = """
TRUNCATE ops.window_ledger, ops.attempts, ops.skipped_windows, ops.incidents CASCADE;
DELETE FROM control.datasets WHERE dataset = 'hourly';
INSERT INTO control.datasets (dataset, dag_id, published_table, first_window, step)
VALUES ('hourly', 'historical_sales_migration', 'sales.hourly', %(first)s, '1 hour');
CREATE TEMPORARY TABLE windows ON COMMIT DROP AS
SELECT n, tstzrange(%(first)s + n * '1 hour'::interval, %(first)s + (n + 1) * '1 hour'::interval) AS window_range
FROM generate_series(0, %(windows)s - 1) AS n;
INSERT INTO ops.window_ledger
SELECT 'hourly', window_range, 1, 1000, 998, 1, 1, md5(n::text), NULL, 'set', 'historical_sales_migration',
    'scheduled__' || n, upper(window_range) + '5 minutes'::interval
FROM windows WHERE n %% 1000 NOT IN (25, 50, 75);
INSERT INTO ops.skipped_windows (dataset, window_range, rule, reason)
SELECT 'hourly', window_range, 'never there', 'the source has none' FROM windows WHERE n %% 1000 = 75;
INSERT INTO ops.attempts (
    dataset, window_range, stage, dag_id, run_id, try_number, host, pid, state, error, error_kind, started_at, ended_at
)
SELECT 'hourly', window_range, 'load', 'historical_sales_migration', 'scheduled__' || n, 1, 'bench', 1,
    CASE n %% 1000 WHEN 25 THEN 'failed' ELSE 'succeeded' END, CASE n %% 1000 WHEN 25 THEN 'row ' || n END,
    CASE n %% 1000 WHEN 25 THEN 'data rejected' END, upper(window_range), upper(window_range) + '5 minutes'::interval
FROM windows WHERE n %% 1000 NOT IN (50, 75);
"""
"""Of a thousand windows one failed, one never began and one is skipped by a rule; the others landed at the first
attempt."""

LANDING = """
INSERT INTO ops.window_ledger
SELECT 'hourly', window_range, 1, 1000, 998, 1, 1, 'x', NULL, 'set', 'dag', 'run', ops.clock()
FROM (VALUES (tstzrange(%(never_begun)s, %(never_begun)s + '1 hour'::interval))) AS w (window_range)
"""


def main(
    windows: Annotated[
        list[int] | None, typer.Option(help="Windows in the ledger; may be given several times.")
    ] = None,
    repeat: Repeat = 5,
    patience: Annotated[int, typer.Option(min=1, help="Seconds after which a query is cancelled.")] = 60,
    as_json: AsJson = False,
) -> None:
    """Measure each query at several sizes of the ledger, and a count of its rows in the same run."""
    found: dict[int, dict[str, Took]] = {}
    # Airflow's import messages are not part of the output.
    with redirect_stdout(sys.stderr), measuring.platform(HIGHWATER_HISTORY_DAYS="1", SIMULATION_ROWS_PER_DAY="10"):
        for size in windows or [100, 10_000, 1_000_000]:
            found[size] = _measure(size, repeat, patience)
    figures = [
        Figure(
            question,
            f"{size:,} windows",
            took.wall,
            BASELINE,
            measured[BASELINE].wall,
            "ms",
            most=STATUS_MOST if question == STATUS else None,
            more={"processor ms": took.cpu, "processor ratio": round(took.cpu / measured[BASELINE].cpu, 2)},
        )
        for size, measured in found.items()
        for question, took in measured.items()
        if question != BASELINE
    ]
    measuring.show(figures, as_json)


@dataclass(frozen=True)
class Took:
    """Wall-clock milliseconds, and CPU milliseconds of the server."""

    wall: float
    cpu: float


def _measure(size: int, repeat: int, patience: int) -> dict[str, Took]:
    """The median of each query; they take turns, so that a busy moment affects all."""
    first = clock.now().replace(minute=0, second=0, microsecond=0) - size * HOUR
    with warehouse.session("postgres") as cursor:
        cursor.execute(FILLED, {"first": first, "windows": size})
    with warehouse.autocommitting("postgres") as cursor:
        cursor.execute("VACUUM ANALYZE")
    took: dict[str, list[Took]] = {}
    too_long = set()
    for turn in range(repeat + 1):
        for question, (role, ask) in _questions(first, size).items():
            if question in too_long:
                continue
            with warehouse.session(role) as cursor:
                cursor.execute("SET LOCAL statement_timeout = %s", (1000 * patience,))
                began, busy = perf_counter(), _processor_ms(cursor)
                try:
                    ask(cursor)
                except errors.QueryCanceled:
                    cursor.connection.rollback()
                    too_long.add(question)
                once = Took(1000 * (perf_counter() - began), _processor_ms(cursor) - busy)
                # The first reconciliation opens the incidents, later ones find them open.
                if role == "postgres":
                    cursor.connection.rollback()
            # The first turn fills the caches.
            took.setdefault(question, []).extend([once] * (turn > 0 or question in too_long))
    return {
        question: Took(*(round(statistics.median(values), 3) for values in zip(*map(astuple, all_), strict=True)))
        for question, all_ in took.items()
    }


def _processor_ms(cursor: Cursor) -> float:
    """The CPU time of the session's server process so far, from Linux."""
    pid = cursor.connection.info.backend_pid
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6


def _questions(first: datetime, size: int) -> dict[str, tuple[str, Callable[[Cursor], object]]]:
    """Each query with its role."""
    from highwater.page import calendar, now
    from highwater.page.params import DayRange

    tomorrow = clock.now().replace(hour=0, minute=0, second=0, microsecond=0) + DAY
    middle = first + size // 2 * HOUR
    row = "SELECT * FROM ops.window_ledger WHERE dataset = %(dataset)s AND window_range @> %(since)s::timestamptz"
    values = {"dataset": DATASET, "since": middle, "never_begun": first + 50 * HOUR}

    def run(statement: str) -> Callable[[Cursor], object]:
        def ask(cursor: Cursor) -> object:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else None

        return ask

    def days(count: int) -> Callable[[Cursor], object]:
        def ask(cursor: Cursor) -> object:
            warehouse.run_file(cursor, "page/datasets.sql")
            known = [row for row in warehouse.fetch_all(cursor) if row.dataset == DATASET]
            cells = calendar.read(cursor, known, DayRange(tomorrow - count * DAY, tomorrow, folded=True))
            return cells, calendar.totals(cursor, known)

        return ask

    def the_page_now(cursor: Cursor) -> object:
        warehouse.run_file(cursor, "page/datasets.sql")
        return now.read(cursor, warehouse.fetch_all(cursor))

    return {
        BASELINE: ("analyst", run("SELECT count(*) FROM ops.window_ledger")),
        "one ledger row": ("analyst", run(row)),
        STATUS: ("analyst", _status),
        "ops.gaps": ("analyst", run("SELECT * FROM ops.gaps")),
        "the page: 30 days": ("analyst", days(30)),
        "the page: 365 days": ("analyst", days(365)),
        "the page: one window": ("analyst", run(warehouse.read_sql("page/window.sql"))),
        "the page: now": ("analyst", the_page_now),
        "a landing's ledger row": ("postgres", run(LANDING)),
        "catchup_control: gaps to fill": ("loader", catchup_control.gaps_to_fill),
        "recovery: backlog": ("loader", lambda cursor: backlog.backlog(cursor, DATASET, backlog.MOST_CRITICAL)),
        "incidents: a look": ("loader", run("SELECT * FROM ops.reconcile_incidents()")),
    }


def _status(cursor: Cursor) -> Any:
    """All queries of ``highwater status``."""
    found = status.read(cursor)
    return found, status.troubles(cursor, found), alerts.open_incidents(cursor), alerts.undelivered(cursor)


if __name__ == "__main__":
    typer.run(main)
