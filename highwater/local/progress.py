"""How far the catch-up of a dataset is: the ledger's counts, and which runs Airflow has given up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TypeVar

import psycopg2
import tenacity
from psycopg2.extensions import cursor as Cursor

from highwater.environment import settings
from highwater.store import driver_errors, warehouse

T = TypeVar("T")

PATIENCE = 120.0
"""Seconds that a warehouse which does not answer is asked again; then it is said to be away."""


@dataclass(frozen=True)
class Progress:
    """The windows of one dataset that are due, their rows, and the runs that work on them."""

    runs_active: int
    due: int
    landed: int
    skipped: int
    held: int
    failed: int
    rows_extracted: int
    rows_published: int
    rows_quarantined: int
    rows_deduplicated: int
    gaps: int
    most_at_once: int | None
    rows_per_second: Decimal | None
    at_least: timedelta | None
    at_most: timedelta | None

    @property
    def is_whole(self) -> bool:
        """Whether every due window is accounted for and the ledger has no gap."""
        return self.due == self.landed + self.skipped + self.held and self.gaps == 0

    @property
    def is_over(self) -> bool:
        """Whether waiting on brings nothing: no run is under way, and what is not there is of a run that failed."""
        return (
            self.runs_active == 0 and self.due > 0 and self.due == self.landed + self.skipped + self.held + self.failed
        )


def read(dataset: str, dag_id: str) -> Progress:
    """The progress of a dataset now.

    Raises:
        psycopg2.OperationalError: the server is away.
    """
    with _metadata() as cursor:
        cursor.execute("SELECT state, logical_date FROM dag_run WHERE dag_id = %s AND state <> 'success'", (dag_id,))
        runs = cursor.fetchall()
    failed = [logical_date for state, logical_date in runs if state == "failed" and logical_date is not None]
    with warehouse.session("analyst") as cursor:
        warehouse.run_file(cursor, "ops/progress.sql", {"dataset": dataset, "failed_runs": failed})
        row = cursor.fetchone()
    assert row is not None
    return Progress(sum(state != "failed" for state, _ in runs), *row)


def import_error(filename: str) -> str | None:
    """Why Airflow could not read that DAG file; None when it could, or did not try yet."""
    with _metadata() as cursor:
        cursor.execute("SELECT stacktrace FROM import_error WHERE filename = %s", (filename,))
        row = cursor.fetchone()
    return row[0].strip() if row else None


def until_answered(ask: Callable[[], T], say: Callable[[str], None]) -> T:
    """The answer of ``ask``: where a server is busy or away for a while, that is said once and it is asked again.

    Who looks on must not end what it looks at for that: a start beside a running platform holds tables for seconds,
    and of two that wait for each other Postgres ends one.

    Raises:
        psycopg2.OperationalError: it has been so for `PATIENCE` seconds.
    """

    def told(state: tenacity.RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            say(f"the warehouse cannot be asked now, it is asked again: {_said(state.outcome.exception())}")

    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((psycopg2.OperationalError, psycopg2.InterfaceError)),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=5),
        stop=tenacity.stop_after_delay(PATIENCE),
        before_sleep=told,
        reraise=True,
    ):
        with attempt:
            return ask()
    raise AssertionError("tenacity raises what is left")


def _said(error: BaseException | None) -> str:
    return driver_errors.said(error) if isinstance(error, psycopg2.Error) else str(error)


@contextmanager
def _metadata() -> Iterator[Cursor]:
    link = warehouse.connect_metadata("airflow", settings.get().metadata_database)
    with closing(link), link.cursor() as cursor:
        yield cursor
