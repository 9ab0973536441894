"""The columns of a statement at a source, and the types of the warehouse that hold them exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import cursor as Cursor

from highwater.model.errors import ConfigurationError
from highwater.store import statements, warehouse

FIRST_UNSTABLE_OID = 10000
"""From this OID on (Postgres' FirstGenbkiObjectId), each server numbers types differently, and users create them."""
PSEUDO, ROW = "p", "c"
SYSTEM_COLUMNS = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")
_SERVER_SPECIFIC = "is a number that differs from server to server: cast it to text"
REFUSED = {
    "money": "counts in the smallest unit of its server's currency: cast it to numeric",
    "aclitem": "cannot be sent: cast it to text",
    "regclass": _SERVER_SPECIFIC,
    "regcollation": _SERVER_SPECIFIC,
    "regconfig": _SERVER_SPECIFIC,
    "regdatabase": _SERVER_SPECIFIC,
    "regdictionary": _SERVER_SPECIFIC,
    "regnamespace": _SERVER_SPECIFIC,
    "regoper": _SERVER_SPECIFIC,
    "regoperator": _SERVER_SPECIFIC,
    "regproc": _SERVER_SPECIFIC,
    "regprocedure": _SERVER_SPECIFIC,
    "regrole": _SERVER_SPECIFIC,
    "regtype": _SERVER_SPECIFIC,
}
"""Types that would not mean the same in the warehouse, by name, and why."""


@dataclass(frozen=True)
class Described:
    """A statement with its parameters bound, and its columns in order: name and type in the warehouse.

    The types have no length: ``char(2)`` is ``bpchar``, ``bit(4)`` is ``"bit"`` of any length.
    """

    query: str
    columns: tuple[tuple[str, str], ...]


def describe(source: Cursor, target: Cursor, name: str, parameters: Mapping[str, object]) -> Described:
    """Let the source plan ``sql/<name>`` and describe its columns; no row moves.

    Args:
        source: a cursor on the source.
        target: a cursor on the warehouse, which names the types.
        name: the statement.
        parameters: its parameters.

    Raises:
        ConfigurationError: the source rejects the statement, it breaks its contract, or the type of a column cannot be
            kept; names the file, the column and the way out.
    """
    query = warehouse.bind(source, name, parameters)
    statements.check(source, name, parameters)
    given = [(column.name, column.type_code) for column in source.description or ()]
    if not given:
        raise ConfigurationError(f"sql/{name} gives no columns")
    warehouse.run_file(target, "source_session/types.sql", {"oids": [oid for _, oid in given]})
    columns = []
    for (column, oid), known in zip(given, warehouse.fetch_all(target), strict=True):
        if (why := _bad_name(column) or _bad_type(oid, known)) is not None:
            raise ConfigurationError(f"sql/{name}: column {column!r} {why}")
        columns.append((column, known.type_name))
    return Described(query, tuple(columns))


def _bad_name(column: str) -> str | None:
    if column == "?column?":
        return "has no name: give it one with AS"
    if column in SYSTEM_COLUMNS:
        return "has the name of a system column of Postgres: give it another name"
    return None


def _bad_type(oid: int, known: Any) -> str | None:
    # From there on, the same OID is another type in the warehouse.
    if oid >= FIRST_UNSTABLE_OID:
        return "has a type that is not built in: cast it to one that is"
    if known.kind is None:
        return f"has a type unknown to the warehouse, oid {oid}: cast it to text"
    if known.kind in (PSEUDO, ROW):
        return f"is of type {known.type_name}, which no table can hold: cast it, or select its fields"
    if known.element in REFUSED:
        return f"is of type {known.type_name}, which {REFUSED[known.element]}"
    if known.element.startswith("pg_") and known.element not in ("pg_lsn", "pg_snapshot"):
        return f"is of type {known.type_name}, which cannot be sent: cast it to text"
    return None
