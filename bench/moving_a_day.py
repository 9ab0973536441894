"""Moving a day of sales from the source to staging, beside psql's copy and beside Airflow's and pandas' ways."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from contextlib import closing
from datetime import date
from typing import Annotated, Any
from urllib.parse import quote

import measuring
import sales_days
import typer
from measuring import AsJson, Figure, Repeat

from highwater import credentials, settings, staging, warehouse
from highwater.windows import Window

LARGEST_FOR_OTHERS = 200_000
"""Rows up to which the slow ways are measured: beyond, they take minutes a time."""


def main(
    rows: Annotated[list[int] | None, typer.Option(help="Rows a day; may be given several times.")] = None,
    repeat: Repeat = 5,
    as_json: AsJson = False,
) -> None:
    """Measure the move of a day at several sizes; every figure is taken in turn with its baselines."""
    figures = []
    with measuring.platform(SIMULATION_ROWS_PER_DAY="1"):
        for number, size in enumerate(rows or [20_000, 200_000, 1_000_000, 5_000_000]):
            figures += _measure(sales_days.make(size, number), size, repeat)
    measuring.show(figures, as_json)


def _measure(window: Window, size: int, repeat: int) -> list[Figure]:
    memory: dict[str, list[tuple[float, float]]] = {}

    def of(work: Callable[..., Any]) -> Callable[[], float]:
        def once() -> float:
            took, peak, rest = measuring.apart(work, window)
            memory.setdefault(work.__name__, []).append((peak, rest))
            sales_days.drop("ours_raw", "baseline")
            return took

        return once

    def peak(work: Callable[..., Any]) -> dict[str, float]:
        peaks, rests = zip(*memory[work.__name__], strict=True)
        return {"peak_mib": round(statistics.median(peaks), 1), "rest_mib": round(statistics.median(rests), 1)}

    day = window.start.date()
    others = (_insert_rows, _to_sql) if size <= LARGEST_FOR_OTHERS else ()
    works = [of(_highwater), lambda: sales_days.psql_copy(day), *(of(other) for other in others)]
    ours, shell, *theirs = measuring.medians(repeat, *works)
    case, what = f"{size:,} rows", "moving a day"
    more = {"rows_per_second": round(size / ours), **peak(_highwater)}
    figures = [
        Figure(what, case, ours, "psql copy | psql copy", shell, aim=1.1 if size >= 1_000_000 else None, more=more)
    ]
    for other, took in zip(others, theirs, strict=True):
        figures.append(Figure(what, case, ours, NAMES[other], took, aim=1, more=peak(other)))
    return figures


def _highwater(window: Window) -> Callable[[], None]:
    """The extract stage's own statements."""

    def extract() -> None:
        with (
            closing(warehouse.connect("legacy_reader", settings.get().sources_database)) as source,
            warehouse.session("loader") as target,
            source.cursor() as reader,
        ):
            staging.extract(reader, target, sales_days.SALES.folder, "ours", window)

    return extract


def _insert_rows(window: Window) -> Callable[[], None]:
    """Airflow's own way, as its documentation has it."""
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"
    for name, role, database in _ENDS:
        os.environ[f"AIRFLOW_CONN_{name}"] = _address(role, database, "postgres")
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    query = sales_days.query(_day(window))

    def insert() -> None:
        rows = PostgresHook("source").get_records(query)
        target = PostgresHook("target")
        target.run(f"CREATE TABLE staging.baseline ({sales_days.COLUMNS})")
        target.insert_rows("staging.baseline", rows)

    return insert


def _to_sql(window: Window) -> Callable[[], None]:
    """The way of pandas."""
    import pandas
    from sqlalchemy import create_engine

    source, target = (create_engine(_address(role, database, "postgresql+psycopg2")) for _, role, database in _ENDS)
    query = sales_days.query(_day(window)).replace("%", "%%")

    def write() -> None:
        frame = pandas.read_sql(query, source)
        frame.to_sql("baseline", target, schema="staging", index=False)

    return write


_ENDS = (("SOURCE", "legacy_reader", "sources"), ("TARGET", "loader", "warehouse"))
NAMES = {_insert_rows: "PostgresHook.insert_rows", _to_sql: "pandas to_sql"}


def _day(window: Window) -> date:
    return window.start.date()


def _address(role: str, database: str, scheme: str) -> str:
    config = settings.get()
    password = quote(credentials.password(role), safe="")
    return f"{scheme}://{role}:{password}@{config.warehouse_host}:{config.warehouse_port}/{database}"


if __name__ == "__main__":
    typer.run(main)
