"""The building blocks of a DAG that brings several sources together: check, load, synchronise, compare, publish."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from airflow.sdk import task
from airflow.sdk.exceptions import AirflowSkipException

from highwater.airflow.tasks import final_errors_end_the_task, nothing_to_do, this_run, what_stands, what_waits
from highwater.loading import derived_table, stages
from highwater.loading import source_sync as syncing
from highwater.loading.source_checks import Check
from highwater.loading.stages import Pipeline
from highwater.model.errors import DataRejected
from highwater.model.windows import Window, window_of
from highwater.store import holds, ledger, publish, sentences, warehouse
from highwater.store.ledger import Run
from highwater.store.publish import Staged

log = logging.getLogger(__name__)

DAYS = "channel_sales"
"""The dataset whose grid a run's day lies on, unless the DAG names another."""


@task.short_circuit
def ask_ledger(pipeline: Pipeline, sources: Sequence[Pipeline]) -> Any:
    """Has the run anything to do? One that nobody asked for ends here where its day has landed and nothing is left.

    Left is a window that the rule of a source has it load or skip, and a day whose sources hold something else than it
    was made from. What a source corrected since, the next run finds whose day has not landed.
    """
    stands = what_stands(pipeline.dataset, tries=False)
    if stands is None or stands.verdict == ledger.STOPPED:
        return True
    if stands.verdict == ledger.UNREGISTERED:
        return nothing_to_do(stands.sentence)
    with final_errors_end_the_task(success_opens_nothing=True):
        run, day = _run_and_day(pipeline.dataset)
        left = [each.dataset for each in sources if syncing.is_left(each, day, run)]
        with derived_table.snapshot() as published:
            if derived_table.days(published, day, again=False):
                left.append(pipeline.dataset)
    if not left:
        return nothing_to_do(stands.sentence)
    log.info("%s; left to do: %s", stands.sentence, ", ".join(left))
    return True


@task
def check(pipeline: Pipeline, days: str = DAYS) -> dict[str, Any]:
    """Look at the source once: what is wrong with it is kept in ops.source_checks, and is no failure of the task."""
    with final_errors_end_the_task():
        run, day = _run_and_day(days)
        return asdict(syncing.check(pipeline, day, run))


@task
def sync(pipeline: Pipeline, checked: dict[str, Any], days: str = DAYS) -> None:
    """Land the windows that the source's rule gives this run; one that the check found away costs nothing more."""
    if waits := what_waits(pipeline.dataset):
        raise AirflowSkipException(waits.sentence)
    with final_errors_end_the_task():
        run, day = _run_and_day(days)
        seen = Check(**checked)
        if syncing.pass_over(pipeline, day, seen, run):
            raise AirflowSkipException(f"{pipeline.dataset} is not loaded: {seen.error}")
        syncing.load(pipeline, day, run)


@task(trigger_rule="all_done")
def make_days(pipeline: Pipeline) -> list[dict[str, Any]]:
    """Make aside each day up to this run's whose sources hold something else than it was made from."""
    if waits := what_waits(pipeline.dataset):
        log.warning("no day is made: %s", waits.sentence)
        return []
    with final_errors_end_the_task():
        run, day = _run_and_day()
        if run.by_hand:
            # What the first task refused is refused here as well: the run would end well without it.
            publish.refuse_held(pipeline.dataset, day)
        made: list[dict[str, Any]] = []
        with derived_table.snapshot() as published:
            for hold in holds.held(published, pipeline.dataset, until=day.end):
                log.info("%s %s is held by %s: it is not made again", hold.dataset, hold.window, hold.held_by)
            days = derived_table.days(published, day, again=run.by_hand)
            for window, basis in days.items():
                staged = derived_table.make(published, pipeline, window, basis, run)
                made.append({"day": window.bounds(), "staged": asdict(staged)})
        log.info(
            "made %d days: %s",
            len(made),
            ", ".join(sorted(map(str, days))) or "each has landed of the same, or has no order yet",
        )
        return made


@task
def compare(pipeline: Pipeline, made: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare each of them with its sources, before anyone can read it; says which are held back, and why."""
    with final_errors_end_the_task():
        run, _day = _run_and_day()
        sets = {Window.between(item["day"]): Staged(**item["staged"]) for item in made}
        held = {}
        for window, report in derived_table.compare(pipeline, sets).items():
            try:
                with ledger.attempt(pipeline.dataset, window, "validate_cross_source", run) as attempt:
                    derived_table.judge(pipeline, attempt, report)
            except DataRejected as refused:
                held[window] = sentences.of(refused)
                log.warning(held[window])
        return [item | {"held": held.get(Window.between(item["day"]))} for item in made]


@task
def publish_days(pipeline: Pipeline, compared: list[dict[str, Any]]) -> None:
    """Publish the days that held; fails at the end if one was held back: its former version stands."""
    with final_errors_end_the_task():
        run, _day = _run_and_day()
        for item in (item for item in compared if not item["held"]):
            stages.publish_set(pipeline.dataset, Window.between(item["day"]), Staged(**item["staged"]), run)
        if held := [item["held"] for item in compared if item["held"]]:
            raise DataRejected("; ".join(held))


def _run_and_day(days: str = DAYS) -> tuple[Run, Window]:
    run, moment = this_run()
    with warehouse.session("loader") as cursor:
        return run, window_of(moment, ledger.grid(cursor, days))
