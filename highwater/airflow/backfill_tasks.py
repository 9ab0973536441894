"""The building blocks of selective_backfill: take a backfill on, lanes that load its windows, its end."""

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

AWAY_FOR = timedelta(seconds=15)
"""So long a lane leaves its slot to others. Queued again before the scheduler has taken in that it ended, it would
count as killed, since the try is the same."""


@task
def begin() -> dict[str, int]:
    """Take on the backfill the conf names, or make one from the form; refuses what cannot be meant before it starts."""
    context = get_current_context()
    filled, dag_run = context["params"], context["dag_run"]
    with tasks.final_errors_end_the_task(), warehouse.session("loader") as cursor:
        number = filled["backfill_id"]
        if number is None:
            # Tried again, it must not ask twice.
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
    """A number a lane: no more than may be in work at once."""
    return list(range(1, begun["lanes"] + 1))


@task(map_index_template="lane {{ lane }}")
def load_windows(begun: dict[str, int], lane: int) -> None:
    """Load one window after the other, as long as the backfill runs; gives its slot to others now and then."""
    from highwater.backfill import lanes as backfill_lanes

    get_current_context()["lane"] = str(lane)  # type: ignore[typeddict-unknown-key]
    run, _moment = tasks.this_run(any_time=True)
    with tasks.final_errors_end_the_task(), _stopping(begun["backfill"]):
        with warehouse.session("loader") as cursor:
            pipeline = _find_pipeline(cursor, begun["backfill"])
        over = backfill_lanes.work(begun["backfill"], pipeline, run)
    if not over:
        raise AirflowRescheduleException(clock.now() + AWAY_FOR)  # type: ignore[no-untyped-call]


@task(trigger_rule="all_done")
@sentences.in_one_voice()
def end(begun: dict[str, int] | None) -> None:
    """Say how the backfill ended; fails the run if a window failed."""
    if begun is None:
        raise AirflowFailException("nothing was begun: the log of the task begin says why")
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
    """What the backfills that wait for a run are to be started with."""
    with warehouse.session("loader") as cursor:
        return [{"trigger_run_id": run_id, "conf": conf} for run_id, conf in requests.waiting(cursor)]


def start_waiting() -> Any:
    """Wires into a DAG what starts the backfills that wait: a task that asks for them, and a run of Airflow for each.

    Returns the mapped task that starts them. A start that somebody was faster with is skipped.
    """
    return TriggerDagRunOperator.partial(
        task_id="start_waiting", trigger_dag_id=requests.DAG, skip_when_already_exists=True
    ).expand_kwargs(waiting())


def _stop_without_a_pipeline(number: int) -> None:
    """What no lane could load is stopped before one starts."""
    with tasks.final_errors_end_the_task(), _stopping(number), warehouse.session("loader") as cursor:
        _find_pipeline(cursor, number)


@contextmanager
def _stopping(number: int) -> Iterator[None]:
    """What ends a lane for good stops the backfill: the reason stands beside it."""
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
