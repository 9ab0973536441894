"""A look at a source: is it there, how fast does it answer, is a window complete in it; and what follows from it."""

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

GOOD, INCOMPLETE, AWAY, SLOW, MISFIT = "good", "incomplete", "away", "slow", "misfit"
"""What a look at a source may find."""


@dataclass(frozen=True)
class Check:
    """What a look found: one of the words above, and the error in words; ``complete`` is None for a window not due."""

    found: str
    reachable: bool
    seconds: float
    complete: bool | None
    error: str | None


def statement_timeout(cursor: Cursor, source: str) -> timedelta:
    """How long a statement at the source may take.

    Raises:
        ConfigurationError: control.sources has no row of it.
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
        ConfigurationError: it is not one that is loaded by windows.
    """
    cursor.execute(
        "SELECT catch_up, catches_up, reason, catch_up_limit FROM ops.source_reliability WHERE source = %s", (source,)
    )
    row = warehouse.fetch(cursor)
    if row is None:
        raise _without_a_rule(cursor, source)
    return Trust(*row)


def _without_a_rule(cursor: Cursor, source: str) -> ConfigurationError:
    cursor.execute("SELECT string_agg(source, ', ' ORDER BY source) FROM ops.source_reliability")
    return ConfigurationError(
        f"source {source!r} has no row of strategy windows in control.sources; these have: "
        f"{warehouse.fetch_value(cursor)}; {commands.typed(f'sources trust {source} --dataset …')} makes one"
    )


def look(pipeline: Pipeline, window: Window, limit: timedelta, *, is_due: bool) -> Check:
    """Ask the source whether it is there, whether it still has the shape that is read, and has the window complete.

    A window that is not due is not asked for. What is wrong with the source is returned, not raised.
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
        found, error, reached = AWAY, str(problem), False
    except (ConfigurationError, DataRejected) as problem:
        found, error = MISFIT, str(problem)
    complete = None if found == GOOD and not is_due else found == GOOD
    return Check(found, reached, perf_counter() - began, complete, error)


def broken_off(problem: SourceUnavailable, seconds: float) -> Check:
    """A source that passed its check and then did not hold."""
    slow = isinstance(problem, SourceSlow)
    return Check(SLOW if slow else AWAY, slow, seconds, False, str(problem))


def record(source: str, window: Window, check: Check, run: Run) -> None:
    """Keep a check; says in the log what it found, and once when that switches the source's catch-up on or off."""
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
