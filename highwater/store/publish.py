"""Thin Python over the publishing functions of the warehouse: what they take, what they answer, what they refuse."""

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
    """A set in staging: its name, how many rows came from which snapshot, on top of which landed version.

    The counts are for the audit and the log: what is published is what the warehouse counts itself.
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
"""Try a publishing function again while somebody holds what it needs, within bounds."""


@retry_when_busy
def publish_window(dataset: str, window: Window, staged: Staged, run: Run) -> Landed:
    """Publish a window from its set in one transaction; a lock that somebody holds is waited for, within bounds.

    Raises:
        DataRejected: the attempt is stale, the set is gone or not finished, too much of the window would be lost.
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
    """Record that a rule says not to load this window; returns False when it has landed, which stands.

    A longer reason, as the answer of a source may be, is cut at 1000 characters.

    Raises:
        DataRejected: rule or reason is blank; it is no window of the dataset's grid, or lies partly over one that has
            landed.
        Busy: a window of the dataset was being published for too long.
    """
    with in_words(), warehouse.session("loader") as cursor:
        cursor.execute(
            "SELECT WHERE ops.skip_window(%s, %s, %s, %s, %s, %s)",
            (dataset, ledger.as_range(window), rule, reason[:1000], run.dag_id, run.run_id),
        )
        return warehouse.fetch(cursor) is not None


def refuse_held(dataset: str, window: Window) -> None:
    """Refuse to load a window that a person holds; does nothing where nobody does.

    Raises:
        Held: somebody does; says who, why and how it is released.
    """
    with in_words(), warehouse.session("loader") as cursor:
        cursor.execute("SELECT ops.assert_not_held(%s, %s)", (dataset, ledger.as_range(window)))


def forget_skip(dataset: str, window: Window) -> None:
    """No rule says any more to skip this window: until it lands it is missing. Does nothing when none said so."""
    with in_words(), warehouse.session("loader") as cursor:
        cursor.execute("SELECT ops.forget_skip(%s, %s)", (dataset, ledger.as_range(window)))


@contextmanager
def in_words() -> Iterator[None]:
    """An error of the warehouse as one of ours, by what should happen next; one that is away stays as it is."""
    try:
        yield
    except psycopg2.Error as error:
        if (named := driver_errors.of_warehouse(error)) is None:
            raise
        raise named from error
