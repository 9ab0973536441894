"""Task blocks of a DAG that loads several sources and builds a derived table: check, load, build, compare, publish."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from airflow.sdk import task
from airflow.sdk.exceptions import AirflowSkipException

from highwater.airflow.tasks import final_errors_end_the_task, nothing_to_do, this_run, why_blocked, why_covered
from highwater.loading import derived_table, source_sync, stages
from highwater.loading.source_checks import Check
from highwater.loading.stages import Pipeline
from highwater.model.errors import DataRejected
from highwater.model.windows import Window, window_of
from highwater.store import holds, ledger, publish, sentences, warehouse
from highwater.store.ledger import Run
from highwater.store.publish import Staged

log = logging.getLogger(__name__)


@task.short_circuit
def ask_ledger(pipeline: Pipeline, sources: Sequence[Pipeline]) -> Any:
    """Ends a scheduled run here if its day has landed and there is nothing left to do.

    Left to do are windows that the rule of a source has the run load or skip, and days whose sources changed since they
    were built. Corrections at a source are found by the next run whose day has not landed.
    """
    standing = why_covered(pipeline.dataset, tries=False)
    if standing is None or standing.verdict == ledger.STOPPED:
        return True
    if standing.verdict == ledger.UNREGISTERED:
        return nothing_to_do(standing.sentence)
    with final_errors_end_the_task(success_opens_nothing=True):
        run, day = _run_and_day(pipeline.dataset)
        left = [each.dataset for each in sources if source_sync.has_work_left(each, day, run)]
        with derived_table.snapshot() as published:
            if derived_table.days(published, pipeline, day, again=False):
                left.append(pipeline.dataset)
    if not left:
        return nothing_to_do(standing.sentence)
    log.info("%s; left to do: %s", standing.sentence, ", ".join(left))
    return True


@task
def check(pipeline: Pipeline, days: str) -> dict[str, Any]:
    """Check the source once. Its problems are recorded in ops.source_checks and do not fail the task.

    ``days`` is the dataset whose grid the run's day lies on.
    """
    with final_errors_end_the_task():
        run, day = _run_and_day(days)
        return asdict(source_sync.check(pipeline, day, run))


@task
def sync(pipeline: Pipeline, checked: dict[str, Any], days: str) -> None:
    """Land the windows that the source's rule gives this run; skipped if the check found the source unavailable.

    ``days`` is the dataset whose grid the run's day lies on.
    """
    if blocked := why_blocked(pipeline.dataset):
        raise AirflowSkipException(blocked.sentence)
    with final_errors_end_the_task():
        run, day = _run_and_day(days)
        result = Check(**checked)
        if source_sync.skip_if_unavailable(pipeline, day, result, run):
            raise AirflowSkipException(f"{pipeline.dataset} is not loaded: {result.error}")
        source_sync.load(pipeline, day, run)


@task(trigger_rule="all_done")
def build_days(pipeline: Pipeline) -> list[dict[str, Any]]:
    """Build in staging each day up to this run's whose sources changed since it was built."""
    if blocked := why_blocked(pipeline.dataset):
        log.warning("no day is built: %s", blocked.sentence)
        return []
    with final_errors_end_the_task():
        run, day = _run_and_day(pipeline.dataset)
        if run.by_hand:
            # Repeats the first task's refusal: this task runs whatever became of that one, and the run would succeed.
            publish.refuse_held(pipeline.dataset, day)
        built: list[dict[str, Any]] = []
        with derived_table.snapshot() as published:
            for hold in holds.held(published, pipeline.dataset, until=day.end):
                log.info("%s %s is held by %s and is not built again", hold.dataset, hold.window, hold.held_by)
            days = derived_table.days(published, pipeline, day, again=run.by_hand)
            for window, basis in days.items():
                staged = derived_table.build(published, pipeline, window, basis, run)
                built.append({"day": window.bounds(), "staged": asdict(staged)})
        log.info(
            "%d days built: %s",
            len(built),
            ", ".join(sorted(map(str, days))) or "each has landed from the same sources, or none of its sources has",
        )
        return built


@task
def compare(pipeline: Pipeline, built: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare each built day with its sources before anyone can read it; returns which are held back, and why."""
    with final_errors_end_the_task():
        run, _moment = this_run()
        sets = {Window.between(item["day"]): Staged(**item["staged"]) for item in built}
        held = {}
        for window, report in derived_table.compare(pipeline, sets).items():
            try:
                derived_table.require_match(pipeline, window, report, run)
            except DataRejected as refused:
                held[window] = sentences.of(refused)
                log.warning(held[window])
        return [item | {"held": held.get(Window.between(item["day"]))} for item in built]


@task
def publish_days(pipeline: Pipeline, compared: list[dict[str, Any]]) -> None:
    """Publish the days that passed; fails at the end if one was held back, whose former version is kept."""
    with final_errors_end_the_task():
        run, _moment = this_run()
        for item in (item for item in compared if not item["held"]):
            stages.publish_set(pipeline, Window.between(item["day"]), Staged(**item["staged"]), run)
        if held := [item["held"] for item in compared if item["held"]]:
            raise DataRejected("; ".join(held))


def _run_and_day(days: str) -> tuple[Run, Window]:
    run, moment = this_run()
    with warehouse.session("loader") as cursor:
        return run, window_of(moment, ledger.grid(cursor, days))
