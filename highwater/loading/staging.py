"""The staging set of a window: created by the warehouse, filled from the source, cleaned into the published shape.

A set is a group of tables of the publisher, named by its number; the loader fills them (``warehouse/39_staging.sql``).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from highwater.model.errors import ConfigurationError, DataRejected
from highwater.model.windows import Window
from highwater.sources import sources, types
from highwater.store import driver_errors, ledger, statements, warehouse
from highwater.store.ledger import Run
from highwater.store.publish import in_words


@dataclass(frozen=True)
class Cleaned:
    """The rows of a cleaned set, as the warehouse counted them."""

    rows_clean: int
    rows_rejected: int
    rows_deduplicated: int


def new_set(cursor: Cursor, dataset: str, window: Window, run: Run) -> str:
    """Create a set for an attempt at the window; returns its name, such as ``set_123``. The caller commits."""
    cursor.execute("SELECT ops.new_set(%s, %s, %s, %s)", (dataset, ledger.as_range(window), run.dag_id, run.run_id))
    return str(warehouse.fetch_value(cursor))


def extract(source: Cursor, target: Cursor, folder: str, staged: str, window: Window) -> int:
    """Stream the rows of ``sql/<folder>/extract.sql`` into ``staging.<set>_raw``; returns the number of rows.

    Raises:
        ConfigurationError: the statement does not fit, or the type of a column cannot be kept (see `sources.types`).
    """
    return fill(source, target, f"{folder}/extract.sql", sources.bounds(window), staged)


def fill(source: Cursor, target: Cursor, statement: str, parameters: Mapping[str, object], staged: str) -> int:
    """Stream the rows of ``sql/<statement>`` into a new table ``staging.<set>_raw``; returns the number of rows.

    The table takes its columns from the statement. The caller commits.

    Raises:
        ConfigurationError: the statement does not fit, or the type of a column cannot be kept (see `sources.types`).
    """
    described = types.describe(source, target, statement, parameters)
    raw = new_table(target, staged, "raw", described.columns)
    return warehouse.copy_stream(source, described.query, target, raw)


def new_table(cursor: Cursor, staged: str, part: str, columns: Sequence[tuple[str, str]]) -> sql.Identifier:
    """Create a table of the set for the loader to fill; ``columns`` are names and built-in types, or their OIDs."""
    with in_words():
        cursor.execute(
            "SELECT ops.new_set_table(%s, %s, %s, %s::regtype[])",
            (staged, part, [name for name, _ in columns], [kind for _, kind in columns]),
        )
    return table(staged, part)


def save(cursor: Cursor, query: str, staged: str, part: str) -> sql.Identifier:
    """Store the rows of a warehouse query in a table of the set, for an audit to read; returns the table."""
    made = new_table(cursor, staged, part, _described(cursor, query))
    cursor.execute(sql.SQL("INSERT INTO {} {}").format(made, sql.SQL(query)))
    return made


def clean(cursor: Cursor, folder: str, staged: str, window: Window) -> Cleaned:
    """Run ``sql/<folder>/clean.sql`` on a set: each row of ``raw`` becomes clean, rejected, or a copy of a clean one.

    The statement reads the extracted rows as ``raw`` and gives one row for each: the columns of the published table by
    name, ``reason`` (text: why the row is rejected, else null), ``source_row`` (the extracted row, for quarantine) and
    ``copy_no`` (1 for the row that is published, 2 and more for its copies). A column that it leaves out takes its
    default. Running it again starts over; concurrent runs take turns. The caller commits.

    Raises:
        ConfigurationError: the statement does not fit the tables; names what does not.
        DataRejected: a row that it neither corrects nor rejects breaks a type or a constraint of the published table,
            or the rows do not add up.
    """
    file = f"{folder}/clean.sql"
    return clean_by(cursor, file, warehouse.bind(cursor, file, sources.bounds(window)), staged)


def clean_by(cursor: Cursor, file: str, query: str, staged: str) -> Cleaned:
    """As `clean`, for a statement whose parameters are bound; errors call it ``file``."""
    with in_words():
        cursor.execute("SELECT * FROM ops.begin_cleaning(%s)", (staged,))
        begun = warehouse.fetch(cursor)
        cursor.execute(sql.SQL("CREATE TEMPORARY VIEW raw AS SELECT * FROM {}").format(table(staged, "raw")))
        given = _checked(cursor, file, query, begun)
        try:
            with statements.located(file):
                cursor.execute(_sorting(query, staged, given, begun))
        except (psycopg2.DataError, psycopg2.IntegrityError) as error:
            raise DataRejected(f"sql/{file} lets an invalid row through: {driver_errors.said(error)}") from error
        cursor.execute("DROP VIEW pg_temp.raw")
        if begun.has_landed:
            _show_to_all_snapshots(cursor, staged)
        cursor.execute("SELECT * FROM ops.finish_cleaning(%s)", (staged,))
        return Cleaned(**warehouse.fetch(cursor)._asdict())


def check_clean(cursor: Cursor, folder: str, dataset: str, columns: Sequence[tuple[str, str]], window: Window) -> None:
    """Let the warehouse plan ``sql/<folder>/clean.sql`` over rows of these columns (names and types); no row moves.

    Raises:
        ConfigurationError: the statement does not fit the published table (names file, line and what is wrong), or the
            table itself cannot be published into.
    """
    file = f"{folder}/clean.sql"
    with in_words():
        cursor.execute("SELECT * FROM ops.cleaned_shape(%s)", (dataset,))
        shape = warehouse.fetch(cursor)
        for name, wanted in (("raw", columns), ("clean", zip(shape.written_columns, shape.written_types, strict=True))):
            made = sql.SQL(", ").join(
                sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(kind)) for column, kind in wanted
            )
            cursor.execute(sql.SQL("CREATE TEMPORARY TABLE {} ({})").format(sql.Identifier(name), made))
        query = warehouse.bind(cursor, file, sources.bounds(window))
        given = [name for name in _checked(cursor, file, query, shape) if name in shape.written_columns]
        names = sql.SQL(", ").join(map(sql.Identifier, given))
        with statements.located(file):
            cursor.execute(
                sql.SQL("EXPLAIN INSERT INTO clean ({}) SELECT {} FROM ({}) AS j").format(names, names, sql.SQL(query))
            )
        cursor.execute("DROP TABLE pg_temp.raw, pg_temp.clean")


def drop_obsolete(cursor: Cursor, dataset: str, window: Window, run: Run, before: str | None = None) -> int:
    """Drop the sets of earlier attempts at this window; of a dataset loaded by its changes, all. Returns their number.

    Does nothing while another run works on the window: that run drops them at its end. With ``before``, drops only sets
    created before that one. The caller commits.
    """
    cursor.execute(
        "SELECT ops.drop_obsolete_sets(%s, %s, %s, %s, %s)",
        (dataset, ledger.as_range(window), run.dag_id, run.run_id, before),
    )
    return int(warehouse.fetch_value(cursor))


def table(staged: str, part: str) -> sql.Identifier:
    """The table of a set by its part: ``raw``, ``clean``, ``rejected``, ``copies``."""
    return sql.Identifier("staging", f"{staged}_{part}")


def _described(cursor: Cursor, query: str) -> list[tuple[str, str]]:
    """Names and type OIDs of a query's columns; no row is computed."""
    cursor.execute(f"SELECT * FROM ({query}) AS shape LIMIT 0")  # noqa: S608 - bind has bound the values
    return [(column.name, str(column.type_code)) for column in cursor.description or ()]


