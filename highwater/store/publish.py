"""Publishing and skipping windows, by the functions of the warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg2
import tenacity

from highwater.model.errors import Busy
from highwater.model.windows import Window
from highwater.store import driver_errors, ledger, warehouse
from highwater.store.ledger import Run


@dataclass(frozen=True)
class Staged:
    """A staging set: its name, the number of rows and their snapshot, and the landed version that it replaces.

    The counts are for the audit and the log; the ledger has what the warehouse counts itself.
    """

    name: str
    rows: int
    base_version: int
    snapshot: str
    expected_rows: int | None = None
    deduplicated: int = 0
    rejected: int = 0


@dataclass(frozen=True)
class Landed:
    """The ledger row after publishing, and how it came to be (see ops.publish_window)."""

    outcome: str
    version: int
    rows_published: int
    rows_quarantined: int
    content_hash: str


retry_when_busy = tenacity.retry(
    retry=tenacity.retry_if_exception_type(Busy),
    wait=tenacity.wait_random_exponential(multiplier=0.2, max=5),
    stop=tenacity.stop_after_attempt(8),
    reraise=True,
)
"""Retry a function of the warehouse while another session holds a lock that it needs, within bounds."""


@retry_when_busy
def publish_window(dataset: str, window: Window, staged: Staged, run: Run) -> Landed:
    """Publish a window from its set in one transaction; waits for locks of other sessions, within bounds.

    Raises:
        DataRejected: the attempt is stale, the set no longer exists or is not finished, or too many rows would be lost.
        ConfigurationError: the published table cannot take the window.
        Busy: readers held the published table for too long.
    """
    with in_words(), warehouse.session("loader") as cursor:
        cursor.execute(
            "SELECT p.outcome, (p.landed).* FROM ops.publish_window(%s, %s, %s, %s, %s, %s, %s, %s) AS p",
            (
                dataset,
                ledger.as_range(window),
                staged.name,
                staged.base_version,
                staged.expected_rows,
                staged.snapshot,
                run.dag_id,
                run.run_id,
            ),
        )
        row = warehouse.fetch(cursor)
        return Landed(row.outcome, row.version, row.rows_published, row.rows_quarantined, row.content_hash)


@retry_when_busy
def skip_window(dataset: str, window: Window, rule: str, reason: str, run: Run) -> bool:
    """Record that a rule says not to load this window; returns False if it has landed, which does not change.

    A reason longer than 1000 characters, as the answer of a source may be, is cut.

    Raises:
        DataRejected: rule or reason is blank; it is not a window of the grid, or overlaps one that has landed.
        Busy: a window of the dataset was being published for too long.
    """
    with in_words(), warehouse.session("loader") as cursor:
        cursor.execute(
            "SELECT WHERE ops.skip_window(%s, %s, %s, %s, %s, %s)",
            (dataset, ledger.as_range(window), rule, reason[:1000], run.dag_id, run.run_id),
        )
        return warehouse.fetch(cursor) is not None


def refuse_held(dataset: str, window: Window) -> None:
    """Refuse to load a window that a person holds.

    Raises:
        Held: it is held; says by whom, why and how to release it.
    """
    with in_words(), warehouse.session("loader") as cursor:
        cursor.execute("SELECT ops.assert_not_held(%s, %s)", (dataset, ledger.as_range(window)))


def forget_skip(dataset: str, window: Window) -> None:
    """Remove the skip of a window, if there is one: until it lands it is missing."""
    with in_words(), warehouse.session("loader") as cursor:
        cursor.execute("SELECT ops.forget_skip(%s, %s)", (dataset, ledger.as_range(window)))


@contextmanager
def in_words() -> Iterator[None]:
    """Convert errors of the warehouse to ours, by what should happen next; an unavailable warehouse stays as it is."""
    try:
        yield
    except psycopg2.Error as error:
        if (named := driver_errors.of_warehouse(error)) is None:
            raise
        raise named from error
