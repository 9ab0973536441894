"""The building blocks of catchup_control: conditions, changes, gaps."""

from __future__ import annotations

import logging
from datetime import datetime
from functools import partial

from airflow.sdk import task

from highwater.airflow import catchup_control
from highwater.incidents import alerts
from highwater.incidents.watching import watched
from highwater.model.errors import HighwaterError
from highwater.model.windows import Window
from highwater.policy import conditions
from highwater.store import ledger, warehouse

log = logging.getLogger(__name__)

UNFINISHED = ["queued", "running"]
"""The states of runs that may yet land what they are for."""


@task
@watched
def look_at_conditions() -> None:
    """Ask each condition that a policy names; one that cannot answer counts as before."""
    for look in conditions.evaluate():
        log.log(logging.WARNING if look.error or look.flipped else logging.INFO, "%s", look)


@task
@watched
def announce_changes() -> None:
    """Say of every change of what is wanted who made it, when and why; a risky one becomes an incident."""
    with warehouse.session("loader") as cursor:
        for change in catchup_control.announce(cursor):
            log.info("%s", change)
    alerts.look()


@task
@watched
def resume_stopped() -> None:
    """Let stopped datasets go on for which something changed, and ask for a backfill of what they had not tried."""
    for resumed in catchup_control.let_go_on():
        try:
            with warehouse.session("loader") as cursor:
                number = catchup_control.resume(cursor, resumed)
        except HighwaterError as refused:
            log.warning("%s goes on, but its windows are not asked for yet: %s", resumed.dataset, refused)
            continue
        log.info("%s goes on%s", resumed.dataset, f": backfill {number}" if number else "")
    alerts.look()


@task
@watched
def fill_gaps() -> None:
    """Ask for a backfill of what the policy wants and Airflow has gone past; what runs may yet land waits for them."""
    live: dict[str, set[Window]] = {}
    with warehouse.session("loader") as cursor:
        for gap in catchup_control.gaps_to_fill(cursor):
            grid = ledger.grid(cursor, gap.dataset)
            for state in UNFINISHED:
                newest = partial(_newest_run_before, gap.dag_id, state)
                live.setdefault(gap.dataset, set()).update(catchup_control.windows_on_their_way(gap, grid, newest))
        gaps = catchup_control.gaps_to_fill(cursor, live)
    for dataset, windows in live.items():
        if windows:
            log.info("%s: %s windows wait, since runs that have not ended may land them", dataset, len(windows))
    for gap in gaps:
        try:
            with warehouse.session("loader") as cursor:
                number = catchup_control.fill(cursor, gap)
        except HighwaterError as refused:
            log.warning("%s: %s windows from %s are not filled: %s", gap.dataset, gap.windows, gap.from_time, refused)
            continue
        log.info("%s: backfill %s for %s windows from %s", gap.dataset, number, gap.windows, gap.from_time)


def _newest_run_before(dag_id: str, state: str, moment: datetime) -> datetime | None:
    """The logical date of the newest run of a DAG in that state that lies before a moment."""
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import GetPreviousDagRun, PreviousDagRunResult

    answer = task_runner.SUPERVISOR_COMMS.send(GetPreviousDagRun(dag_id=dag_id, logical_date=moment, state=state))
    if not isinstance(answer, PreviousDagRunResult):
        raise HighwaterError(f"Airflow does not say which runs of {dag_id} are {state}: {answer}")
    return answer.dag_run.logical_date if answer.dag_run else None
