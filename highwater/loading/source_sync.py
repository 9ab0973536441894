"""Source sync: check one source, decide which of its windows a run loads, and land them."""

from __future__ import annotations

import logging
from datetime import timedelta
from time import perf_counter

from psycopg2.extensions import cursor as Cursor

from highwater.loading import source_checks, stages
from highwater.loading.source_checks import MISFIT, SLOW, UNAVAILABLE, Check
from highwater.loading.stages import Pipeline
from highwater.model import catch_up, clock
from highwater.model.catch_up import ALL, Decision, Situation, within_policy
from highwater.model.errors import ConfigurationError, DataRejected, SourceIncomplete, SourceUnavailable
from highwater.model.windows import Window, window_of
from highwater.sources import sources
from highwater.store import holds, ledger, publish, statements, warehouse
from highwater.store.ledger import Run

log = logging.getLogger(__name__)


def check(pipeline: Pipeline, day: Window, run: Run) -> Check:
    """Check the source once, for its newest window due by the end of the run's day, and record the result."""
    with warehouse.session("loader") as cursor:
        known = _situation(cursor, pipeline, day, run)
        limit = source_checks.statement_timeout(cursor, pipeline.connection)
    due = catch_up.newest_due(known, day.end)
    window = due or window_of(known.grid.first, known.grid)
    result = source_checks.check_source(pipeline, window, limit, is_due=due is not None)
    source_checks.record(pipeline.connection, window, result, run)
    return result


def has_work_left(pipeline: Pipeline, day: Window, run: Run) -> bool:
    """Whether the source's rule gives this run a window to load, or one to skip that is not skipped yet."""
    with warehouse.session("loader") as cursor:
        known = _situation(cursor, pipeline, day, run)
    decision = _decide(pipeline, known)
    _remove_held(pipeline, decision)
    with warehouse.session("loader") as cursor:
        skips = [skip for skip in decision.skip if ledger.standing(cursor, pipeline.dataset, skip.window) is None]
    return bool(decision.load or skips)


def skip_if_unavailable(pipeline: Pipeline, day: Window, checked: Check, run: Run) -> bool:
    """Whether the check found the source unavailable, so that nothing is loaded; records the windows skipped for it.

    Raises:
        ConfigurationError: the check found that the source does not fit the pipeline's statements.
    """
    if checked.found == MISFIT:
        raise ConfigurationError(f"{pipeline.dataset} is not loaded: {checked.error}")
    if checked.found not in (UNAVAILABLE, SLOW):
        return False
    with warehouse.session("loader") as cursor:
        known = _situation(cursor, pipeline, day, run)
    decision = _decide(pipeline, known)
    _skip(pipeline, decision, run)
    if known.trust.catch_up == ALL:
        for window in decision.load:
            publish.forget_skip(pipeline.dataset, window)
    elif day in decision.load:
        publish.skip_window(pipeline.dataset, day, f"source {checked.found}", str(checked.error), run)
    return True


def load(pipeline: Pipeline, day: Window, run: Run) -> None:
    """Land the windows that the source's rule gives, oldest first; a rejected window does not stop the others.

    Raises:
        SourceIncomplete: a source that catches up on all windows has not closed one; try again later.
        DataRejected: audits failed; names each window.
        SourceUnavailable: the source broke off, which is recorded as a failed check.
    """
    _check_configuration(pipeline, day, run)
    with warehouse.session("loader") as cursor:
        limit = source_checks.statement_timeout(cursor, pipeline.connection)
    began = perf_counter()
    try:
        offered = _offered(pipeline, limit)
        with warehouse.session("loader") as cursor:
            known = _situation(cursor, pipeline, day, run, offered)
        decision = _decide(pipeline, known)
        _skip(pipeline, decision, run)
        for window in decision.late:
            log.warning("%s %s is due, but the source has not delivered it", pipeline.dataset, window)
        held = _remove_held(pipeline, decision)
        for window in [*decision.late, *decision.load]:
            publish.forget_skip(pipeline.dataset, window)
        incomplete: list[SourceIncomplete] = []
        rejected = [held[day]] if run.by_hand and day in held else []
        for window, why in decision.load.items():
            log.info("%s %s: %s", pipeline.dataset, window, why)
            try:
                _land(pipeline, window, run, limit)
            except SourceIncomplete as problem:
                incomplete.append(problem)
                if known.trust.catch_up != ALL:
                    publish.skip_window(pipeline.dataset, window, "incomplete", str(problem), run)
            except DataRejected as problem:
                rejected.append(str(problem))
    except SourceUnavailable as problem:
        broken = source_checks.broken_off(problem, perf_counter() - began)
        source_checks.record(pipeline.connection, day, broken, run)
        raise
    if rejected:
        raise DataRejected("; ".join(rejected))
    if incomplete and known.trust.catch_up == ALL:
        raise incomplete[-1]


