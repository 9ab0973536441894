"""A whole window (availability, extract, transform, audit, publish, summary), beside copying alone."""

from __future__ import annotations

import statistics

import measuring
import sales_days
import typer
from measuring import AsJson, Figure, Repeat, Rows

from highwater.loading import stages
from highwater.model.windows import Window
from highwater.store import warehouse
from highwater.store.ledger import Run, as_range


def main(
    rows: Rows = None,
    repeat: Repeat = 5,
    as_json: AsJson = False,
) -> None:
    """Land the same day again and again, other content each time, and copy it with psql in between."""
    figures = sales_days.over_sizes(lambda window, size: _measure(window, size, repeat), rows or sales_days.SIZES)
    measuring.show(figures, as_json)


def _measure(window: Window, size: int, repeat: int) -> list[Figure]:
    turns = iter(range(repeat + 1))

    def land() -> float:
        turn = next(turns)
        run = Run("bench", f"run {turn}")
        sales_days.change(window, turn)
        return measuring.seconds(lambda: stages.land_window(sales_days.SALES, window, run))

    # The first one includes the one-time cost of a process: importing Great Expectations.
    land()
    whole, copying = measuring.medians(repeat, land, lambda: sales_days.psql_copy(window))
    with warehouse.session("analyst") as cursor:
        cursor.execute(
            "SELECT stage, array_agg(seconds) AS seconds FROM ops.attempts"
            " WHERE window_range = %s AND run_id <> 'run 0' GROUP BY stage ORDER BY min(attempt_id)",
            (as_range(window),),
        )
        of_stage = {row.stage: round(float(statistics.median(row.seconds)), 3) for row in warehouse.fetch_all(cursor)}
    return [
        Figure(
            "a whole window, audit and all", f"{size:,} rows", whole, "psql copy | psql copy", copying, more=of_stage
        )
    ]


if __name__ == "__main__":
    typer.run(main)
