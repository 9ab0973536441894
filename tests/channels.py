"""Carries the three sources through the engine's own functions, without Airflow around them but for its connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

from psycopg2 import sql

from highwater.environment import settings
from highwater.loading import derived_table, source_sync, stages
from highwater.loading.source_checks import Check
from highwater.loading.stages import Pipeline
from highwater.model.windows import Window
from highwater.quality.audits import AuditReport
from highwater.store import ledger, warehouse
from highwater.store.ledger import Run

STORE = Pipeline("store_sales", "multi_source_sync/store", "store", "store_sales")
PARTNER = Pipeline("partner_sales", "multi_source_sync/partner", "partner", "partner_sales")
SUPPLIER = Pipeline("supplier_settlements", "multi_source_sync/supplier", "supplier", "supplier_settlements")
CHANNELS = Pipeline("channel_sales", "multi_source_sync/channels", "", "cross_source")


def day(text: str) -> Window:
    """The window of a day, ``2026-10-30``."""
    start = datetime.combine(date.fromisoformat(text), datetime.min.time(), tzinfo=UTC)
    return Window(start, start + timedelta(days=1))


def run(name: str = "a") -> Run:
    """A run by that name."""
    return Run("multi_source_sync", f"run {name}")


def check(pipeline: Pipeline, window: Window, by: str = "a") -> Check:
    """What the run of a day finds at the source."""
    return source_sync.check(pipeline, window, run(by))


def load(pipeline: Pipeline, window: Window, by: str = "a") -> None:
    """What the run of a day loads of it."""
    source_sync.load(pipeline, window, run(by))


def bring_together(window: Window, *, publish: bool = False) -> AuditReport:
    """Make the synchronised day and compare it with its sources; publish it if it holds."""
    with derived_table.snapshot() as published:
        basis = derived_table.days(published, CHANNELS, window)[window]
        staged = derived_table.build(published, CHANNELS, window, basis, run())
    report = derived_table.compare(CHANNELS, {window: staged})[window]
    if publish:
        assert report.success, report.sentence()
        stages.publish_set(CHANNELS, window, staged, run())
    return report


def landed(pipeline: Pipeline) -> dict[Window, str]:
    """The windows that landed, each with what it was made from."""
    with warehouse.session("loader") as cursor:
        return ledger.landed(cursor, pipeline.dataset)


def rows(query: str, *parameters: Any) -> list[Any]:
    """What a query of the warehouse gives."""
    with warehouse.session("analyst") as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchall()


def value(query: str, *parameters: Any) -> Any:
    """The one value a query of the warehouse gives."""
    ((found,),) = rows(query, *parameters)
    return found


def rule(source: str, assignment: str) -> None:
    """Change a source's row of control.sources."""
    with warehouse.session("postgres") as cursor:
        cursor.execute(f"UPDATE control.sources SET {assignment} WHERE source = %s", (source,))


def change(statement: str) -> int:
    """Change the simulated sources; returns the rows it touched."""
    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        cursor.execute(statement)
        return int(cursor.rowcount)


@contextmanager
def away(source: str) -> Iterator[None]:
    """The source refuses the login for the length of the block."""
    role = sql.Identifier(f"{source}_reader")
    with warehouse.session("postgres") as cursor:
        cursor.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(role))
    try:
        yield
    finally:
        with warehouse.session("postgres") as cursor:
            cursor.execute(sql.SQL("ALTER ROLE {} LOGIN").format(role))


@contextmanager
def instead(table: str, columns: str) -> Iterator[None]:
    """Readers find a view of these columns in the table's place for the length of the block."""
    schema, name = table.split(".")
    change(
        f"ALTER TABLE {table} RENAME TO {name}_rows; CREATE VIEW {table} AS SELECT {columns} FROM {table}_rows;"
        f" GRANT SELECT ON {table} TO {schema}_reader"
    )
    try:
        yield
    finally:
        change(f"DROP VIEW {table}; ALTER TABLE {table}_rows RENAME TO {name}")
