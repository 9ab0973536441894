"""Contracts of users' statements: for each kind of file its rows, columns and types.

`check` checks the columns before any data moves, `ask` the values as well. A breach is a `ConfigurationError` with the
file, the line if known, what was returned and what was expected.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from fnmatch import fnmatch
from typing import Any

import psycopg2
from psycopg2.extensions import cursor as Cursor
from psycopg2.extensions import encodings

from highwater.model import sql_text
from highwater.model.errors import ConfigurationError
from highwater.store import driver_errors, warehouse
from highwater.store.driver_errors import Kind

ONE, ONE_OR_NONE, ANY = "one row", "one row or none", "any number of rows"


@dataclass(frozen=True)
class Type:
    """What a column may be: its name for messages, the types by oid (None: any), and the check of a value."""

    word: str
    oids: Collection[int] | None
    accepts: Callable[[Any], bool] = lambda _: True


BOOLEAN = Type("boolean", {16})
COUNT = Type("bigint, zero or more", {20, 21, 23, 1700}, lambda n: isinstance(n, int) and 0 <= n < 2**63)
TEXT = Type("text", {19, 25, 1042, 1043})
TIME = Type("timestamptz", {1184})
HASH = Type("bigint", {20})
OBJECT = Type("jsonb, an object", {3802}, lambda value: isinstance(value, dict))
NUMBERS = Type("bigint[]", {1016})
ANYTHING = Type("any type", None)


@dataclass(frozen=True)
class Column:
    """A column that a statement returns; one that is not ``required`` may be left out."""

    name: str
    type: Type
    required: bool = True
    nullable: bool = False


@dataclass(frozen=True)
class Contract:
    """What a kind of statement returns; with ``more`` also columns that are not listed."""

    rows: str
    columns: tuple[Column, ...] = ()
    more: bool = False


AVAILABILITY = Contract(
    ONE_OR_NONE,
    (
        Column("complete", BOOLEAN),
        Column("expected_rows", COUNT, nullable=True),
        Column("note", TEXT, nullable=True),
        Column("revision", TEXT, required=False, nullable=True),
    ),
)
"""Whether a source has closed a window; no row if it does not know it. ``revision``: if it may correct the window."""

CHANGED = Contract(ANY, (Column("changed_at", TIME, nullable=True),), more=True)
KEYS = Contract(ANY, (Column("fingerprint", HASH, nullable=True),), more=True)
TOTALS = Contract(ANY, (Column("window_start", TIME), Column("row_count", COUNT)), more=True)
"""The rows of each window; every further column is compared as well."""

CONTRACTS: Mapping[str, Contract] = {
    "*/availability.sql": AVAILABILITY,
    "*/extract.sql": Contract(ANY, more=True),
    "*/revisions.sql": Contract(ANY, (Column("window_start", TIME), Column("revision", TEXT))),
    "*/source_state.sql": Contract(
        ONE,
        (
            Column("snapshot", TEXT),
            Column("moment", TIME),
            Column("identity", OBJECT),
            Column("is_rewritten", BOOLEAN),
            Column("flaw", TEXT, nullable=True),
        ),
    ),
    "*/*_changes.sql": CHANGED,
    "*/*_full.sql": CHANGED,
    "*/*_as_of.sql": KEYS,
    "*/changes_by_hour.sql": Contract(
        ANY,
        (Column("hour", TIME), Column("inserts", COUNT), Column("updates", COUNT), Column("deletes", COUNT)),
    ),
    "*/compare_*.sql": Contract(ONE, more=True),
    "*/days.sql": Contract(ANY, (Column("window_start", TIME), Column("window_end", TIME), Column("basis", TEXT))),
    "*/kept_from.sql": Contract(ONE, (Column("kept_from", TIME, nullable=True),)),
    "*/*_totals.sql": TOTALS,
    "*/refused.sql": Contract(ONE, (Column("refused", NUMBERS),)),
    "*/orphans.sql": Contract(ONE, (Column("orphans", COUNT),)),
}
"""By the name of the file; the first match counts."""


def clean_contract(published: Collection[str], wanted: Collection[str]) -> Contract:
    """What a ``clean.sql`` returns: the columns of the published table, some of them required, and its verdicts."""
    columns = [Column(name, ANYTHING, required=name in wanted, nullable=True) for name in published]
    verdicts = (
        Column("reason", TEXT, required=False, nullable=True),
        Column("copy_no", COUNT, required=False),
        Column("source_row", ANYTHING, required=False),
    )
    return Contract(ANY, (*columns, *verdicts))


def contract_of(name: str) -> Contract:
    """The contract of ``sql/<name>``.

    Raises:
        LookupError: statements of that name have no contract.
    """
    for pattern, contract in CONTRACTS.items():
        if fnmatch(name, pattern):
            return contract
    raise LookupError(f"statements like sql/{name} have no contract")


def check(cursor: Cursor, name: str, parameters: Mapping[str, Any] | None = None) -> None:
    """Let the server plan ``sql/<name>`` and check the columns that it would return; no row moves.

    Raises:
        ConfigurationError: the statement is refused, or breaks its contract.
    """
    check_query(cursor, name, warehouse.bind(cursor, name, parameters or {}), contract_of(name))


def check_query(cursor: Cursor, name: str, query: str, contract: Contract) -> list[str]:
    """As `check`, for a statement with bound parameters and a given contract; returns its columns.

    Raises:
        ConfigurationError: the statement is refused, or breaks the contract.
    """
    with located(name):
        cursor.execute(f"SELECT * FROM ({query}) AS shape LIMIT 0")  # noqa: S608 - bind has bound the values
    _check_columns(cursor, name, contract)
    return [column.name for column in cursor.description or ()]


def ask(cursor: Cursor, name: str, parameters: Mapping[str, Any] | None = None) -> list[Any]:
    """The rows of ``sql/<name>``, each with its columns as attributes.

    Raises:
        ConfigurationError: the statement is refused, or its answer breaks its contract.
    """
    contract = contract_of(name)
    query = warehouse.bind(cursor, name, parameters or {})
    with located(name):
        cursor.execute(query)
    _check_columns(cursor, name, contract)
    rows = warehouse.fetch_all(cursor)
    if (contract.rows == ONE and len(rows) != 1) or (contract.rows == ONE_OR_NONE and len(rows) > 1):
        raise ConfigurationError(f"sql/{name} returns {len(rows)} rows, expected {contract.rows}")
    given = {column.name for column in cursor.description or ()}
    columns = [column for column in contract.columns if column.name in given]
    return [row._replace(**{one.name: _checked(name, one, getattr(row, one.name)) for one in columns}) for row in rows]


def ask_one(cursor: Cursor, name: str, parameters: Mapping[str, Any] | None = None) -> Any:
    """The row of ``sql/<name>``; None if it returns none, where its contract allows that.

    Raises:
        ConfigurationError: the statement is refused, or its answer breaks its contract.
    """
    rows = ask(cursor, name, parameters)
    return rows[0] if rows else None


@contextmanager
def located(name: str) -> Iterator[None]:
    """Name the file and line of a statement that the server refuses; for text of `warehouse.bind`."""
    try:
        yield
    except psycopg2.Error as error:
        if driver_errors.kind_of(error) is not Kind.CONFIGURATION or error.pgcode is None:
            raise
        raise ConfigurationError(f"sql/{name}{_line(error)} is refused: {driver_errors.said(error)}") from error


def _line(error: psycopg2.Error) -> str:
    position = error.diag.statement_position
    if position is None or error.cursor is None or not error.cursor.query:
        return ""
    query = error.cursor.query.decode(encodings[error.cursor.connection.encoding])
    return f", line {sql_text.line_of(query, int(position) - 1)}"


def _check_columns(cursor: Cursor, name: str, contract: Contract) -> None:
    if cursor.description is None:
        raise ConfigurationError(f"sql/{name} returns no result, expected a SELECT that returns {contract.rows}")
    given = {column.name: column.type_code for column in cursor.description}
    if len(given) < len(cursor.description):
        names = [column.name for column in cursor.description]
        twice = next(one for one in names if names.count(one) > 1)
        raise ConfigurationError(f"sql/{name} returns two columns {twice!r}: rename one of them")
    wanted = {column.name: column for column in contract.columns}
    unknown = [] if contract.more else [one for one in given if one not in wanted]
    for column in contract.columns:
        if column.name not in given and column.required:
            near = get_close_matches(column.name, unknown or given, n=1)
            raise ConfigurationError(
                f"sql/{name} returns no column {column.name!r} ({column.type.word})"
                + (
                    f", but {near[0]!r}: did you mean it?"
                    if near
                    else f"; it returns {', '.join(given) or 'no columns'}"
                )
            )
    if unknown:
        raise ConfigurationError(f"sql/{name} returns an unknown column {unknown[0]!r}: expected {', '.join(wanted)}")
    for column in contract.columns:
        oid = given.get(column.name)
        if oid is not None and column.type.oids is not None and oid not in column.type.oids:
            cursor.execute("SELECT format_type(%s, -1)", (oid,))
            came, word = warehouse.fetch_value(cursor), column.type.word
            cast = f"{column.name}::{word.split(',')[0]}"
            raise ConfigurationError(
                f"sql/{name}: column {column.name!r} is {came}, expected {word}: cast it, as {cast}"
            )


def _checked(name: str, column: Column, value: Any) -> Any:
    """The value; a whole number as an int."""
    if value is None and column.nullable:
        return None
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        value = int(value)
    if value is None or not column.type.accepts(value):
        came = "NULL" if value is None else value
        raise ConfigurationError(f"sql/{name}: {column.name} is {came}, expected {column.type.word}")
    return value
