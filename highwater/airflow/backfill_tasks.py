"""The tasks of selective_backfill: begin a backfill, load its windows in lanes, end it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException

from highwater.airflow import tasks
from highwater.backfill import form, requests
from highwater.model import clock
from highwater.model.errors import HighwaterError
from highwater.store import sentences, warehouse

log = logging.getLogger(__name__)

PAUSE = timedelta(seconds=15)
"""How long a lane leaves its slot to others. If it were queued before the scheduler noticed that it ended, it would
count as killed, since its try number is the same."""


@task
def begin() -> dict[str, int]:
    """Begin the backfill that the conf names, or request one from the form; an invalid one is refused here."""
    context = get_current_context()
    filled, dag_run = context["params"], context["dag_run"]
    with tasks.final_errors_end_the_task(), warehouse.session("loader") as cursor:
        number = filled["backfill_id"]
        if number is None:
            # A retry must not request a second one.
            cursor.execute("SELECT backfill_id FROM control.backfills WHERE dag_run_id = %s", (dag_run.run_id,))
            row = warehouse.fetch(cursor)
            by = dag_run.triggering_user_name or "a person in the UI"
            number = (
                row.backfill_id if row else requests.request(cursor, form.request(filled, by), run_id=dag_run.run_id)
            )
        with requests.in_words():
            cursor.execute("SELECT (control.begin_backfill(%s, %s)).*", (number, dag_run.run_id))
            taken = warehouse.fetch(cursor)
        now = requests.progress(cursor, number)
    log.info("%s", requests.sentence(now))
    _stop_without_a_pipeline(number)
    lanes = min(taken.max_active, now["windows_left"]) if taken.state == "running" else 0
    return {"backfill": number, "lanes": lanes}


@task
def lanes(begun: dict[str, int]) -> list[int]:
    """One number per lane: as many as windows may be loaded in parallel."""
    return list(range(1, begun["lanes"] + 1))


@task(map_index_template="lane {{ lane }}")
def load_windows(begun: dict[str, int], lane: int) -> None:
    """Load one window after the other while the backfill runs; leaves its slot to others now and then."""
    from highwater.backfill import lanes as backfill_lanes

    get_current_context()["lane"] = str(lane)  # type: ignore[typeddict-unknown-key]
    run, _moment = tasks.this_run(any_time=True)
    with tasks.final_errors_end_the_task(), _stopping(begun["backfill"]):
        with warehouse.session("loader") as cursor:
            pipeline = _find_pipeline(cursor, begun["backfill"])
        over = backfill_lanes.work(begun["backfill"], pipeline, run)
    if not over:
        raise AirflowRescheduleException(clock.now() + PAUSE)  # type: ignore[no-untyped-call]


@task(trigger_rule="all_done")
@sentences.in_one_voice()
def end(begun: dict[str, int] | None) -> None:
    """End the backfill and log the result; fails the run if a window failed."""
    if begun is None:
        raise AirflowFailException("no backfill was begun: see the log of the task begin")
    run, _moment = tasks.this_run(any_time=True)
    with warehouse.session("loader") as cursor:
        cursor.execute("SELECT (control.end_backfill(%s, %s)).*", (begun["backfill"], run.run_id))
        ended = warehouse.fetch(cursor)
        now = requests.progress(cursor, begun["backfill"])
    log.info("%s", requests.sentence(now))
    if ended.state in ("failed", "stopped"):
        raise AirflowFailException(f"backfill {ended.backfill_id} {ended.state}: {ended.note}")


@task
@sentences.in_one_voice()
def waiting() -> list[dict[str, Any]]:
    """The run id and conf of each backfill that waits for a run."""
    with warehouse.session("loader") as cursor:
        return [{"trigger_run_id": run_id, "conf": conf} for run_id, conf in requests.waiting(cursor)]


def start_waiting() -> Any:
    """Add to a DAG the tasks that start waiting backfills: one that lists them, and one that triggers a run for each.

    Returns the mapped task that triggers the runs. A run that exists already is skipped.
    """
    return TriggerDagRunOperator.partial(
        task_id="start_waiting", trigger_dag_id=requests.DAG, skip_when_already_exists=True
    ).expand_kwargs(waiting())


def _stop_without_a_pipeline(number: int) -> None:
    """Stop a backfill whose dataset has no pipeline, before a lane starts."""
    with tasks.final_errors_end_the_task(), _stopping(number), warehouse.session("loader") as cursor:
        _find_pipeline(cursor, number)


@contextmanager
def _stopping(number: int) -> Iterator[None]:
    """An error that a retry cannot fix stops the backfill, which records it as its note."""
    try:
        yield
    except HighwaterError as error:
        if error.is_final:
            with warehouse.session("loader") as cursor:
                cursor.execute("SELECT control.stop_backfill(%s, %s)", (number, sentences.of(error)))
        raise


def _find_pipeline(cursor: Any, number: int) -> Any:
    from highwater.backfill import lanes as backfill_lanes

    folder = Path(get_current_context()["dag"].fileloc).parent
    return backfill_lanes.find_pipeline(cursor, requests.progress(cursor, number)["dataset"], folder)
