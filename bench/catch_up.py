"""The first start: thirty days caught up by a real scheduler, beside a DAG of the same shape whose tasks do nothing."""

from __future__ import annotations

from typing import Annotated

import measuring
import scheduled
import typer
from measuring import AsJson, Figure, Repeat

EMPTY = """
from datetime import timedelta

from airflow.sdk import CronDataIntervalTimetable, dag, task

from highwater.environment import settings


@task
def nothing(former: dict[str, int] | None) -> dict[str, int]:
    return {{"rows": 0}}


@dag(
    schedule=CronDataIntervalTimetable("0 2 * * *", timezone="UTC"),
    start_date=settings.get().days_before_anchor({days}),
    catchup=True,
    max_active_runs=3,
)
def empty() -> None:
    former = None
    for stage in ("validate_availability", "extract", "transform", "audit", "load", "summarise"):
        former = nothing.override(task_id=stage)(former)


empty()
"""


def main(
    days: Annotated[int, typer.Option(min=1, help="Number of days to catch up.")] = 30,
    rows: Annotated[int, typer.Option(min=0, help="Rows per day.")] = 20_000,
    repeat: Repeat = 5,
    as_json: AsJson = False,
) -> None:
    """Catch up on a new platform each time, then run as many empty tasks on it."""

    def month() -> tuple[float, float]:
        settings = {"HIGHWATER_HISTORY_DAYS": str(days), "SIMULATION_ROWS_PER_DAY": str(rows)}
        # A day that closes late only waits.
        with scheduled.platform(**settings, SIMULATION_LATE_CLOSE_SECONDS="0") as dags:
            scheduled.ours(dags, "historical_sales_migration")
            took = scheduled.seconds("historical_sales_migration", days)
            (dags / "empty.py").write_text(EMPTY.format(days=days))
            return took, scheduled.seconds("empty", days)

    whole, empty = measuring.medians_of_pairs(repeat, month)
    figure = Figure(
        f"catching up {days} days", f"{rows:,} rows a day", whole, "empty tasks of the same shape", empty, aim=1.3
    )
    measuring.show([figure], as_json)


if __name__ == "__main__":
    typer.run(main)
