"""Task blocks that DAGs share: they carry a window from its source to the published table, one stage per task."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from highwater.incidents import alerts
from highwater.loading import stages
from highwater.loading.stages import Pipeline
from highwater.model.errors import HighwaterError, NotRegistered
from highwater.model.windows import window_of
from highwater.sources import sources
from highwater.sources.sources import Completeness
from highwater.store import breakers, ledger, publish, sentences, warehouse
from highwater.store.ledger import Attempt, Run, Standing
from highwater.store.publish import Landed, Staged

__all__ = ["Pipeline", "audit", "extract", "load", "stage", "summarise", "transform", "validate_availability"]

log = logging.getLogger(__name__)

AUTOMATIC = {"scheduled", "operator_triggered", "asset_triggered", "asset_materialization"}
"""Types of runs started by the schedule or another DAG. Manual runs, native backfills and cleared runs are a person's
request."""

NOTHING_TO_DO: dict[str, Any] = {}
"""A falsy result: Airflow skips the tasks downstream."""
WHY = "why there is nothing to do"
"""The key of the XCom with the reason: the Task SDK lets no task write its own note, or that of its run."""


def nothing_to_do(why: str) -> dict[str, Any]:
    """End the run with its first task; Airflow's UI shows the reason under XCom of that task."""
    log.info("nothing to do: %s", why)
    get_current_context()["ti"].xcom_push(WHY, why)
    return NOTHING_TO_DO


@task.short_circuit
def validate_availability(pipeline: Pipeline) -> dict[str, Any]:
    """Checks the configuration, that the source is available, and that the window is complete in it.

    An automatic run ends here if its window has landed already, or a rule skips it.
    """
    standing = why_covered(pipeline.dataset)
    if standing and standing.verdict not in (ledger.LANDED, ledger.HELD):
        # No attempt is recorded: a successful one would mean that the next stage follows.
        return nothing_to_do(standing.sentence)
    with stage(pipeline.dataset, "validate_availability") as attempt:
        if standing:
            attempt.note = standing.sentence
            return nothing_to_do(standing.sentence)
        stages.check_configuration(pipeline)
        with sources.snapshot(pipeline.connection) as source:
            stages.check_statements(pipeline, attempt.window, source)
            complete = sources.check_complete(source, pipeline.folder, attempt.window, pipeline.dataset)
        attempt.note = f"complete at {pipeline.connection}, {_count(complete.expected_rows)} rows by its own count"
        return asdict(complete)


@task
def extract(pipeline: Pipeline, available: dict[str, Any]) -> dict[str, Any]:
    """Stream the window from the source into a new staging set."""
    with (
        stage(pipeline.dataset, "extract") as attempt,
        sources.snapshot(pipeline.connection) as source,
    ):
        return asdict(stages.extract(pipeline, attempt, source, Completeness(**available)))


@task
def transform(pipeline: Pipeline, extracted: dict[str, Any]) -> dict[str, Any]:
    """Clean the set into the published shape; each rejected row goes to quarantine with its reason."""
    return _run(stages.transform, pipeline, Staged(**extracted))


@task
def audit(pipeline: Pipeline, cleaned: dict[str, Any]) -> dict[str, Any]:
    """Run the suite on the set before anyone can read it; a failed audit publishes nothing."""
    return _run(stages.audit, pipeline, Staged(**cleaned))


@task
def load(pipeline: Pipeline, audited: dict[str, Any]) -> dict[str, Any]:
    """Publish the set and write the ledger row, in one transaction."""
    return _run(stages.load, pipeline, Staged(**audited))


@task
def summarise(pipeline: Pipeline, landed: dict[str, Any]) -> None:
    """Write what the window cost, and drop what earlier attempts at it left in staging."""
    _run(stages.summarise, pipeline, Landed(**landed))


def _run(one: stages.Stage, pipeline: Pipeline, given: Staged | Landed) -> dict[str, Any]:
    """Run one stage as an attempt; returns its result as the next task takes it."""
    with stage(pipeline.dataset, one.__name__) as attempt:
        return asdict(one(pipeline, attempt, given))


