"""Days of sales of any size at the source, and the shell's way to move one."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import measuring
from measuring import Figure

from highwater.environment import credentials, settings
from highwater.loading import stages
from highwater.loading.stages import Pipeline
from highwater.local import environment, server
from highwater.model.windows import Window
from highwater.sources import sources
from highwater.sources.sources import Completeness
from highwater.store import warehouse
from highwater.store.ledger import Attempt, Run
from highwater.store.publish import Staged

SALES = Pipeline(dataset="daily_sales", folder="historical_sales_migration", connection="legacy", suite="daily_sales")
COLUMNS = (
    "business_date date, sale_id bigint, receipt_no text, store_code text, till_no smallint, product_code text,"
    " quantity integer, unit_price numeric, discount numeric, currency text, payment_method text,"
    " customer_id bigint, sold_at timestamptz"
)
"""Of what extract.sql gives."""
SIZES = (20_000, 200_000, 1_000_000)
"""Rows a day at which things are measured."""


def make(size: int, number: int = 0) -> Window:
    """A day of this number of rows, complete at the source; ``number`` distinguishes days of one benchmark."""
    # Before the history that bootstrap makes, and on the grid, which begins there.
    first = settings.get().days_before_anchor(settings.get().history_days)
    start = datetime(first.year, first.month, first.day, tzinfo=UTC) - timedelta(days=100 - number)
    with warehouse.session("postgres") as cursor:
        cursor.execute(
            "UPDATE control.datasets SET first_window = least(first_window, %s) WHERE dataset = %s",
            (start, SALES.dataset),
        )
    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        cursor.execute("SELECT legacy.generate_day(%s, %s, 42, now())", (start.date(), size))
    measuring.tidy("postgres", settings.get().sources_database, "legacy.sales")
    return Window(start, start + timedelta(days=1))


def over_sizes(measure: Callable[[Window, int], list[Figure]], sizes: Sequence[int]) -> list[Figure]:
    """The figures of a day of each of these sizes, in a process that finds Airflow's connections as a task does."""
    with measuring.platform(SIMULATION_ROWS_PER_DAY="1"):
        _connect_as_airflow()
        return [figure for number, size in enumerate(sizes) for figure in measure(make(size, number), size)]


def change(window: Window, turn: int) -> None:
    """Make the day's content another than in any other turn."""
    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        cursor.execute(
            "UPDATE legacy.sales SET customer_id = %s WHERE business_date = %s AND sale_id ="
            " (SELECT min(sale_id) FROM legacy.sales WHERE business_date = %s)",
            (turn, window.start.date(), window.start.date()),
        )


def stage(window: Window) -> Staged:
    """Bring the day into staging, cleaned, as its stages do."""
    run = Run("bench", "run")
    with sources.snapshot(SALES.connection) as source:
        made = stages.extract(SALES, Attempt(SALES.dataset, window, "extract", run), source, Completeness(None))
    return stages.transform(SALES, Attempt(SALES.dataset, window, "transform", run), made)


def query(window: Window) -> str:
    """What extract.sql asks the source for."""
    with warehouse.session("postgres", settings.get().sources_database) as cursor:
        return warehouse.bind(cursor, f"{SALES.folder}/extract.sql", sources.bounds(window))


def psql_copy(window: Window) -> float:
    """Seconds of ``psql copy | psql copy``: the same rows into a table made in the same session."""
    out_of, into = (_psql(role, base) for role, base in (("legacy_reader", "sources"), ("loader", "warehouse")))
    copy_out = shlex.quote(f"COPY ({query(window)}) TO STDOUT")
    own_schema()
    copy_in = f"-c 'BEGIN; CREATE TABLE bench.baseline ({COLUMNS})' -c 'COPY bench.baseline FROM STDIN' -c COMMIT"
    command = ["bash", "-o", "pipefail", "-c", f"{out_of} -c {copy_out} | {into} {copy_in}"]
    took = measuring.seconds(lambda: subprocess.run(command, check=True))
    drop_baseline()
    return took


def own_schema() -> None:
    """Give the loader schema ``bench`` for what is measured beside ours: elsewhere it makes no table."""
    with warehouse.session("postgres") as cursor:
        cursor.execute("CREATE SCHEMA IF NOT EXISTS bench AUTHORIZATION loader")


def drop_baseline() -> None:
    """Drop what a baseline has written."""
    with warehouse.session("postgres") as cursor:
        cursor.execute("DROP TABLE IF EXISTS bench.baseline")


def drop_sets() -> None:
    """Drop every set in staging."""
    with warehouse.session("postgres") as cursor:
        cursor.execute("SELECT ops.drop_set(set_name) FROM ops.staging_sets")


def _psql(role: str, database: str) -> str:
    """psql without its start file, as ``role``, its password in the environment of that one process."""
    port = str(settings.get().warehouse_port)
    program = shlex.join([str(server.program("psql")), "-XqAt", "-h", "127.0.0.1", "-p", port, "-U", role])
    return f"PGPASSWORD={shlex.quote(credentials.password(role))} {program} -d {database}"


def _connect_as_airflow() -> None:
    os.environ |= environment.environment(port=1) | {"AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING"}
    (settings.get().home / "airflow").mkdir(exist_ok=True)