def _check_configuration(pipeline: Pipeline, day: Window, run: Run) -> None:
    """Check the configuration before any data moves; only a failure is recorded, as an attempt at the run's day."""
    try:
        stages.check_configuration(pipeline)
    except ConfigurationError:
        with ledger.attempt(pipeline.dataset, day, "validate_availability", run):
            raise


def _land(pipeline: Pipeline, window: Window, run: Run, limit: timedelta) -> None:
    """Land one window; the session at the source ends before the audit."""
    with sources.snapshot(pipeline.connection, limit) as source:
        complete = sources.check_complete(source, pipeline.folder, window, pipeline.dataset)
        staged = stages.stage_window(pipeline, window, source, complete, run)
    stages.finish_window(pipeline, window, staged, run)


def _decide(pipeline: Pipeline, known: Situation) -> Decision:
    """Decide by the source's rule, within the dataset's catch-up policy."""
    with warehouse.session("loader") as cursor:
        cursor.execute("SELECT is_on FROM control.catchup_is_on(%s)", (pipeline.dataset,))
        is_on = warehouse.fetch_value(cursor)
        cursor.execute(
            "SELECT lower(u) AS window_start, upper(u) AS window_end"
            " FROM unnest(control.unwanted(%s, ops.clock())) AS u",
            (pipeline.dataset,),
        )
        unwanted = [Window(row.window_start, row.window_end) for row in warehouse.fetch_all(cursor)]
    return within_policy(catch_up.decide(known), known.day, unwanted, is_on=is_on)


def _remove_held(pipeline: Pipeline, decision: Decision) -> dict[Window, str]:
    """Remove held windows from those to load; returns the reason for each."""
    with warehouse.session("loader") as cursor:
        held = {hold.window: hold for hold in holds.held(cursor, pipeline.dataset)}
    reasons = {}
    for window in decision.load.keys() & held.keys():
        del decision.load[window]
        reasons[window] = (
            f"{pipeline.dataset} {window} is held by {held[window].held_by}: {held[window].reason};"
            f" scripts/highwater release {pipeline.dataset} --from {window.start:%Y-%m-%dT%H:%M}"
            f" --to {window.end:%Y-%m-%dT%H:%M} --reason … lets it be loaded again"
        )
        log.warning("%s", reasons[window])
    return reasons


def _situation(
    cursor: Cursor, pipeline: Pipeline, day: Window, run: Run, offered: dict[Window, str] | None = None
) -> Situation:
    return Situation(
        day,
        clock.now(),
        ledger.grid(cursor, pipeline.dataset),
        ledger.due_after(cursor, pipeline.dataset),
        source_checks.trust(cursor, pipeline.connection),
        ledger.landed(cursor, pipeline.dataset),
        offered,
        by_hand=run.by_hand,
    )


def _offered(pipeline: Pipeline, limit: timedelta) -> dict[Window, str] | None:
    """The current revision of each window at a source that corrects windows; None for a source that does not."""
    statement = f"{pipeline.folder}/revisions.sql"
    if not warehouse.has_sql(statement):
        return None
    with warehouse.session("loader") as cursor:
        grid = ledger.grid(cursor, pipeline.dataset)
    with sources.snapshot(pipeline.connection, limit) as source:
        rows = statements.ask(source, statement, {"now": clock.now()})
    return {window_of(row.window_start, grid): row.revision for row in rows if row.window_start >= grid.first}


def _skip(pipeline: Pipeline, decision: Decision, run: Run) -> None:
    for skip in decision.skip:
        if publish.skip_window(pipeline.dataset, skip.window, skip.rule, skip.reason, run):
            log.info("%s %s is skipped, %s: %s", pipeline.dataset, skip.window, skip.rule, skip.reason)
    for window, due in decision.early.items():
        log.info("%s %s is due at %s, and is not loaded before", pipeline.dataset, window, f"{due:%Y-%m-%d %H:%M}")