def _checked(cursor: Cursor, file: str, query: str, shape: Any) -> list[str]:
    """The columns that a ``clean.sql`` gives, checked against the published table and the contract."""
    contract = statements.clean_contract(shape.written_columns, shape.wanted_columns)
    try:
        given = statements.check_query(cursor, file, query, contract)
    except ConfigurationError as error:
        if isinstance(error.__cause__, psycopg2.NotSupportedError):
            raise ConfigurationError(
                f"{error}. clean.sql must not write: expected one SELECT that gives a row for each row of raw,"
                " with reason, source_row and copy_no beside the published columns"
            ) from error
        raise
    if "reason" in given and "source_row" not in given:
        raise ConfigurationError(
            f"sql/{file} gives a reason but no source_row: expected the extracted row, r AS source_row"
        )
    if "copy_no" in given and not shape.key_columns:
        raise ConfigurationError(
            f"sql/{file} gives copy_no, but {shape.published_table} has no primary key to identify copies by: add one"
        )
    return given


def _sorting(query: str, staged: str, given: Sequence[str], shape: Any) -> sql.Composable:
    """The statement that sorts the rows of a ``clean.sql`` into the tables of the set."""
    parts = {
        "query": sql.SQL(query),
        "clean": table(staged, "clean"),
        "rejected": table(staged, "rejected"),
        "copies": table(staged, "copies"),
        "written": sql.SQL(", ").join(sql.Identifier(name) for name in given if name in shape.written_columns),
        "keys": sql.SQL(", ").join(map(sql.Identifier, shape.key_columns or ())),
        "reason": sql.SQL("j.reason" if "reason" in given else "NULL::text"),
        "copy_no": sql.SQL("coalesce(j.copy_no, 1)" if "copy_no" in given else "1"),
        "source_row": sql.SQL("to_jsonb(j.source_row)" if "source_row" in given else "NULL::jsonb"),
    }
    sorting = """
        WITH judged AS MATERIALIZED ({query}),
        cleaned AS (
            INSERT INTO {clean} ({written}) SELECT {written} FROM judged AS j WHERE {reason} IS NULL AND {copy_no} <= 1
        ),
        refused AS (
            INSERT INTO {rejected} (reason, source_row) SELECT {reason}, {source_row} FROM judged AS j
            WHERE {reason} IS NOT NULL
        )"""
    if "copy_no" in given:
        sorting += """,
        copied AS (
            INSERT INTO {copies} ({keys}) SELECT {keys} FROM judged AS j WHERE {reason} IS NULL AND {copy_no} > 1
        )"""
    return sql.SQL(sorting + " SELECT").format(**parts)


def _show_to_all_snapshots(cursor: Cursor, staged: str) -> None:
    """Make the clean rows visible to transactions that began before them, by COPY … FREEZE.

    Replacing a partition takes effect for all sessions at once, but rows are visible by snapshot: a REPEATABLE READ
    reader that began before a reload would otherwise see neither the former rows nor the new ones.
    """
    with tempfile.TemporaryFile() as file:
        cursor.copy_expert(sql.SQL("COPY {} TO STDOUT (FORMAT binary)").format(table(staged, "clean")), file)
        file.seek(0)
        cursor.execute("SELECT ops.empty_clean_table(%s)", (staged,))
        cursor.copy_expert(
            sql.SQL("COPY {} FROM STDIN (FORMAT binary, FREEZE)").format(table(staged, "clean")), file, size=1 << 16
        )
