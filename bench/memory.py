"""The peak memory of each task of the month at several sizes of the day, beside an empty task of Airflow."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from datetime import timedelta

import measuring
import sales_days
import scheduled
import typer
from measuring import AsJson, Figure, Repeat, Rows

from highwater.environment import settings
from highwater.store import warehouse

DAG = "historical_sales_migration"
MOST = 191
"""MiB: 200 MB."""
EMPTY = """
import re
from pathlib import Path

from airflow.sdk import dag, task

from highwater.store import ledger


@task
def nothing() -> None:
    ledger.reset_peak_memory()
    shared = sum(map(int, re.findall(r"^Shared_\\w+: +(\\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.M)))
    with Path({file!r}).open("a") as out:
        out.write(f"{{ledger.peak_memory_bytes() / 2**20}} {{shared / 2**10}}\\n")


@dag(schedule="@once")
def empty() -> None:
    [nothing.override(task_id=f"nothing_{{number}}")() for number in range({repeat})]


empty()
"""


def main(
    rows: Rows = None,
    repeat: Repeat = 5,
    as_json: AsJson = False,
) -> None:
    """Let a real scheduler run days of each size; ops.attempts records the peak memory of their tasks."""
    sizes = rows or sales_days.SIZES
    days = repeat * len(sizes)
    with scheduled.platform(
        HIGHWATER_HISTORY_DAYS=str(days), SIMULATION_ROWS_PER_DAY="1", SIMULATION_LATE_CLOSE_SECONDS="0"
    ) as dags:
        _make_days(sizes, days)
        scheduled.ours(dags, DAG)
        scheduled.seconds(DAG, days)
        file = dags.parent / "empty-peaks"
        (dags / "empty.py").write_text(EMPTY.format(file=str(file), repeat=repeat))
        scheduled.seconds("empty")
        each = [map(float, line.split()) for line in file.read_text().splitlines()]
        empty, shared = map(statistics.median, zip(*each, strict=True))
        with warehouse.session("analyst") as cursor:
            cursor.execute(
                "SELECT a.stage, l.rows_extracted AS rows,"
                " percentile_cont(0.5) WITHIN GROUP (ORDER BY a.peak_memory_bytes) / 2 ^ 20 AS mib"
                " FROM ops.attempts AS a INNER JOIN ops.window_ledger AS l USING (dataset, window_range)"
                " WHERE a.dataset = 'daily_sales' AND a.state = 'succeeded'"
                " GROUP BY a.stage, l.rows_extracted ORDER BY a.stage, rows"
            )
            figures = [
                Figure(
                    "peak memory of a task",
                    f"{row.stage}, {row.rows:,} rows",
                    row.mib,
                    "an empty task",
                    empty,
                    "MiB",
                    most=MOST,
                    more={"mib_an_empty_task_shares_with_the_scheduler": round(shared, 1)},
                )
                for row in warehouse.fetch_all(cursor)
            ]
    measuring.show(figures, as_json)


def _make_days(sizes: Sequence[int], days: int) -> None:
    """Replace the history by days of these sizes, in turn."""
    first = settings.get().days_before_anchor(days).date()
    with warehouse.session("postgres", settings.get().sources_database) as cursor:
        for number in range(days):
            day = first + timedelta(days=number)
            cursor.execute(f"DROP TABLE legacy.sales_{day:%Y%m%d}")
            cursor.execute("DELETE FROM legacy.closed_days WHERE business_date = %s", (day,))
            cursor.execute("SELECT legacy.generate_day(%s, %s, 42, now())", (day, sizes[number % len(sizes)]))


if __name__ == "__main__":
    typer.run(main)
