"""Moving a day of sales from the source to staging, beside psql's copy, Airflow's hook and pandas."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import quote

import measuring
import sales_days
import typer
from measuring import AsJson, Figure, Repeat, Rows

from highwater.environment import credentials, settings
from highwater.loading import staging
from highwater.model.windows import Window
from highwater.store import warehouse
from highwater.store.ledger import Run

SIZES = (*sales_days.SIZES, 5_000_000)
LARGEST_FOR_OTHERS = 200_000
"""Maximum rows for the slow baselines: beyond, they take minutes."""


def main(
    rows: Rows = None,
    repeat: Repeat = 5,
    as_json: AsJson = False,
) -> None:
    """Measure the move of a day at several sizes; every figure is taken in turn with its baselines."""
    figures = sales_days.over_sizes(lambda window, size: _measure(window, size, repeat), rows or SIZES)
    measuring.show(figures, as_json)


def _measure(window: Window, size: int, repeat: int) -> list[Figure]:
    memory: dict[str, list[tuple[float, float]]] = {}
    sales_days.own_schema()

    def of(work: Callable[..., Any]) -> Callable[[], float]:
        def once() -> float:
            took, peak, rest = measuring.apart(work, window)
            memory.setdefault(work.__name__, []).append((peak, rest))
            sales_days.drop_sets()
            sales_days.drop_baseline()
            return took

        return once

    def peak(work: Callable[..., Any]) -> dict[str, float]:
        peaks, rests = zip(*memory[work.__name__], strict=True)
        return {"peak_mib": round(statistics.median(peaks), 1), "rest_mib": round(statistics.median(rests), 1)}

    others = (_insert_rows, _to_sql) if size <= LARGEST_FOR_OTHERS else ()
    works = [of(_highwater), lambda: sales_days.psql_copy(window), *(of(other) for other in others)]
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
            name = staging.new_set(target, sales_days.SALES.dataset, window, Run("bench", "run"))
            staging.extract(reader, target, sales_days.SALES.folder, name, window)

    return extract


def _insert_rows(window: Window) -> Callable[[], None]:
    """Airflow's hook, as in its documentation."""
    for name, role, database in _ENDS:
        os.environ[f"AIRFLOW_CONN_{name}"] = _address(role, database, "postgres")
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    query = sales_days.query(window)

    def insert() -> None:
        rows = PostgresHook("source").get_records(query)
        target = PostgresHook("target")
        target.run(f"CREATE TABLE bench.baseline ({sales_days.COLUMNS})")
        target.insert_rows("bench.baseline", rows)  # type: ignore[no-untyped-call]

    return insert


def _to_sql(window: Window) -> Callable[[], None]:
    """Load by pandas."""
    import pandas
    from sqlalchemy import create_engine

    source, target = (create_engine(_address(role, database, "postgresql+psycopg2")) for _, role, database in _ENDS)
    query = sales_days.query(window).replace("%", "%%")

    def write() -> None:
        frame = pandas.read_sql(query, source)
        frame.to_sql("baseline", target, schema="bench", index=False)

    return write


_ENDS = (("SOURCE", "legacy_reader", "sources"), ("TARGET", "loader", "warehouse"))
NAMES = {_insert_rows: "PostgresHook.insert_rows", _to_sql: "pandas to_sql"}


def _address(role: str, database: str, scheme: str) -> str:
    config = settings.get()
    password = quote(credentials.password(role), safe="")
    return f"{scheme}://{role}:{password}@{config.warehouse_host}:{config.warehouse_port}/{database}"


if __name__ == "__main__":
    typer.run(main)
