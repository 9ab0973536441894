"""What columns a statement gives at a source, and which types of the warehouse hold them exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import cursor as Cursor

from highwater.model.errors import ConfigurationError
from highwater.store import statements, warehouse

FIRST_UNSTABLE_OID = 10000
"""Types from here on are numbered by each server for itself (Postgres' FirstGenbkiObjectId), or made by users."""
PSEUDO, ROW = "p", "c"
SYSTEM_COLUMNS = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")
_ANOTHER_NUMBER = "is a number that means something else on another server: cast it to text"
REFUSED = {
    "money": "counts in the smallest unit of its server's currency: cast it to numeric",
    "aclitem": "cannot be sent: cast it to text",
    "regclass": _ANOTHER_NUMBER,
    "regcollation": _ANOTHER_NUMBER,
    "regconfig": _ANOTHER_NUMBER,
    "regdatabase": _ANOTHER_NUMBER,
    "regdictionary": _ANOTHER_NUMBER,
    "regnamespace": _ANOTHER_NUMBER,
    "regoper": _ANOTHER_NUMBER,
    "regoperator": _ANOTHER_NUMBER,
    "regproc": _ANOTHER_NUMBER,
    "regprocedure": _ANOTHER_NUMBER,
    "regrole": _ANOTHER_NUMBER,
    "regtype": _ANOTHER_NUMBER,
}
"""Types that would not be the same in the warehouse, by name, and why."""


@dataclass(frozen=True)
class Described:
    """A statement with its parameters bound, and its columns: name and type of the warehouse, in order.

    The types have no length: ``char(2)`` is ``bpchar``, ``bit(4)`` is ``"bit"`` of any length.
    """

    query: str
    columns: tuple[tuple[str, str], ...]


def describe(source: Cursor, target: Cursor, name: str, parameters: Mapping[str, object]) -> Described:
    """Let the source plan ``sql/<name>`` and say which columns it gives; no row moves.

    Args:
        source: a cursor on the source.
        target: a cursor on the warehouse, which alone says what types are called.
        name: the statement.
        parameters: its parameters.

    Raises:
        ConfigurationError: it is refused, breaks its contract, or a column cannot be kept as it is; names the file and
            the column, and the way out.
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
        return "has no name: give it one, by AS"
    if column in SYSTEM_COLUMNS:
        return "is called as a column of Postgres' own: give it another name"
    return None


def _bad_type(oid: int, known: Any) -> str | None:
    # Above that, the warehouse's type of the number is another one than the source's.
    if oid >= FIRST_UNSTABLE_OID:
        return "has a type of the source's own: cast it to one that is built in"
    if known.kind is None:
        return f"has a type that the warehouse does not know, oid {oid}: cast it to text"
    if known.kind in (PSEUDO, ROW):
        return f"is of type {known.type_name}, which no table can hold: cast it, or name its fields"
    if known.element in REFUSED:
        return f"is of type {known.type_name}, which {REFUSED[known.element]}"
    if known.element.startswith("pg_") and known.element not in ("pg_lsn", "pg_snapshot"):
        return f"is of type {known.type_name}, which cannot be sent: cast it to text"
    return None
