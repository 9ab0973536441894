"""The aside tables of a window: named, filled from the source, cleaned into the published shape, dropped."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from highwater import ledger, sources, warehouse
from highwater.errors import ConfigurationError, RefusedData
from highwater.ledger import Run
from highwater.windows import Window

FIRST_CUSTOM_OID = 16384
"""Types from here on are made by users (Postgres' FirstNormalObjectId): the warehouse does not know them."""


@dataclass(frozen=True)
class Cleaned:
    """What became of the rows of a set."""

    rows_clean: int
    rows_rejected: int
    rows_deduplicated: int


def new_set(dataset: str, window: Window) -> str:
    """A name no other attempt has: ``daily_sales__20261024__9f3c2a1b``."""
    return f"{dataset}__{window.tag}__{secrets.token_hex(4)}"


def extract(source: Cursor, target: Cursor, folder: str, staged: str, window: Window) -> int:
    """Stream the window by ``sql/<folder>/extract.sql`` from the source into ``staging.<set>_raw``; returns the rows.

    Raises:
        ConfigurationError: a column has a type that is not built into Postgres.
    """
    return fill(source, target, f"{folder}/extract.sql", sources.bounds(window), staged)


def fill(source: Cursor, target: Cursor, statement: str, parameters: Mapping[str, object], staged: str) -> int:
    """Stream what ``sql/<statement>`` gives at the source into ``staging.<set>_raw``, made for it; returns the rows.

    The table takes its columns from the statement. The caller commits.

    Raises:
        ConfigurationError: a column has a type that is not built into Postgres.
    """
    query = warehouse.bind(source, statement, parameters)
    source.execute(f"SELECT * FROM ({query}) AS shape LIMIT 0")  # noqa: S608 - mogrify has bound the values
    for column in source.description or ():
        if column.type_code >= FIRST_CUSTOM_OID:
            raise ConfigurationError(
                f"column {column.name!r} of sql/{statement} has a type of the source's own: cast it"
            )
    target.execute(
        "SELECT format_type(oid, NULL) FROM unnest(%s) WITH ORDINALITY AS wanted (oid, place) ORDER BY place",
        ([column.type_code for column in source.description or ()],),
    )
    types = [row[0] for row in target.fetchall()]
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(kind))
        for column, kind in zip(source.description or (), types, strict=True)
    )
    raw = _table(staged, "raw")
    target.execute(sql.SQL("CREATE TABLE {} ({})").format(raw, columns))
    return warehouse.copy_stream(source, query, target, raw)


def clean(cursor: Cursor, folder: str, staged: str, dataset: str, window: Window) -> Cleaned:
    """Run ``sql/<folder>/clean.sql`` on a set: from ``raw`` into ``clean`` and ``rejected``, each row to one of them.

    The statement sees the three tables under these plain names and gives one row, ``rows_deduplicated``. Run again
    it starts over, and two at once take turns. The caller commits.

    Raises:
        ConfigurationError: the statement does not fit the tables; names what does not.
        RefusedData: a row that it neither mends nor refuses breaks a type or a constraint of the published table.
    """
    cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (staged,))
    cursor.execute("SELECT published_table FROM control.datasets WHERE dataset = %s", (dataset,))
    published_table = warehouse.fetch_value(cursor)
    published = sql.Identifier(*published_table.split("."))
    raw, cleaned, rejected = (_table(staged, part) for part in ("raw", "clean", "rejected"))
    cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}, {}").format(cleaned, rejected))
    cursor.execute(sql.SQL("CREATE TABLE {} (LIKE {})").format(cleaned, published))
    cursor.execute(sql.SQL("CREATE TABLE {} (reason text NOT NULL, source_row jsonb NOT NULL)").format(rejected))
    for name, table in (("raw", raw), ("clean", cleaned), ("rejected", rejected)):
        cursor.execute(sql.SQL("CREATE TEMPORARY VIEW {} AS SELECT * FROM {}").format(sql.Identifier(name), table))
    try:
        warehouse.run_file(cursor, f"{folder}/clean.sql", sources.bounds(window))
    except psycopg2.ProgrammingError as error:
        raise ConfigurationError(f"sql/{folder}/clean.sql does not fit: {str(error).strip()}") from error
    except (psycopg2.DataError, psycopg2.IntegrityError) as error:
        raise RefusedData(f"sql/{folder}/clean.sql lets a row through that cannot be: {str(error).strip()}") from error
    deduplicated = warehouse.fetch_value(cursor)
    cursor.execute("DROP VIEW pg_temp.raw, pg_temp.clean, pg_temp.rejected")
    cursor.execute(
        sql.SQL("SELECT (SELECT count(*) FROM {}) AS clean, (SELECT count(*) FROM {}) AS rejected").format(
            cleaned, rejected
        )
    )
    counts = warehouse.fetch(cursor)
    cursor.execute("SELECT ops.primary_key_of(%s)", (published_table,))
    if key := warehouse.fetch_value(cursor):
        cursor.execute(
            sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(
                cleaned, sql.SQL(", ").join(sql.Identifier(column) for column in key)
            )
        )
    cursor.execute(sql.SQL("ANALYZE {}").format(cleaned))
    return Cleaned(counts.clean, counts.rejected, deduplicated)


def drop_obsolete(cursor: Cursor, dataset: str, window: Window, run: Run) -> int:
    """Drop what earlier attempts at this landed window left in staging; returns the number of tables.

    Does nothing while another run is at work on the window: its summary will. The caller commits.
    """
    values = {"prefix": f"{dataset}__{window.tag}__", "window_range": ledger.as_range(window)}
    return _drop_listed(cursor, "ops/obsolete_sets.sql", values, dataset, run)


def drop_obsolete_increments(cursor: Cursor, dataset: str, run: Run, *, kept: str | None = None) -> int:
    """Drop what runs of a dataset that is loaded by its changes left in staging, but for the set ``kept``.

    Returns the number of tables. Does nothing while another run is at work on the dataset: its end will. The caller
    commits.
    """
    values = {"prefix": f"{dataset}__", "kept": kept}
    return _drop_listed(cursor, "ops/obsolete_increments.sql", values, dataset, run)


def _drop_listed(cursor: Cursor, query: str, values: Mapping[str, object], dataset: str, run: Run) -> int:
    warehouse.run_file(cursor, query, {**values, "dataset": dataset, "dag_id": run.dag_id, "run_id": run.run_id})
    tables = [row[0] for row in cursor.fetchall()]
    for table in tables:
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier("staging", table)))
    return len(tables)


def _table(staged: str, part: str) -> sql.Identifier:
    return sql.Identifier("staging", f"{staged}_{part}")
