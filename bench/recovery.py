"""Recovering three days by a real scheduler, beside a DAG of the same shape whose tasks do nothing: seconds."""

from __future__ import annotations

from datetime import timedelta

import measuring
import scheduled
import typer
from measuring import AsJson, Figure, Repeat

from highwater.environment import settings
from highwater.model import clock
from highwater.store import warehouse

DAG, EMPTY = "system_recovery_processing", "empty_recovery"
EMPTY_DAG = """
from datetime import timedelta

from airflow.sdk import CronDataIntervalTimetable, dag, get_current_context, task

from highwater.environment import settings

START = settings.get().days_before_anchor(3)


@task.short_circuit
def nothing() -> bool:
    return get_current_context()["dag_run"].logical_date < START + timedelta(hours=6)


@task
def backlog() -> list[int]:
    return list(range({windows}))


@task
def window(number: int) -> None: ...


@task(trigger_rule="all_done")
def end() -> None: ...


@dag(
    schedule=CronDataIntervalTimetable("15 */6 * * *", timezone="UTC"),
    start_date=START,
    catchup=True,
    max_active_runs=1,
)
def empty_recovery() -> None:
    critical = backlog.override(task_id="critical_backlog")()
    first = window.override(task_id="process_critical", pool="billing").expand(number=critical)
    others = backlog.override(task_id="non_critical_backlog", trigger_rule="all_done")()
    second = window.override(task_id="process_non_critical", pool="web").expand(number=others)
    nothing.override(task_id="check_health")() >> critical
    first >> others
    second >> end.override(task_id="validate_integrity")() >> end.override(task_id="notify")()


empty_recovery()
"""


def main(repeat: Repeat = 5, as_json: AsJson = False) -> None:
    """Recover three days on a new platform each time, then run as many empty tasks in the same order and pools."""
    found: list[int] = []

    def recover() -> tuple[float, float]:
        with scheduled.platform() as dags:
            scheduled.ours(dags, DAG)
            took = scheduled.seconds(DAG, _runs_due())
            with warehouse.session("analyst") as cursor:
                cursor.execute("SELECT count(*) FROM ops.window_ledger WHERE dataset = 'payments'")
                found.append(warehouse.fetch_value(cursor))
            (dags / f"{EMPTY}.py").write_text(EMPTY_DAG.replace("{windows}", str(found[-1])))
            return took, scheduled.seconds(EMPTY, _runs_due())

    whole, empty = measuring.medians_of_pairs(repeat, recover)
    case = f"{2 * found[-1]} windows of two datasets"
    measuring.show(
        [Figure("recovering three days", case, whole, "empty tasks of the same shape", empty, aim=1.5)], as_json
    )


def _runs_due() -> int:
    """How many runs of either DAG are due by now: one each six hours, from a quarter past."""
    begun = clock.now() - settings.get().days_before_anchor(3) - timedelta(minutes=15)
    return begun // timedelta(hours=6)


if __name__ == "__main__":
    typer.run(main)
