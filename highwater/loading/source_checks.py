"""Source checks: is a source available, how fast does it answer, is a window complete; and the trust that follows."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from time import perf_counter

from psycopg2.extensions import cursor as Cursor

from highwater.environment import commands
from highwater.loading import stages
from highwater.loading.stages import Pipeline
from highwater.model.catch_up import Trust
from highwater.model.errors import ConfigurationError, DataRejected, SourceIncomplete, SourceSlow, SourceUnavailable
from highwater.model.windows import Window
from highwater.sources import sources
from highwater.store import ledger, warehouse
from highwater.store.ledger import Run
from highwater.store.publish import in_words

log = logging.getLogger(__name__)

GOOD, INCOMPLETE, UNAVAILABLE, SLOW, MISFIT = "good", "incomplete", "away", "slow", "misfit"
"""The results of a check. Stored values: rules in ops.skipped_windows are named by them."""


@dataclass(frozen=True)
class Check:
    """A check's result, one of the values above, with its error; ``complete`` is None for a window not due."""

    found: str
    reachable: bool
    seconds: float
    complete: bool | None
    error: str | None


def statement_timeout(cursor: Cursor, source: str) -> timedelta:
    """How long a statement at the source may take.

    Raises:
        ConfigurationError: the source has no row in control.sources.
    """
    cursor.execute("SELECT statement_timeout FROM control.sources WHERE source = %s", (source,))
    row = warehouse.fetch(cursor)
    if row is None:
        raise _without_a_rule(cursor, source)
    limit: timedelta = row.statement_timeout
    return limit


def trust(cursor: Cursor, source: str) -> Trust:
    """How far the source is trusted with past windows, by its rule and its newest checks.

    Raises:
        ConfigurationError: the source has no row of strategy windows in control.sources.
    """
    cursor.execute(
        "SELECT catch_up, catches_up, reason, catch_up_limit FROM ops.source_reliability WHERE source = %s", (source,)
    )
    row = warehouse.fetch(cursor)
    if row is None:
        raise _without_a_rule(cursor, source)
    return Trust(row.catch_up, row.catches_up, row.reason, row.catch_up_limit)


def _without_a_rule(cursor: Cursor, source: str) -> ConfigurationError:
    cursor.execute("SELECT string_agg(source, ', ' ORDER BY source) FROM ops.source_reliability")
    return ConfigurationError(
        f"source {source!r} has no row of strategy windows in control.sources; these have: "
        f"{warehouse.fetch_value(cursor)}; {commands.typed(f'sources trust {source} --dataset …')} adds one"
    )


def check_source(pipeline: Pipeline, window: Window, limit: timedelta, *, is_due: bool) -> Check:
    """Check that the source is available, fits the pipeline's statements and has the window complete.

    Whether a window that is not due is complete is not checked. Problems of the source are returned, not raised.
    """
    began, reached = perf_counter(), False
    found, error = GOOD, None
    try:
        with sources.snapshot(pipeline.connection, limit) as cursor:
            reached = True
            stages.check_statements(pipeline, window, cursor)
            if is_due:
                sources.check_complete(cursor, pipeline.folder, window, pipeline.dataset)
    except SourceIncomplete as problem:
        found, error = INCOMPLETE, str(problem)
    except SourceSlow as problem:
        found, error = SLOW, str(problem)
    except SourceUnavailable as problem:
        found, error, reached = UNAVAILABLE, str(problem), False
    except (ConfigurationError, DataRejected) as problem:
        found, error = MISFIT, str(problem)
    complete = None if found == GOOD and not is_due else found == GOOD
    return Check(found, reached, perf_counter() - began, complete, error)


def broken_off(problem: SourceUnavailable, seconds: float) -> Check:
    """The check of a source that broke off during a load."""
    slow = isinstance(problem, SourceSlow)
    return Check(SLOW if slow else UNAVAILABLE, slow, seconds, False, str(problem))


def record(source: str, window: Window, check: Check, run: Run) -> None:
    """Store and log a check; logs a warning when it switches the source's catch-up on or off."""
    with in_words(), warehouse.session("loader") as cursor:
        cursor.execute(
            "SELECT * FROM ops.record_source_check(%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                source,
                ledger.as_range(window),
                check.reachable,
                check.seconds,
                check.complete,
                check.error,
                run.dag_id,
                run.run_id,
                run.try_number,
            ),
        )
        row = warehouse.fetch(cursor)
    log.info(
        "source %s for %s: %s in %.3f s; %s", source, window, check.error or check.found, check.seconds, row.reason
    )
    if row.flipped:
        log.warning("source %s %s past windows: %s", source, _switched(catches_up=row.catches_up), row.reason)


def _switched(*, catches_up: bool) -> str:
    return "catches up on" if catches_up else "no longer catches up on"
