"""The ledger: the grid of a dataset, what landed, attempts, summaries."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from time import perf_counter

from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import DateTimeTZRange

from highwater.model.errors import ConfigurationError, NotRegistered, kind_of
from highwater.model.windows import Grid, Window
from highwater.store import breakers, sentences, warehouse

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """An Airflow run and its try; ``by_hand`` if a person requested it, not the schedule."""

    dag_id: str
    run_id: str
    try_number: int = 1
    last_try: bool = True
    by_hand: bool = True


@dataclass
class Attempt:
    """A try of a stage that is under way; the stage sets ``rows`` and ``note`` for the log line and the record."""

    dataset: str
    window: Window
    stage: str
    run: Run
    rows: int | None = None
    note: str = ""
    started: float = field(default_factory=perf_counter)

    @property
    def seconds(self) -> float:
        """Seconds since the attempt began."""
        return perf_counter() - self.started


def as_range(window: Window) -> DateTimeTZRange:
    """The window as Postgres' tstzrange, half-open."""
    return DateTimeTZRange(window.start, window.end, "[)")


def grid(cursor: Cursor, dataset: str) -> Grid:
    """The grid of a dataset, from control.datasets.

    Raises:
        NotRegistered: unknown dataset; lists the known ones.
    """
    cursor.execute(
        "SELECT first_window, extract(EPOCH FROM step)::float8 AS step FROM control.datasets WHERE dataset = %s",
        (dataset,),
    )
    row = warehouse.fetch(cursor)
    if row is None:
        cursor.execute("SELECT coalesce(string_agg(dataset, ', ' ORDER BY dataset), 'none') FROM control.datasets")
        known = warehouse.fetch_value(cursor)
        raise NotRegistered(f"dataset {dataset!r} has no row in control.datasets; known: {known}")
    return Grid(row.first_window, timedelta(seconds=row.step))


def due_after(cursor: Cursor, dataset: str) -> timedelta:
    """How long after its end a window of a dataset is due."""
    cursor.execute("SELECT due_after FROM control.datasets WHERE dataset = %s", (dataset,))
    wait: timedelta = warehouse.fetch_value(cursor)
    return wait


def landed(cursor: Cursor, dataset: str) -> dict[Window, str]:
    """The windows that landed, each with the snapshot or revision of the source that it was loaded from."""
    cursor.execute(
        "SELECT lower(window_range) AS starts, upper(window_range) AS ends, source_snapshot FROM ops.window_ledger"
        " WHERE dataset = %s",
        (dataset,),
    )
    return {Window(row.starts, row.ends): row.source_snapshot for row in warehouse.fetch_all(cursor)}


def published_columns(cursor: Cursor, dataset: str) -> Sequence[str]:
    """The columns of the dataset's published table, in order.

    Raises:
        ConfigurationError: unknown dataset, or its published table does not exist.
    """
    cursor.execute("SELECT published_table FROM control.datasets WHERE dataset = %s", (dataset,))
    row = warehouse.fetch(cursor)
    columns = warehouse.columns_of(cursor, *reversed(row.published_table.split("."))) if row else ()
    if not columns:
        raise ConfigurationError(f"dataset {dataset!r}: published table {row and row.published_table} does not exist")
    return columns


def version(cursor: Cursor, dataset: str, window: Window) -> int:
    """The landed version of the window; 0 if it has not landed."""
    cursor.execute(
        "SELECT version FROM ops.window_ledger WHERE dataset = %s AND window_range = %s", (dataset, as_range(window))
    )
    row = warehouse.fetch(cursor)
    return row.version if row else 0


@dataclass(frozen=True)
class Standing:
    """Why a window is not loaded unless a person requests it: a verdict, and a sentence for people."""

    verdict: str
    sentence: str


LANDED, HELD, SKIPPED, STOPPED, UNREGISTERED = "landed", "held", "skipped", "stopped", "not registered"
"""The verdicts of a `Standing`."""


def standing(cursor: Cursor, dataset: str, window: Window) -> Standing | None:
    """Why the window is not loaded unless a person requests it; None if it is."""
    warehouse.run_file(cursor, "ops/why_not_loaded.sql", {"dataset": dataset, "window_range": as_range(window)})
    row = warehouse.fetch(cursor)
    return Standing(row.verdict, row.sentence) if row else None


@contextmanager
def attempt(dataset: str, window: Window, stage: str, run: Run) -> Iterator[Attempt]:
    """Record a try of a stage in ops.attempts, and log one line at its end.

    A separate connection holds the claim while the block runs: if the process is killed, the database notices at once.
    An error of the block is recorded and re-raised.
    """
    mine = Attempt(dataset, window, stage, run)
    with warehouse.autocommitting("loader") as cursor:
        cursor.execute(
            "SELECT ops.start_attempt(%s, %s, %s, %s, %s, %s, %s, %s)",
            (
                dataset,
                as_range(window),
                stage,
                run.dag_id,
                run.run_id,
                run.try_number,
                socket.gethostname(),
                os.getpid(),
            ),
        )
        attempt_id = warehouse.fetch_value(cursor)
        seen = breakers.inputs_hash(cursor, dataset)
        reset_peak_memory()
        state, error, kind, source = "succeeded", None, None, None
        try:
            yield mine
        except BaseException as failure:
            is_final = run.last_try or getattr(failure, "is_final", False)
            state, error = ("failed" if is_final else "retrying"), sentences.of(failure)
            kind, source = kind_of(failure), getattr(failure, "source", None)
            raise
        finally:
            cursor.execute(
                "SELECT ops.finish_attempt(%s, %s, %s, %s, %s, %s, %s, %s)",
                (attempt_id, state, error, mine.seconds, mine.rows, peak_memory_bytes(), kind, source),
            )
            if state == "failed":
                breakers.stop_if_failing(cursor, dataset, seen)
    rows = "" if mine.rows is None else f" {mine.rows:,} rows"
    log.info("%s %s %s:%s in %.2f s%s", stage, dataset, window, rows, mine.seconds, mine.note and f"; {mine.note}")


def summarise(cursor: Cursor, dataset: str, window: Window, run: Run) -> str | None:
    """Write the row of ops.processing_summary for what this run landed; returns it as one sentence.

    Does nothing, and returns None, if another run landed the published version.
    """
    warehouse.run_file(
        cursor,
        "ops/summarise.sql",
        {"dataset": dataset, "window_range": as_range(window), "dag_id": run.dag_id, "run_id": run.run_id},
    )
    row = warehouse.fetch(cursor)
    if row is None:
        return None
    return (
        f"version {row.version}: {row.rows_published:,} published, {row.rows_quarantined:,} quarantined, "
        f"{row.rows_deduplicated:,} duplicates of {row.rows_extracted:,}; {row.seconds} s of work, "
        f"{row.rows_per_second:,.0f} rows/s, peak {(row.peak_memory_bytes or 0) / 2**20:.0f} MiB"
    )


def reset_peak_memory() -> None:
    """Reset the peak of memory: a task process is forked from a scheduler that may have been larger.

    See proc(5), /proc/pid/clear_refs. Without it (not Linux; or Airflow has made the process undumpable, so that only
    root may inspect it) the peak is that of the whole process.
    """
    reset = Path("/proc/self/clear_refs")
    if os.access(reset, os.W_OK):
        reset.write_text("5")


def peak_memory_bytes() -> int | None:
    """The largest resident set of this process since the attempt began; None if the system does not provide it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
