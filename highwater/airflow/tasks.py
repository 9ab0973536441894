"""The building blocks that DAGs share: a window from its source to the published table, a stage a task."""

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

UNASKED = {"scheduled", "asset_triggered", "asset_materialization"}
"""The types of runs that nobody asked for; a native backfill, and a run that was cleared, somebody did."""


NOTHING_TO_DO: dict[str, Any] = {}
"""What makes Airflow skip the tasks that follow."""
WHY = "why there is nothing to do"
"""The key of the XCom that says so: the Task SDK lets no task write its own note, or that of its run."""


def nothing_to_do(why: str) -> dict[str, Any]:
    """End the run with the first task, and have Airflow's UI show why, under XCom of that task."""
    log.info("nothing to do: %s", why)
    get_current_context()["ti"].xcom_push(WHY, why)
    return NOTHING_TO_DO


@task.short_circuit
def validate_availability(pipeline: Pipeline) -> dict[str, Any]:
    """Is the source there, and is the window complete in it? Refuses bad configuration before any data moves.

    A run that nobody asked for ends here where its window has landed already, or a rule says to skip it.
    """
    stands = what_stands(pipeline.dataset)
    if stands and stands.verdict not in (ledger.LANDED, ledger.HELD):
        # Without an attempt: one that went well would say that the next stage follows.
        return nothing_to_do(stands.sentence)
    with stage(pipeline.dataset, "validate_availability") as attempt:
        if stands:
            attempt.note = stands.sentence
            return nothing_to_do(stands.sentence)
        stages.refuse_bad_configuration(pipeline)
        with sources.snapshot(pipeline.connection) as source:
            stages.check_statements(pipeline, attempt.window, source)
            complete = sources.check_complete(source, pipeline.folder, attempt.window, pipeline.dataset)
        attempt.note = f"complete at {pipeline.connection}, {_count(complete.expected_rows)} rows by its own count"
        return asdict(complete)


@task
def extract(pipeline: Pipeline, available: dict[str, Any]) -> dict[str, Any]:
    """Stream the window from the source into a new set in staging."""
    with (
        stage(pipeline.dataset, "extract") as attempt,
        sources.snapshot(pipeline.connection) as source,
    ):
        return asdict(stages.extract(pipeline, attempt, source, Completeness(**available)))


@task
def transform(pipeline: Pipeline, extracted: dict[str, Any]) -> dict[str, Any]:
    """Clean the set into the published shape; each row that is refused goes to quarantine with its reason."""
    with stage(pipeline.dataset, "transform") as attempt:
        return asdict(stages.transform(pipeline, attempt, Staged(**extracted)))


@task
def audit(pipeline: Pipeline, cleaned: dict[str, Any]) -> dict[str, Any]:
    """Run the suite on the set before anyone can read it; a failed audit publishes nothing."""
    with stage(pipeline.dataset, "audit") as attempt:
        stages.audit(pipeline, attempt, Staged(**cleaned))
        return cleaned


@task
def load(pipeline: Pipeline, audited: dict[str, Any]) -> dict[str, Any]:
    """Publish the set and write the ledger row, in one transaction."""
    with stage(pipeline.dataset, "load") as attempt:
        return asdict(stages.load(pipeline.dataset, attempt, Staged(**audited)))


@task
def summarise(pipeline: Pipeline, landed: dict[str, Any]) -> None:
    """Write what the window cost, and clear what earlier attempts at it left in staging."""
    with stage(pipeline.dataset, "summarise") as attempt:
        stages.summarise(pipeline.dataset, attempt, Landed(**landed))


def what_stands(dataset: str) -> Standing | None:
    """Why a run that nobody asked for has nothing to do; None where there is something, or a person asked for it.

    Raises:
        AirflowFailException: a person asked for a window that another one holds.
    """
    waits = what_waits(dataset)
    if waits and waits.verdict == ledger.UNREGISTERED:
        return waits
    with final_errors_end_the_task(success_opens_nothing=True):
        run, moment = this_run()
        with warehouse.session("loader") as cursor:
            window = window_of(moment, ledger.grid(cursor, dataset))
            stands = ledger.standing(cursor, dataset, window)
        if run.by_hand:
            if stands and stands.verdict == ledger.HELD:
                publish.refuse_held(dataset, window)
            return None
        return stands or waits


def what_waits(dataset: str, *, any_time: bool = False) -> Standing | None:
    """Why a run that nobody asked for tries no window of a dataset: it has no row yet, or its breaker is open.

    None where it may, and of a run that a person asked for. ``any_time`` is as in `stage`.
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
        why = breakers.stopped(dataset)
        return Standing(ledger.STOPPED, why) if why else None


@contextmanager
def stage(dataset: str, name: str, *, any_time: bool = False) -> Iterator[Attempt]:
    """One try of a stage on a window, else on that of the run's logical date.

    An error that a retry cannot mend ends the task at once. However it ends, it is seen whether that begins or ends an
    incident. With ``any_time`` a run that was triggered without a logical date is about the window it was triggered in.
    """
    with final_errors_end_the_task(success_opens_nothing=True):
        run, moment = this_run(any_time=any_time)
        with warehouse.session("loader") as cursor:
            window = window_of(moment, ledger.grid(cursor, dataset))
        with ledger.attempt(dataset, window, name, run) as attempt:
            yield attempt


def this_run(*, any_time: bool = False) -> tuple[Run, datetime | None]:
    """The run and try this task belongs to, and its logical date; with ``any_time`` else when it was triggered."""
    context = get_current_context()
    ti, dag_run = context["ti"], context["dag_run"]
    run = Run(
        dag_run.dag_id,
        dag_run.run_id,
        ti.try_number,
        last_try=ti.try_number > ti.max_tries,
        by_hand=dag_run.run_type not in UNASKED or bool(dag_run.clear_number),
    )
    return run, dag_run.logical_date or (dag_run.run_after if any_time else None)


@contextmanager
def final_errors_end_the_task(*, success_opens_nothing: bool = False) -> Iterator[None]:
    """Not to retry what a retry cannot mend, to say the driver's errors as ours, and to look for incidents at the end.

    Where a success begins no incident (a check that finds something does), that look is cut short on a calm platform.
    """
    with warehouse.keeping_links():
        look = alerts.look
        try:
            with sentences.in_one_voice():
                yield
            if success_opens_nothing:
                look = alerts.look_if_troubled
        except HighwaterError as error:
            if error.is_final:
                raise AirflowFailException(str(error)) from error
            raise
        finally:
            look()


def _count(rows: int | None) -> str:
    return "an unknown number of" if rows is None else f"{rows:,}"
