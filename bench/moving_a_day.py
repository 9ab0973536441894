"""Moving a day of sales from the source to staging: seconds beside ``psql copy | psql copy``, and peak memory."""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from psycopg2 import sql
from rich.console import Console
from rich.table import Table

from highwater import bootstrap, credentials, ledger, local_server, settings, staging, warehouse
from highwater.windows import Window

DATASET, FOLDER = "daily_sales", "historical_sales_migration"
FIRST_DAY = date(2020, 1, 1)
"""Far from the history that bootstrap makes."""


def main(
    rows: Annotated[list[int] | None, typer.Option(help="Rows a day; may be given several times.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Runs of each; the median is shown.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Measure the move of a day at several sizes; every figure of a size is taken in turn with its baseline."""
    out = Console(stderr=as_json)
    results = []
    with _platform():
        for number, size in enumerate(rows or [20_000, 200_000, 1_000_000]):
            day = FIRST_DAY + timedelta(days=number)
            with warehouse.session("simulator", settings.get().sources_database) as cursor:
                cursor.execute("SELECT legacy.generate_day(%s, %s, 42, now())", (day, size))
            with out.status(f"{size:,} rows a day"):
                results.append(_measure(day, size, repeat))
    if as_json:
        typer.echo(json.dumps(results, indent=2))
        return
    table = Table(title=f"moving a day: median of {repeat}")
    for heading in ("rows", "highwater s", "psql | psql s", "ratio", "rows/s", "peak MiB", "of which at rest"):
        table.add_column(heading, justify="right")
    for result in results:
        table.add_row(
            f"{result['rows']:,}",
            f"{result['seconds']:.2f}",
            f"{result['baseline_seconds']:.2f}",
            f"{result['ratio']:.2f}",
            f"{result['rows_per_second']:,.0f}",
            f"{result['peak_mib']:.1f}",
            f"{result['rest_mib']:.1f}",
        )
    out.print(table)


@contextmanager
def _platform() -> Iterator[None]:
    """A server and its databases in a scratch folder, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="highwater-bench-") as home:
        Path(home).chmod(0o755)
        os.environ |= {"HIGHWATER_HOME": home, "SIMULATION_ROWS_PER_DAY": "1"}
        settings.get.cache_clear()
        local_server.start()
        try:
            bootstrap.run()
            yield
        finally:
            local_server.remove()


def _measure(day: date, size: int, repeat: int) -> dict[str, float]:
    ours, theirs, peaks, rests = [], [], [], []
    for _ in range(repeat):
        seconds, peak, rest = _apart(_highwater, day)
        ours.append(seconds)
        peaks.append(peak / 2**20)
        rests.append(rest / 2**20)
        theirs.append(_psql(day))
    seconds, baseline = statistics.median(ours), statistics.median(theirs)
    return {
        "rows": size,
        "seconds": seconds,
        "baseline_seconds": baseline,
        "ratio": seconds / baseline,
        "rows_per_second": size / seconds,
        "peak_mib": statistics.median(peaks),
        "rest_mib": statistics.median(rests),
    }


def _apart(work: Callable[[date], tuple[float, int, int]], day: date) -> tuple[float, int, int]:
    """Do the work in a fresh process, as a task is, so that its peak memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, (day,))


def _highwater(day: date) -> tuple[float, int, int]:
    """Seconds, peak bytes and bytes before the work of the extract stage's own statements."""
    start = datetime.combine(day, datetime.min.time(), tzinfo=UTC)
    window = Window(start, start + timedelta(days=1))
    name = staging.new_set(DATASET, window)
    ledger.reset_peak_memory()
    rest = ledger.peak_memory_bytes() or 0
    begun = time.perf_counter()
    with (
        closing(warehouse.connect("legacy_reader", settings.get().sources_database)) as source,
        warehouse.session("loader") as target,
        source.cursor() as reader,
    ):
        staging.extract(reader, target, FOLDER, name, window)
    seconds = time.perf_counter() - begun
    peak = ledger.peak_memory_bytes() or 0
    with warehouse.session("loader") as target:
        target.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier("staging", f"{name}_raw")))
    return seconds, peak, rest


def _psql(day: date) -> float:
    """Seconds of the shell's way: the same rows into a table made in the same session."""
    with warehouse.session("postgres", settings.get().sources_database) as cursor:
        statement = warehouse.read_sql(f"{FOLDER}/extract.sql").rstrip().rstrip(";")
        bound = cursor.mogrify(statement, {"window_start": datetime.combine(day, datetime.min.time(), tzinfo=UTC)})
    query = bound.decode()
    columns = (
        "business_date date, sale_id bigint, receipt_no text, store_code text, till_no smallint, product_code text,"
        " quantity integer, unit_price numeric, discount numeric, currency text, payment_method text,"
        " customer_id bigint, sold_at timestamptz"
    )
    out_of, into = (_psql_call(role, base) for role, base in (("legacy_reader", "sources"), ("loader", "warehouse")))
    copy_out = shlex.quote(f"COPY ({query}) TO STDOUT")
    copy_in = f"-c 'BEGIN; CREATE TABLE staging.baseline ({columns})' -c 'COPY staging.baseline FROM STDIN' -c COMMIT"
    begun = time.perf_counter()
    subprocess.run(["bash", "-o", "pipefail", "-c", f"{out_of} -c {copy_out} | {into} {copy_in}"], check=True)
    seconds = time.perf_counter() - begun
    with warehouse.session("loader") as cursor:
        cursor.execute("DROP TABLE staging.baseline")
    return seconds


def _psql_call(role: str, database: str) -> str:
    """psql without its start file, as ``role``, its password in the environment of that one process."""
    config = settings.get()
    program = shlex.join(
        [str(local_server.program("psql")), "-XqAt", "-h", "127.0.0.1", "-p", str(config.warehouse_port), "-U", role]
    )
    return f"PGPASSWORD={shlex.quote(credentials.password(role))} {program} -d {database}"


if __name__ == "__main__":
    typer.run(main)
