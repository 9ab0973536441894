"""The building blocks of system_recovery_processing: health, the backlog by the ledger, windows, integrity."""

from __future__ import annotations

import logging
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
from highwater.sources import health, sources
from highwater.store import breakers, ledger, publish, warehouse
from highwater.store.ledger import Run

log = logging.getLogger(__name__)

Planned = list[list[str]]
"""Windows as a task hands them on: the bounds of each."""


@task.short_circuit
def check_health(critical: Pipeline, non_critical: Pipeline) -> bool:
    """Is all that the work needs well? If not, the run waits with growing pauses; if nothing is to land, it ends."""
    run, own = tasks.this_run()
    with tasks.final_errors_end_the_task():
        with warehouse.session("loader") as cursor:
            is_work = any(backlog.backlog(cursor, each.dataset, 1, own=own) for each in (critical, non_critical))
        if not is_work:
            _refuse_held(run, own, critical, non_critical)
        with warehouse.session("loader") as cursor:
            # After an outage many runs follow at once: the newest of them looks, though there be nothing to do.
            if not is_work and backlog.is_behind(cursor, critical.dataset, own):
                return False
        for verdict in health.check(run.run_id, [critical.connection, non_critical.connection]):
            log.info("%s: %s, %.2f s", verdict.name, verdict.problem or "well", verdict.seconds)
    return is_work


@task
def critical_backlog(pipeline: Pipeline) -> Planned:
    """Every payments window that is still to land, oldest first, whatever made it missing."""
    return _plan(pipeline, backlog.MOST_CRITICAL)


@task(trigger_rule="all_done")
def non_critical_backlog(pipeline: Pipeline, critical: Pipeline, planned: Planned | None) -> Planned:
    """The next page views, unless a payments window is still to land: then they wait for the next run."""
    if planned is None:
        raise AirflowSkipException("the health checks did not pass: nothing is loaded")
    with warehouse.session("loader") as cursor:
        left = backlog.backlog(cursor, critical.dataset, 1)
    if left:
        log.warning("%s %s is still to land: page views wait for the next run", critical.dataset, left[0])
        return []
    config = settings.get()
    return _plan(pipeline, config.recovery_batch, newest=config.recovery_order == "newest")


@task(map_index_template="{{ window }}")
def process_window(pipeline: Pipeline, window: list[str]) -> None:
    """Stage, audit and publish one window of the backlog; does nothing where it has landed meanwhile."""
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
def validate_integrity(
    critical: Pipeline, non_critical: Pipeline, payments: Planned | None, page_views: Planned | None
) -> int:
    """Do payments equal their source to the cent, are their orders there, is no window missing?

    Returns the number of windows that were compared.
    """
    with warehouse.session("loader") as cursor:
        windows = [
            [window for window in _windows(planned) if ledger.version(cursor, pipeline.dataset, window)]
            for pipeline, planned in ((critical, payments), (non_critical, page_views))
        ]
    if not any(windows):
        raise AirflowSkipException("this run loaded nothing")
    run, _own = tasks.this_run()
    with tasks.final_errors_end_the_task():
        health.check_sources(run.run_id, [critical.connection, non_critical.connection])
        with (
            sources.snapshot(critical.connection) as billing,
            sources.snapshot(non_critical.connection) as web,
            warehouse.session("loader") as target,
        ):
            backlog.check_integrity(
                billing=billing, web=web, target=target, critical=windows[0], others=windows[1], run=run
            )
    return sum(map(len, windows))


@task(trigger_rule="all_done")
def notify(
    critical: Pipeline,
    non_critical: Pipeline,
    payments: Planned | None,
    page_views: Planned | None,
    compared: int | None,
) -> None:
    """Say how far it is, send what is waiting, and fail the run if what it had planned is not whole."""
    alerts.look()
    run, own = tasks.this_run()
    planned = [
        (pipeline.dataset, window)
        for pipeline, windows in ((critical, payments), (non_critical, page_views))
        for window in _windows(windows)
    ]
    with warehouse.session("loader") as cursor:
        log.info("%s", backlog.progress(cursor) or "no outage was found")
        left = [f"{dataset} {window}" for dataset, window in planned if not ledger.version(cursor, dataset, window)]
        cursor.execute(
            "SELECT count(*) FROM ops.integrity_checks WHERE verdict = 'failed' AND run_id = %s", (run.run_id,)
        )
        broken = warehouse.fetch_value(cursor)
    if payments is None:
        raise AirflowFailException("the health checks did not pass: ops.health_checks says why")
    problems = {
        f"{non_critical.dataset}: no windows were planned, its backlog's log says why": page_views is None,
        f"{len(left)} windows did not land ({', '.join(left)})": left,
        f"{broken} checks failed": broken,
        "what landed was not compared with its source": compared is None and not broken and len(left) < len(planned),
    }
    with tasks.final_errors_end_the_task():
        _refuse_held(run, own, critical, non_critical)
    if any(problems.values()):
        raise AirflowFailException("; ".join(problem for problem, is_one in problems.items() if is_one))


def _plan(pipeline: Pipeline, most: int, *, newest: bool = False) -> Planned:
    run, own = tasks.this_run()
    with tasks.final_errors_end_the_task():
        with warehouse.session("loader") as cursor:
            windows = backlog.backlog(cursor, pipeline.dataset, most, newest=newest, own=own)
        if windows:
            health.check_sources(run.run_id, [pipeline.connection])
            with sources.snapshot(pipeline.connection) as source:
                windows = backlog.give_up_lost(source, pipeline.dataset, windows, run)
    log.info("%s: %s windows are to land", pipeline.dataset, len(windows))
    return [window.bounds() for window in windows]


def _refuse_held(run: Run, own: datetime | None, *pipelines: Pipeline) -> None:
    """Refuse a run that a person started for a window that another one holds; what else it is for goes first.

    Raises:
        Held: that window is held; says by whom, why and how it is released.
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
