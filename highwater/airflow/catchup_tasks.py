"""The tasks of catchup_control."""

from __future__ import annotations

import logging
from datetime import datetime
from functools import partial

from airflow.sdk import task

from highwater.airflow import catchup_control
from highwater.backfill import requests
from highwater.incidents import alerts
from highwater.incidents.watching import watched
from highwater.model.errors import HighwaterError
from highwater.model.windows import Window
from highwater.policy import conditions
from highwater.store import ledger, warehouse

log = logging.getLogger(__name__)

UNFINISHED = ["queued", "running"]
"""The states of runs that may still land their window."""


@task
@watched
def look_at_conditions() -> None:
    """Check each condition that a policy names; where a check fails, the previous answer counts."""
    for check in conditions.evaluate():
        log.log(logging.WARNING if check.error or check.flipped else logging.INFO, "%s", check)


@task
@watched
def announce_changes() -> None:
    """Log every change of a policy or rule with user, time and reason; a risky one becomes an incident."""
    with warehouse.session("loader") as cursor:
        for change in catchup_control.announce(cursor):
            log.info("%s", change)
    alerts.look()


@task
@watched
def resume_stopped() -> None:
    """Resume stopped datasets whose cause has changed, and request a backfill of the windows they did not try.

    For those that stay stopped, one window is tried now and then, since the cause may have changed unnoticed.
    """
    for resumed in catchup_control.close_changed_breakers():
        try:
            with warehouse.session("loader") as cursor:
                number = catchup_control.resume(cursor, resumed)
        except HighwaterError as refused:
            log.warning("%s is resumed, but its windows are not requested yet: %s", resumed.dataset, refused)
            continue
        log.info("%s is resumed%s", resumed.dataset, f": backfill {number}" if number else "")
    with warehouse.session("loader") as cursor:
        to_try = catchup_control.windows_to_try(cursor)
    for wanted in to_try:
        try:
            with warehouse.session("loader") as cursor:
                number = requests.request(cursor, wanted)
        except HighwaterError as refused:
            log.warning("%s: no window is tried to test whether it works again: %s", wanted.dataset, refused)
            continue
        log.info("%s: backfill %s tests whether it works again", wanted.dataset, number)
    alerts.look()


@task
@watched
def end_without_run() -> None:
    """End the backfills whose Airflow run was marked as failed, deleted or lost, so that its last task never runs."""
    with warehouse.session("loader") as cursor:
        silent = requests.silent(cursor)
    for number, run_id in silent:
        if _runs(requests.DAG, run_id, UNFINISHED):
            log.info("backfill %s: its lanes wait for slots", number)
            continue
        with warehouse.session("loader") as cursor:
            requests.end_without_run(cursor, number, run_id, is_known=_runs(requests.DAG, run_id) > 0)
            log.warning("%s", requests.sentence(requests.progress(cursor, number)))
    if silent:
        alerts.look()


@task
@watched
def fill_gaps() -> None:
    """Request backfills of windows that the policy wants and the schedule has passed, without those of live runs."""
    live: dict[str, set[Window]] = {}
    with warehouse.session("loader") as cursor:
        for gap in catchup_control.gaps_to_fill(cursor):
            grid = ledger.grid(cursor, gap.dataset)
            for state in UNFINISHED:
                newest = partial(_newest_run_before, gap.dag_id, state)
                live.setdefault(gap.dataset, set()).update(catchup_control.windows_of_live_runs(gap, grid, newest))
        gaps = catchup_control.gaps_to_fill(cursor, live)
    for dataset, windows in live.items():
        if windows:
            log.info("%s: %s windows wait, since unfinished runs may still land them", dataset, len(windows))
    for gap in gaps:
        try:
            with warehouse.session("loader") as cursor:
                number = catchup_control.fill(cursor, gap)
        except HighwaterError as refused:
            log.warning("%s: %s windows from %s are not filled: %s", gap.dataset, gap.windows, gap.from_time, refused)
            continue
        log.info("%s: backfill %s for %s windows from %s", gap.dataset, number, gap.windows, gap.from_time)


def _newest_run_before(dag_id: str, state: str, moment: datetime) -> datetime | None:
    """The logical date of the newest run of a DAG in a state before a moment."""
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import GetPreviousDagRun, PreviousDagRunResult

    answer = task_runner.SUPERVISOR_COMMS.send(GetPreviousDagRun(dag_id=dag_id, logical_date=moment, state=state))
    if not isinstance(answer, PreviousDagRunResult):
        raise HighwaterError(f"cannot ask Airflow which runs of {dag_id} are {state}: it answered {answer}")
    return answer.dag_run.logical_date if answer.dag_run else None


def _runs(dag_id: str, run_id: str, states: list[str] | None = None) -> int:
    """Number of runs of a DAG with that id and in one of these states: 1 or 0."""
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import DRCount, GetDRCount

    answer = task_runner.SUPERVISOR_COMMS.send(GetDRCount(dag_id=dag_id, run_ids=[run_id], states=states))
    if not isinstance(answer, DRCount):
        raise HighwaterError(f"cannot ask Airflow whether run {run_id} of {dag_id} exists: it answered {answer}")
    return answer.count