def why_covered(dataset: str, *, tries: bool = True) -> Standing | None:
    """Why an automatic run has nothing to do; None if it has, or if a person requested the run.

    ``tries`` is as in `why_blocked`.

    Raises:
        AirflowFailException: a person requested a window that is held.
    """
    blocked = why_blocked(dataset, tries=False)
    if blocked and blocked.verdict == ledger.UNREGISTERED:
        return blocked
    with final_errors_end_the_task(success_opens_nothing=True):
        run, moment = this_run()
        with warehouse.session("loader") as cursor:
            window = window_of(moment, ledger.grid(cursor, dataset))
            standing = ledger.standing(cursor, dataset, window)
        if run.by_hand:
            if standing and standing.verdict == ledger.HELD:
                publish.refuse_held(dataset, window)
            return None
    if standing or blocked is None or not tries:
        return standing or blocked
    # Asked only now: a window that has landed must not use up the breaker's trial.
    return why_blocked(dataset)


def why_blocked(dataset: str, *, any_time: bool = False, tries: bool = True) -> Standing | None:
    """Why an automatic run may not load a dataset: it has no row yet, or its circuit breaker is open.

    None if it may, or if a person requested the run. ``any_time`` is as in `stage`. An open breaker lets one window
    through now and then; with ``tries`` a None may be that trial, and the caller has to load a window.
    """
    with final_errors_end_the_task(success_opens_nothing=True):
        run, moment = this_run(any_time=any_time)
        if run.by_hand:
            return None
        with warehouse.session("loader") as cursor:
            try:
                ledger.grid(cursor, dataset)
            except NotRegistered as missing:
                breakers.wait_for_registration(cursor, dataset, run.dag_id, moment)
                return Standing(ledger.UNREGISTERED, f"it waits: {missing}")
        why = breakers.stopped(dataset) if tries else breakers.still_stopped(dataset)
        return Standing(ledger.STOPPED, why) if why else None


@contextmanager
def stage(dataset: str, name: str, *, any_time: bool = False) -> Iterator[Attempt]:
    """One attempt at a stage, on the window of the run's logical date.

    An error that a retry cannot fix ends the task at once. At the end, incidents are reconciled. With ``any_time``, a
    run without a logical date works on the window it was triggered in.
    """
    with final_errors_end_the_task(success_opens_nothing=True):
        run, moment = this_run(any_time=any_time)
        with warehouse.session("loader") as cursor:
            window = window_of(moment, ledger.grid(cursor, dataset))
        with ledger.attempt(dataset, window, name, run) as attempt:
            yield attempt


def this_run(*, any_time: bool = False) -> tuple[Run, datetime | None]:
    """The run and try of this task, and its logical date; with ``any_time``, else the time it was triggered."""
    context = get_current_context()
    ti, dag_run = context["ti"], context["dag_run"]
    run = Run(
        dag_run.dag_id,
        dag_run.run_id,
        ti.try_number,
        last_try=ti.try_number > ti.max_tries,
        by_hand=dag_run.run_type not in AUTOMATIC or bool(dag_run.clear_number),
    )
    return run, dag_run.logical_date or (dag_run.run_after if any_time else None)


@contextmanager
def final_errors_end_the_task(*, success_opens_nothing: bool = False) -> Iterator[None]:
    """Fail without retries on errors that a retry cannot fix, translate the driver's errors, then reconcile incidents.

    With ``success_opens_nothing``, a success reconciles only if there are incidents or failures; leave it out for a
    task whose success may open an incident, such as a check.
    """
    with warehouse.keeping_links():
        reconcile = alerts.look
        try:
            with sentences.in_one_voice():
                yield
            if success_opens_nothing:
                reconcile = alerts.look_if_troubled
        except HighwaterError as error:
            if error.is_final:
                raise AirflowFailException(sentences.of(error)) from error
            raise
        finally:
            reconcile()


def _count(rows: int | None) -> str:
    return "an unknown number of" if rows is None else f"{rows:,}"
