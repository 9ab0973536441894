"""What a run does with one source: look at it, decide which windows to load, and land them."""

from __future__ import annotations

import logging
from datetime import timedelta
from time import perf_counter

from psycopg2.extensions import cursor as Cursor

from highwater.loading import source_checks, stages
from highwater.loading.source_checks import AWAY, MISFIT, SLOW, Check
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
    """Look at the source once, for its newest window that is due by the end of the run's day; keep what it found."""
    with warehouse.session("loader") as cursor:
        known = _situation(cursor, pipeline, day, run)
        limit = source_checks.statement_timeout(cursor, pipeline.connection)
    due = catch_up.newest_due(known, day.end)
    asked = due or window_of(known.grid.first, known.grid)
    found = source_checks.look(pipeline, asked, limit, is_due=due is not None)
    source_checks.record(pipeline.connection, asked, found, run)
    return found


def is_left(pipeline: Pipeline, day: Window, run: Run) -> bool:
    """Whether the source's rule gives this run anything to load, or to skip that is not skipped yet, by the ledger."""
    with warehouse.session("loader") as cursor:
        known = _situation(cursor, pipeline, day, run)
    decision = _decide(pipeline, known)
    _take_held(pipeline, decision)
    with warehouse.session("loader") as cursor:
        skips = [skip for skip in decision.skip if ledger.standing(cursor, pipeline.dataset, skip.window) is None]
    return bool(decision.load or skips)


def pass_over(pipeline: Pipeline, day: Window, seen: Check, run: Run) -> bool:
    """Whether the check found the source away, so that nothing is loaded; records what is skipped by that.

    Raises:
        ConfigurationError: the check found a source that does not fit.
    """
    if seen.found == MISFIT:
        raise ConfigurationError(f"{pipeline.dataset} is not loaded: {seen.error}")
    if seen.found not in (AWAY, SLOW):
        return False
    with warehouse.session("loader") as cursor:
        known = _situation(cursor, pipeline, day, run)
    decision = _decide(pipeline, known)
    _skip(pipeline, decision, run)
    if known.trust.catch_up == ALL:
        for window in decision.load:
            publish.forget_skip(pipeline.dataset, window)
    elif day in decision.load:
        publish.skip_window(pipeline.dataset, day, f"source {seen.found}", str(seen.error), run)
    return True


def load(pipeline: Pipeline, day: Window, run: Run) -> None:
    """Land what the source's rule says, oldest first; a window that is refused does not stop the others.

    Raises:
        SourceIncomplete: the source has not closed a window; one that catches up on all is to be asked again.
        DataRejected: audits failed; names each window.
        SourceUnavailable: the source broke off, which counts as a bad check.
    """
    _refuse_bad_configuration(pipeline, day, run)
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
        held = _take_held(pipeline, decision)
        for window in [*decision.late, *decision.load]:
            publish.forget_skip(pipeline.dataset, window)
        unready: list[SourceIncomplete] = []
        refused = [held[day]] if run.by_hand and day in held else []
        for window, why in decision.load.items():
            log.info("%s %s: %s", pipeline.dataset, window, why)
            try:
                _land(pipeline, window, run, limit)
            except SourceIncomplete as problem:
                unready.append(problem)
                if known.trust.catch_up != ALL:
                    publish.skip_window(pipeline.dataset, window, "incomplete", str(problem), run)
            except DataRejected as problem:
                refused.append(str(problem))
    except SourceUnavailable as problem:
        broken = source_checks.broken_off(problem, perf_counter() - began)
        source_checks.record(pipeline.connection, day, broken, run)
        raise
    if refused:
        raise DataRejected("; ".join(refused))
    if unready and known.trust.catch_up == ALL:
        raise unready[-1]


def _refuse_bad_configuration(pipeline: Pipeline, day: Window, run: Run) -> None:
    """Refuse before any data moves what would fail half-way; only what is refused is an attempt, at the run's day."""
    try:
        stages.refuse_bad_configuration(pipeline)
    except ConfigurationError:
        with ledger.attempt(pipeline.dataset, day, "validate_availability", run):
            raise


def _land(pipeline: Pipeline, window: Window, run: Run, limit: timedelta) -> None:
    """Land one window; the source is let go before the audit."""
    with sources.snapshot(pipeline.connection, limit) as source:
        complete = sources.check_complete(source, pipeline.folder, window, pipeline.dataset)
        staged = stages.stage_window(pipeline, window, source, complete, run)
    stages.finish_window(pipeline, window, staged, run)


def _decide(pipeline: Pipeline, known: Situation) -> Decision:
    """What the source's rule gives this run, as far as the policy of the dataset wants it."""
    with warehouse.session("loader") as cursor:
        cursor.execute("SELECT is_on FROM control.catchup_is_on(%s)", (pipeline.dataset,))
        is_on = warehouse.fetch_value(cursor)
        cursor.execute(
            "SELECT lower(u), upper(u) FROM unnest(control.unwanted(%s, ops.clock())) AS u", (pipeline.dataset,)
        )
        unwanted = [Window(*row) for row in warehouse.fetch_all(cursor)]
    return within_policy(catch_up.decide(known), known.day, unwanted, is_on=is_on)


def _take_held(pipeline: Pipeline, decision: Decision) -> dict[Window, str]:
    """Take those out of what is to be loaded that a person holds; returns why, by window."""
    with warehouse.session("loader") as cursor:
        held = {hold.window: hold for hold in holds.held(cursor, pipeline.dataset)}
    found = {}
    for window in decision.load.keys() & held.keys():
        del decision.load[window]
        found[window] = (
            f"{pipeline.dataset} {window} is held by {held[window].held_by}: {held[window].reason};"
            f" scripts/highwater release {pipeline.dataset} --from {window.start:%Y-%m-%dT%H:%M}"
            f" --to {window.end:%Y-%m-%dT%H:%M} --reason … lets it be loaded again"
        )
        log.warning("%s", found[window])
    return found


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
    """What a source that corrects itself says of each window now; None for one that does not."""
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
        log.info("%s %s is due at %s, and not loaded before", pipeline.dataset, window, f"{due:%Y-%m-%d %H:%M}")
