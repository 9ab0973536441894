"""Planning ten years of hourly windows: seconds, and the memory of the process that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import measuring
import typer
from measuring import AsJson, Figure, Repeat

from highwater.backfill import requests
from highwater.backfill.requests import Request
from highwater.model import clock
from highwater.store import ledger, warehouse

HOURS = 87_600


def main(repeat: Repeat = 5, as_json: AsJson = False) -> None:
    """Plan 87,600 windows of which a third has landed, with weekdays and a date left out; then request them."""
    with _platform() as asked, warehouse.session("loader") as cursor:

        def bare_grid() -> None:
            cursor.execute(
                "SELECT hour, hour + '1 hour' FROM generate_series(%s::timestamptz, %s, '1 hour') AS hour",
                (asked.from_time, asked.to_time - timedelta(hours=1)),
            )
            cursor.fetchall()

        requests.plan(cursor, Request(asked.dataset, asked.from_time, asked.from_time + timedelta(hours=1)))
        ledger.reset_peak_memory()
        before = ledger.peak_memory_bytes() or 0
        took, bare = measuring.medians(
            repeat,
            lambda: measuring.seconds(lambda: requests.plan(cursor, asked)),
            lambda: measuring.seconds(bare_grid),
        )
        peak = ledger.peak_memory_bytes() or 0
        plan = requests.plan(cursor, asked)
        written = measuring.seconds(lambda: requests.request(cursor, asked, shown=plan))
    more = {
        "to_load": plan.to_load,
        "memory_mib": round((peak - before) / 2**20, 1),
        "peak_mib": round(peak / 2**20, 1),
        "seconds_to_ask": round(written, 3),
    }
    case = f"{len(plan.windows):,} windows"
    measuring.show(
        [Figure("planning ten years of hours", case, took, "fetching as many bare hours", bare, most=1, more=more)],
        as_json,
    )


@contextmanager
def _platform() -> Iterator[Request]:
    """A warehouse with a dataset of hourly windows; yields the request."""
    with measuring.platform(HIGHWATER_HISTORY_DAYS="1", SIMULATION_ROWS_PER_DAY="10"):
        end = clock.now().replace(minute=0, second=0, microsecond=0)
        start = end - timedelta(hours=HOURS)
        with warehouse.session("postgres") as cursor:
            cursor.execute(
                "INSERT INTO control.datasets (dataset, dag_id, published_table, first_window, step)"
                " VALUES ('hourly', 'nobody', 'sales.hourly', %s, '1 hour')",
                (start,),
            )
            cursor.execute(
                "INSERT INTO ops.window_ledger (dataset, window_range, version, rows_extracted, rows_published,"
                " rows_quarantined, rows_deduplicated, content_hash, staged_as, dag_id, run_id, landed_at)"
                " SELECT 'hourly', tstzrange(hour, hour + '1 hour', '[)'), 1, 0, 0, 0, 0, '', '', 'nobody', 'run', %s"
                " FROM generate_series(%s::timestamptz, %s, '3 hours') AS hour",
                (end, start, end - timedelta(hours=1)),
            )
        yield Request(
            "hourly", start, end, weekdays=[1, 2, 3, 4, 5, 6], excluded_dates=[(end - timedelta(days=9)).date()],
            reason="a measurement", requested_by="bench",
        )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
