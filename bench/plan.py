"""Planning ten years of hourly windows: seconds, and the memory of the process that shows it."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer
from rich.console import Console

from highwater import backfill, bootstrap, clock, ledger, local_server, settings, warehouse
from highwater.backfill import Request

HOURS = 87_600


def main(
    repeats: Annotated[int, typer.Option(help="So often; the median counts.", min=1)] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Plan 87,600 windows of which a third has landed, with weekdays and a date left out; then ask for them."""
    with _platform() as asked, warehouse.session("loader") as cursor:
        backfill.plan(cursor, Request(asked.dataset, asked.from_time, asked.from_time + timedelta(hours=1)))
        ledger.reset_peak_memory()
        before = ledger.peak_memory_bytes() or 0
        took = []
        for _ in range(repeats):
            began = perf_counter()
            plan = backfill.plan(cursor, asked)
            took.append(perf_counter() - began)
        peak = ledger.peak_memory_bytes() or 0
        began = perf_counter()
        backfill.request(cursor, asked, shown=plan)
        written = perf_counter() - began
    result = {
        "windows": len(plan.windows),
        "to_load": plan.to_load,
        "seconds": round(statistics.median(took), 3),
        "memory_mib": round((peak - before) / 2**20, 1),
        "peak_mib": round(peak / 2**20, 1),
        "seconds_to_ask": round(written, 3),
    }
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        Console().print(
            "{windows:,} windows ({to_load:,} to load) planned in {seconds} s, {memory_mib} MiB more than before, "
            "{peak_mib} MiB in all; written down in {seconds_to_ask} s".format(**result)
        )


@contextmanager
def _platform() -> Iterator[Request]:
    """A warehouse of its own in a scratch folder, with a dataset of hourly windows; yields what is asked for."""
    home = Path(tempfile.mkdtemp(prefix="highwater-bench-"))
    home.chmod(0o755)
    os.environ |= {"HIGHWATER_HOME": str(home), "HIGHWATER_HISTORY_DAYS": "1", "SIMULATION_ROWS_PER_DAY": "10"}
    settings.get.cache_clear()
    try:
        local_server.start()
        bootstrap.run()
        end = clock.now().replace(minute=0, second=0, microsecond=0)
        start = end - timedelta(hours=HOURS)
        with warehouse.session("postgres") as cursor:
            cursor.execute(
                "INSERT INTO control.datasets (dataset, dag_id, published_table, first_window, step)"
                " VALUES ('hourly', 'nobody', 'sales.daily_sales', %s, '1 hour')",
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
    finally:
        local_server.remove()
        shutil.rmtree(home)


if __name__ == "__main__":
    typer.run(main)
