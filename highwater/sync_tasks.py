"""The building blocks of a DAG that brings several sources together: check, load, synchronise, compare, publish."""

from __future__ import annotations

import logging
from dataclasses import asdict
from datetime import datetime
from time import perf_counter
from typing import Any

from airflow.sdk import task
from airflow.sdk.exceptions import AirflowSkipException

from highwater import catch_up, clock, ledger, publish, source_checks, sources, stages, synchronise, warehouse
from highwater.catch_up import ALL, Situation
from highwater.errors import ConfigurationError, NotReady, RefusedData, SourceAway
from highwater.ledger import Run
from highwater.publish import Staged
from highwater.source_checks import AWAY, MISFIT, SLOW, Check
from highwater.stages import Pipeline
from highwater.tasks import final_errors_end_the_task, this_run
from highwater.windows import Window, window_of

log = logging.getLogger(__name__)

DAYS = "channel_sales"
"""The dataset whose grid a run's day lies on."""


@task
def check(pipeline: Pipeline) -> dict[str, Any]:
    """Look at the source once: what is wrong with it is kept in ops.source_checks, and is no failure of the task."""
    with final_errors_end_the_task():
        run, day = _run_and_day()
        with warehouse.session("loader") as cursor:
            known = _situation(cursor, pipeline, day)
            limit = source_checks.statement_timeout(cursor, pipeline.connection)
        window = catch_up.newest_due(known, day.end)
        is_due = window is not None
        found = source_checks.look(pipeline, window or window_of(known.grid.first, known.grid), limit, is_due=is_due)
        source_checks.record(pipeline.connection, window or day, found, run)
        return asdict(found)


@task
def sync(pipeline: Pipeline, checked: dict[str, Any]) -> None:
    """Land the windows that the source's rule gives this run; a source that the check found away costs nothing more."""
    with final_errors_end_the_task():
        run, day = _run_and_day()
        seen = Check(**checked)
        if seen.found == MISFIT:
            raise ConfigurationError(f"{pipeline.dataset} is not loaded: {seen.error}")
        if seen.found in (AWAY, SLOW):
            with warehouse.session("loader") as cursor:
                decision = catch_up.decide(known := _situation(cursor, pipeline, day))
            _skip(pipeline, decision, run)
            if known.trust.catch_up != ALL and day in decision.load:
                publish.skip_window(pipeline.dataset, day, f"source {seen.found}", str(seen.error), run)
            raise AirflowSkipException(f"{pipeline.dataset} is not loaded: {seen.error}")
        stages.refuse_bad_configuration(pipeline)
        _land(pipeline, day, run)


@task(trigger_rule="all_done")
def make_days(pipeline: Pipeline) -> list[dict[str, Any]]:
    """Make aside each day up to this run's whose sources hold something else than it was made from."""
    with final_errors_end_the_task():
        run, day = _run_and_day()
        made: list[dict[str, Any]] = []
        with synchronise.snapshot() as published:
            days = synchronise.days(published, day)
            for window, basis in days.items():
                staged = synchronise.make(published, pipeline, window, basis, run)
                made.append({"day": window.start.isoformat(), "staged": asdict(staged)})
        log.info("made %d days: %s", len(made), ", ".join(sorted(map(str, days))) or "none has an order yet")
        return made


