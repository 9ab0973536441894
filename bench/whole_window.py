"""A whole window — is it complete, extract, transform, audit, publish, summarise — beside the copying alone."""

from __future__ import annotations

import statistics
from typing import Annotated

import measuring
import sales_days
import typer
from measuring import AsJson, Figure, Repeat

from highwater import quality, stages, warehouse
from highwater.ledger import Run, as_range
from highwater.windows import Window


def main(
    rows: Annotated[list[int] | None, typer.Option(help="Rows a day; may be given several times.")] = None,
    repeat: Repeat = 5,
    as_json: AsJson = False,
) -> None:
    """Land the same day again and again, other content each time, and copy it with psql in between."""
    figures = []
    with measuring.platform(SIMULATION_ROWS_PER_DAY="1"):
        sales_days.connect_as_airflow()
        # What a process pays once, whatever the window: scripts/bench tasks shows it.
        quality.load_suite(sales_days.SALES.suite)
        for number, size in enumerate(rows or [20_000, 200_000, 1_000_000]):
            figures.append(_measure(sales_days.make(size, number), size, repeat))
    measuring.show(figures, as_json)


def _measure(window: Window, size: int, repeat: int) -> Figure:
    turns = iter(range(repeat + 1))

    def land() -> float:
        turn = next(turns)
        run = Run("bench", f"run {turn}")
        sales_days.change(window, turn)
        return measuring.seconds(lambda: stages.land_window(sales_days.SALES, window, run))

    land()
    whole, copying = measuring.medians(repeat, land, lambda: sales_days.psql_copy(window.start.date()))
    with warehouse.session("analyst") as cursor:
        cursor.execute(
            "SELECT stage, array_agg(seconds) AS seconds FROM ops.attempts"
            " WHERE window_range = %s AND run_id <> 'run 0' GROUP BY stage ORDER BY min(attempt_id)",
            (as_range(window),),
        )
        of_stage = {row.stage: round(float(statistics.median(row.seconds)), 3) for row in warehouse.fetch_all(cursor)}
    return Figure(
        "a whole window, audit and all", f"{size:,} rows", whole, "psql copy | psql copy", copying, more=of_stage
    )


if __name__ == "__main__":
    typer.run(main)
