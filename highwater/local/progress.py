"""Progress of a dataset's catch-up: the counts of the ledger, and the runs that failed in Airflow."""

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
"""Seconds for which a query is retried while the warehouse does not answer."""


@dataclass(frozen=True)
class Progress:
    """The due windows of one dataset, their rows, and the active runs that load them."""

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
    def is_complete(self) -> bool:
        """Whether every due window has landed, is skipped or is held, and the ledger has no gaps."""
        return self.due == self.landed + self.skipped + self.held and self.gaps == 0

    @property
    def is_over(self) -> bool:
        """Whether nothing will change any more: no run is active, and every other window belongs to a failed run."""
        return (
            self.runs_active == 0 and self.due > 0 and self.due == self.landed + self.skipped + self.held + self.failed
        )


def read(dataset: str, dag_id: str) -> Progress:
    """The current progress of a dataset.

    Raises:
        psycopg2.OperationalError: the server is unavailable.
    """
    with _metadata() as cursor:
        cursor.execute("SELECT state, logical_date FROM dag_run WHERE dag_id = %s AND state <> 'success'", (dag_id,))
        runs = warehouse.fetch_all(cursor)
    failed = [run.logical_date for run in runs if run.state == "failed" and run.logical_date is not None]
    with warehouse.session("analyst") as cursor:
        warehouse.run_file(cursor, "ops/progress.sql", {"dataset": dataset, "failed_runs": failed})
        row = warehouse.fetch(cursor)
    return Progress(runs_active=sum(run.state != "failed" for run in runs), **row._asdict())


def import_error(filename: str) -> str | None:
    """Why Airflow could not import a DAG file; None if it could, or has not tried yet."""
    with _metadata() as cursor:
        cursor.execute("SELECT stacktrace FROM import_error WHERE filename = %s", (filename,))
        row = warehouse.fetch(cursor)
    return row.stacktrace.strip() if row else None


def retry_until_answered(query: Callable[[], T], report: Callable[[str], None]) -> T:
    """The result of ``query``, retried while a server is busy or unavailable, which is reported once.

    An observer must not stop the platform for that: a start beside a running platform locks tables for seconds, and
    Postgres resolves a deadlock by cancelling one of the sessions.

    Raises:
        psycopg2.OperationalError: the server has not answered for `PATIENCE` seconds.
    """

    def report_first(state: tenacity.RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            report(f"the warehouse does not answer, retrying: {_message(state.outcome.exception())}")

    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((psycopg2.OperationalError, psycopg2.InterfaceError)),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=5),
        stop=tenacity.stop_after_delay(PATIENCE),
        before_sleep=report_first,
        reraise=True,
    ):
        with attempt:
            return query()
    raise AssertionError("tenacity raises the last error")


def _message(error: BaseException | None) -> str:
    return driver_errors.said(error) if isinstance(error, psycopg2.Error) else str(error)


@contextmanager
def _metadata() -> Iterator[Cursor]:
    link = warehouse.connect_metadata("airflow", settings.get().metadata_database)
    with closing(link), link.cursor() as cursor:
        yield cursor
