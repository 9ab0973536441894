"""The building blocks of catchup_control: conditions, changes, gaps."""

from __future__ import annotations

import logging

from airflow.sdk import get_current_context, task

from highwater import alerts, catchup_control, conditions, warehouse
from highwater.errors import HighwaterError

log = logging.getLogger(__name__)

UNFINISHED = ["queued", "running"]
"""The states of runs that may yet land what they are for."""


@task
def look_at_conditions() -> None:
    """Ask each condition that a policy names; one that cannot answer counts as before."""
    for look in conditions.evaluate():
        log.log(logging.WARNING if look.error or look.flipped else logging.INFO, "%s", look)


@task
def announce_changes() -> None:
    """Say of every change of what is wanted who made it, when and why; a risky one becomes an incident."""
    with warehouse.session("loader") as cursor:
        for change in catchup_control.announce(cursor):
            log.info("%s", change)
    alerts.look()


@task
def fill_gaps() -> None:
    """Ask for a backfill of what the policy wants and Airflow has gone past, once nothing of it is on its way."""
    with warehouse.session("loader") as cursor:
        gaps = catchup_control.gaps_to_fill(cursor)
    for gap in gaps:
        if on_its_way := get_current_context()["ti"].get_dr_count(dag_id=gap.dag_id, states=UNFINISHED):
            log.info(
                "%s: %s windows from %s wait, since %s runs of %s have not ended",
                gap.dataset, gap.windows, gap.from_time, on_its_way, gap.dag_id,
            )  # fmt: skip
            continue
        try:
            with warehouse.session("loader") as cursor:
                number = catchup_control.fill(cursor, gap)
        except HighwaterError as refused:
            log.warning("%s: %s windows from %s are not filled: %s", gap.dataset, gap.windows, gap.from_time, refused)
            continue
        log.info("%s: backfill %s for %s windows from %s", gap.dataset, number, gap.windows, gap.from_time)
