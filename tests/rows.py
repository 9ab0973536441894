"""Rows of a cursor whose columns are read by name: psycopg2 knows their types only when it reads them."""

from __future__ import annotations

from typing import Any

from psycopg2.extensions import cursor as Cursor


def named(cursor: Cursor) -> list[Any]:
    """All rows of a statement, as named tuples."""
    return cursor.fetchall()


def one(cursor: Cursor) -> Any:
    """The next row of a statement, as a named tuple; there must be one."""
    row = cursor.fetchone()
    assert row is not None
    return row
