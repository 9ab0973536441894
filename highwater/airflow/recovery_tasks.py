"""The task blocks of a recovery: health, the backlog by the ledger, the windows, the integrity of what was loaded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from highwater.airflow import tasks
from highwater.airflow.tasks import Pipeline
from highwater.environment import settings
from highwater.incidents import alerts
from highwater.loading import stages
from highwater.model.windows import Window, window_of
from highwater.recovery import backlog
from highwater.recovery.backlog import Loaded, Recovered
from highwater.sources import health, sources
from highwater.store import breakers, ledger, publish, warehouse
from highwater.store.ledger import Run

log = logging.getLogger(__name__)

Planned = list[list[str]]
"""Windows as a task passes them on: the bounds of each."""


@task.short_circuit
def check_health(recovered: Sequence[Recovered]) -> bool:
    """Check what the recovery needs: if it is unwell the run waits with growing pauses; if nothing is to land it ends.

    ``recovered`` are the pipelines in the order of their importance, as in the tasks below.
    """
    pipelines = [each.pipeline for each in recovered]
    run, own = tasks.this_run()
    with tasks.final_errors_end_the_task():
        with warehouse.session("loader") as cursor:
            is_work = any(backlog.backlog(cursor, each.dataset, 1, own=own) for each in pipelines)
        if not is_work:
            _refuse_held(run, own, *pipelines)
        with warehouse.session("loader") as cursor:
            # After an outage many runs follow at once: without work only the newest checks health.
            if not is_work and backlog.is_behind(cursor, pipelines[0].dataset, own):
                return False
        for verdict in health.check(run.run_id, [each.connection for each in pipelines]):
            log.info("%s: %s, %.2f s", verdict.name, verdict.problem or "well", verdict.seconds)
    return is_work


@task
def critical_backlog(pipeline: Pipeline) -> Planned:
    """Every window of the most important dataset that is still to land, oldest first, whatever made it missing."""
    return _plan(pipeline, backlog.MOST_CRITICAL)


@task(trigger_rule="all_done")
def non_critical_backlog(pipeline: Pipeline, critical: Pipeline, planned: Planned | None) -> Planned:
    """The next windows of another dataset; none while a critical window is to land: they wait for the next run."""
    if planned is None:
        raise AirflowSkipException("the health checks did not pass: nothing is loaded")
    with warehouse.session("loader") as cursor:
        left = backlog.backlog(cursor, critical.dataset, 1)
    if left:
        log.warning("%s %s is still to land: %s waits for the next run", critical.dataset, left[0], pipeline.dataset)
        return []
    config = settings.get()
    return _plan(pipeline, config.recovery_batch, newest=config.recovery_order == "newest")


@task(map_index_template="{{ window }}")
def process_window(pipeline: Pipeline, window: list[str]) -> None:
    """Stage, audit and publish one window of the backlog; does nothing if it has landed meanwhile."""
    wanted = Window.between(window)
    get_current_context()["window"] = str(wanted)  # type: ignore[typeddict-unknown-key]
    run, _own = tasks.this_run()
    with warehouse.keeping_links():
        with warehouse.session("loader") as cursor:
            has_landed = ledger.version(cursor, pipeline.dataset, wanted)
        if has_landed:
            log.info("%s %s has landed already", pipeline.dataset, wanted)
            with tasks.final_errors_end_the_task():
                stages.finish_cut_short(pipeline.dataset, wanted)
            return
        if not run.by_hand and (why := breakers.stopped(pipeline.dataset)):
            raise AirflowSkipException(why)
        with tasks.final_errors_end_the_task():
            stages.land_window(pipeline, wanted, run)
        with warehouse.session("loader") as cursor:
            log.info("%s", backlog.progress(cursor) or "no outage was found")


@task(trigger_rule="all_done")
def validate_integrity(recovered: Sequence[Recovered], planned: Sequence[Planned | None]) -> int:
    """Run the checks of each pipeline on the planned windows that landed; returns the number of windows checked."""
    with warehouse.session("loader") as cursor:
        landed = [
            [window for window in _windows(windows) if ledger.version(cursor, each.pipeline.dataset, window)]
            for each, windows in zip(recovered, planned, strict=True)
        ]
    if not any(landed):
        raise AirflowSkipException("this run loaded nothing")
    run, _own = tasks.this_run()
    with tasks.final_errors_end_the_task():
        health.check_sources(run.run_id, [each.pipeline.connection for each in recovered])
        with ExitStack() as stack:
            loaded = [
                Loaded(each, stack.enter_context(sources.snapshot(each.pipeline.connection)), windows)
                for each, windows in zip(recovered, landed, strict=True)
            ]
            backlog.check_integrity(loaded, stack.enter_context(warehouse.session("loader")), run)
    return sum(map(len, landed))


@task(trigger_rule="all_done")
def notify(recovered: Sequence[Recovered], planned: Sequence[Planned | None], compared: int | None) -> None:
    """Log the progress, send what is waiting, and fail the run if a planned window or check failed."""
    alerts.look()
    run, own = tasks.this_run()
    pipelines = [each.pipeline for each in recovered]
    due = [
        (pipeline.dataset, window)
        for pipeline, windows in zip(pipelines, planned, strict=True)
        for window in _windows(windows)
    ]
    with warehouse.session("loader") as cursor:
        log.info("%s", backlog.progress(cursor) or "no outage was found")
        left = [f"{dataset} {window}" for dataset, window in due if not ledger.version(cursor, dataset, window)]
        cursor.execute(
            "SELECT count(*) FROM ops.integrity_checks WHERE verdict = 'failed' AND run_id = %s", (run.run_id,)
        )
        broken = warehouse.fetch_value(cursor)
    if planned[0] is None:
        raise AirflowFailException("the health checks did not pass: ops.health_checks says why")
    problems = [
        f"{pipeline.dataset}: no windows were planned, the log of its backlog says why"
        for pipeline, windows in zip(pipelines, planned, strict=True)
        if windows is None
    ]
    if left:
        problems.append(f"{len(left)} windows did not land ({', '.join(left)})")
    if broken:
        problems.append(f"{broken} checks failed")
    if compared is None and not broken and len(left) < len(due):
        problems.append("what landed was not compared with its source")
    with tasks.final_errors_end_the_task():
        _refuse_held(run, own, *pipelines)
    if problems:
        raise AirflowFailException("; ".join(problems))


def _plan(pipeline: Pipeline, most: int, *, newest: bool = False) -> Planned:
    run, own = tasks.this_run()
    with tasks.final_errors_end_the_task():
        with warehouse.session("loader") as cursor:
            windows = backlog.backlog(cursor, pipeline.dataset, most, newest=newest, own=own)
        if windows:
            health.check_sources(run.run_id, [pipeline.connection])
            with sources.snapshot(pipeline.connection) as source:
                windows = backlog.give_up_lost(source, pipeline, windows, run)
    log.info("%s: %s windows to load", pipeline.dataset, len(windows))
    return [window.bounds() for window in windows]


def _refuse_held(run: Run, own: datetime | None, *pipelines: Pipeline) -> None:
    """Refuse a run that a person started for a held window; called after the rest of its work.

    Raises:
        Held: the window is held; says by whom, why and how it is released.
    """
    if not run.by_hand or own is None:
        return
    for pipeline in pipelines:
        with warehouse.session("loader") as cursor:
            grid = ledger.grid(cursor, pipeline.dataset)
        if own >= grid.first:
            publish.refuse_held(pipeline.dataset, window_of(own, grid))


def _windows(planned: Planned | None) -> list[Window]:
    return [Window.between(window) for window in planned or []]
