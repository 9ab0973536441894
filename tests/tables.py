"""Datasets of a test's own: a published table of any shape, and rows that land in it through the engine's stages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from psycopg2 import sql

from highwater.loading import staging
from highwater.model.windows import Window
from highwater.store import ledger, publish, warehouse
from highwater.store.ledger import Run
from highwater.store.publish import Landed, Staged

COLUMNS = "id bigint NOT NULL, at timestamptz NOT NULL"
KEYED = "PRIMARY KEY (id, at)) PARTITION BY RANGE (at)"
FIRST = datetime(2026, 10, 1, tzinfo=UTC)
RUN = Run("test", "run a")
ROWS = "SELECT n::bigint AS id, {start}::timestamptz AS at FROM generate_series(1, {count}) AS n"
AS_IT_CAME = "SELECT r.*, NULL::text AS reason, r AS source_row FROM raw AS r"


def admin(*statements: str) -> None:
    """Run statements as the owner of what is published."""
    with warehouse.session("postgres") as cursor:
        cursor.execute("SET LOCAL ROLE publisher")
        for statement in statements:
            cursor.execute(statement)


@contextmanager
def defined(dataset: str, columns: str = COLUMNS, *, table: str = "", step: str = "1 day") -> Iterator[str]:
    """A dataset with a published table ``(columns, key)`` of its own for the length of the block; gives the table.

    A definition that closes the table's parenthesis is taken whole.
    """
    name = table or f"sales.{dataset}"
    schema, plain = name.split(".")
    whole = columns if columns.count(")") > columns.count("(") else f"{columns}, {KEYED}"
    with warehouse.session("postgres") as cursor:
        cursor.execute("SET LOCAL ROLE publisher")
        cursor.execute(f"CREATE TABLE {sql.Identifier(schema, plain).as_string(cursor)} ({whole}")
        cursor.execute(
            "INSERT INTO control.datasets (dataset, dag_id, published_table, first_window, step)"
            " VALUES (%s, 'test', %s, %s, %s)",
            (dataset, name, FIRST, step),
        )
    try:
        yield name
    finally:
        forget(dataset)


def forget(dataset: str) -> None:
    """Take a dataset out again, with all that it has landed."""
    with warehouse.session("postgres") as cursor:
        cursor.execute("SELECT published_table FROM control.datasets WHERE dataset = %s", (dataset,))
        name = warehouse.fetch_value(cursor)
        cursor.execute("SELECT ops.drop_set(set_name) FROM ops.staging_sets WHERE dataset = %s", (dataset,))
        cursor.execute(
            "SELECT format('archive.%%I', table_name) FROM ops.former_versions WHERE dataset = %s", (dataset,)
        )
        for (former,) in cursor.fetchall():
            cursor.execute(f"DROP TABLE IF EXISTS {former} CASCADE")
        for record in (
            "quarantine.rejected_rows",
            "ops.content_checks",
            "ops.former_versions",
            "ops.rollbacks",
            "ops.window_ledger",
            "ops.skipped_windows",
            "ops.ledger_months",
            "ops.attempts",
            "control.accepted_reloads",
            "control.datasets",
        ):
            cursor.execute(f"DELETE FROM {record} WHERE dataset = %s", (dataset,))
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(sql.Identifier(*name.split("."))))


def window(number: int = 0, step: timedelta = timedelta(days=1)) -> Window:
    """The window by its number, from 0."""
    return Window(FIRST + number * step, FIRST + (number + 1) * step)


def stage(dataset: str, wanted: Window, rows: str | int = 5, clean: str = AS_IT_CAME) -> Staged:
    """Stage rows of a query, or that number at the window's start, and clean them by a statement."""
    with warehouse.session("loader") as cursor:
        if isinstance(rows, int):
            rows = ROWS.format(start=cursor.mogrify("%s", (wanted.start,)).decode(), count=rows)
        base = ledger.version(cursor, dataset, wanted)
        name = staging.new_set(cursor, dataset, wanted, RUN)
        staging.save(cursor, rows, name, "raw")
    with warehouse.session("loader") as cursor:
        cleaned = staging.clean_by(cursor, "test/clean.sql", clean, name)
    extracted = cleaned.rows_clean + cleaned.rows_rejected + cleaned.rows_deduplicated
    return Staged(name, extracted, base, "snapshot")


def land(dataset: str, wanted: Window, rows: str | int = 5, clean: str = AS_IT_CAME) -> Landed:
    """Stage rows and publish them."""
    return publish.publish_window(dataset, wanted, stage(dataset, wanted, rows, clean), RUN)


def rows_of(table: str, columns: str = "*", role: str = "analyst") -> list[tuple[object, ...]]:
    """The rows that a role reads of a published table."""
    schema, plain = table.split(".")
    with warehouse.session(role) as cursor:
        cursor.execute(f"SELECT {columns} FROM {sql.Identifier(schema, plain).as_string(cursor)} ORDER BY 1")
        return [tuple(row) for row in cursor.fetchall()]