@task
def compare(pipeline: Pipeline, made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare each of them with its sources, before anyone can read it; says which are held back, and why."""
    from highwater import quality

    with final_errors_end_the_task():
        run, _day = _run_and_day()
        sets = {_day_of(pipeline, item): Staged(**item["staged"]) for item in made}
        held = {}
        for window, report in synchronise.compare(pipeline, sets).items():
            try:
                with ledger.attempt(pipeline.dataset, window, "validate_cross_source", run) as attempt:
                    with warehouse.session("loader") as cursor:
                        quality.store(cursor, report, dataset=pipeline.dataset, window=window, run=run)
                    attempt.note = report.sentence()
                    if not report.success:
                        raise RefusedData(f"{pipeline.dataset} {window} is held back: {report.sentence()}")
            except RefusedData as refused:
                held[window] = str(refused)
                log.warning(held[window])
        return [item | {"held": held.get(_day_of(pipeline, item))} for item in made]


@task
def publish_days(pipeline: Pipeline, compared: list[dict[str, Any]]) -> None:
    """Publish the days that held; fails at the end if one was held back: its former version stands."""
    with final_errors_end_the_task():
        run, _day = _run_and_day()
        for item in (item for item in compared if not item["held"]):
            stages.publish_set(pipeline.dataset, _day_of(pipeline, item), Staged(**item["staged"]), run)
        if held := [item["held"] for item in compared if item["held"]]:
            raise RefusedData("; ".join(held))


def _run_and_day() -> tuple[Run, Window]:
    run, moment = this_run()
    with warehouse.session("loader") as cursor:
        return run, window_of(moment, ledger.grid(cursor, DAYS))


def _day_of(pipeline: Pipeline, item: dict[str, Any]) -> Window:
    with warehouse.session("loader") as cursor:
        return window_of(datetime.fromisoformat(item["day"]), ledger.grid(cursor, pipeline.dataset))


def _situation(cursor: Any, pipeline: Pipeline, day: Window, offered: dict[Window, str] | None = None) -> Situation:
    return Situation(
        day,
        clock.now(),
        ledger.grid(cursor, pipeline.dataset),
        ledger.due_after(cursor, pipeline.dataset),
        source_checks.trust(cursor, pipeline.connection),
        ledger.landed(cursor, pipeline.dataset),
        offered,
    )


def _land(pipeline: Pipeline, day: Window, run: Run) -> None:
    """Land what the rule says, oldest first; a window that the source or the audit refuses does not stop the others.

    Raises:
        NotReady: the source has not closed the day; a source that catches up on all is asked again.
        RefusedData: audits failed; names each window.
        SourceAway: the source broke off, which counts as a bad check.
    """
    with warehouse.session("loader") as cursor:
        limit = source_checks.statement_timeout(cursor, pipeline.connection)
    began = perf_counter()
    try:
        offered = _offered(pipeline, limit)
        with warehouse.session("loader") as cursor:
            decision = catch_up.decide(known := _situation(cursor, pipeline, day, offered))
        _skip(pipeline, decision, run)
        for window in decision.late:
            publish.forget_skip(pipeline.dataset, window)
            log.warning("%s %s is due, but the source has not delivered it", pipeline.dataset, window)
        unready, refused = [], []
        for window, why in decision.load.items():
            log.info("%s %s: %s", pipeline.dataset, window, why)
            try:
                _land_window(pipeline, window, run, limit)
            except NotReady as problem:
                unready.append(problem)
                if known.trust.catch_up != ALL:
                    publish.skip_window(pipeline.dataset, window, "incomplete", str(problem), run)
            except RefusedData as problem:
                refused.append(str(problem))
    except SourceAway as problem:
        broken = source_checks.broken_off(problem, perf_counter() - began)
        source_checks.record(pipeline.connection, day, broken, run)
        raise
    if refused:
        raise RefusedData("; ".join(refused))
    if unready and known.trust.catch_up == ALL:
        raise unready[-1]


def _land_window(pipeline: Pipeline, window: Window, run: Run, limit: Any) -> None:
    with sources.snapshot(pipeline.connection, limit) as source:
        complete = sources.check_complete(source, pipeline.folder, window, pipeline.dataset)
        staged = stages.stage_window(pipeline, window, source, complete, run)
    stages.finish_window(pipeline, window, staged, run)


def _offered(pipeline: Pipeline, limit: Any) -> dict[Window, str] | None:
    """What a source that corrects itself says of each window now; None for one that does not."""
    statement = f"{pipeline.folder}/revisions.sql"
    if not warehouse.has_sql(statement):
        return None
    with warehouse.session("loader") as cursor:
        grid = ledger.grid(cursor, pipeline.dataset)
    with sources.snapshot(pipeline.connection, limit) as source:
        warehouse.run_file(source, statement, {"now": clock.now()})
        rows = warehouse.fetch_all(source)
    return {window_of(row.window_start, grid): row.revision for row in rows if row.window_start >= grid.first}


def _skip(pipeline: Pipeline, decision: catch_up.Decision, run: Run) -> None:
    for skip in decision.skip:
        if publish.skip_window(pipeline.dataset, skip.window, skip.rule, skip.reason, run):
            log.info("%s %s is skipped, %s: %s", pipeline.dataset, skip.window, skip.rule, skip.reason)
