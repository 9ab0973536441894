"""What the tests of tests/adversary have in common: to try something as a role, and to look with the admin's eyes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from highwater.environment import settings
from highwater.setup import bootstrap
from highwater.store import warehouse

LOGINS = ("loader", "analyst", "operator", "simulator", "legacy_reader", "shop_reader", "web_reader")


def home_of(role: str) -> str:
    """The database that a role works in."""
    config = settings.get()
    if role == "airflow":
        return config.metadata_database
    return config.sources_database if role == "simulator" or role.endswith("_reader") else config.warehouse_database


def act(role: str, statement: str, parameters: Sequence[Any] | None = None, database: str | None = None) -> list[Any]:
    """Run statements as a role, committed; returns the rows of the last one."""
    with closing(warehouse.connect(role, database or home_of(role))) as link, link, link.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description is not None else []


def refused(
    role: str,
    statement: str,
    parameters: Sequence[Any] | None = None,
    says: str = "permission denied|must be|belongs to another session|has no attempt",
    database: str | None = None,
) -> None:
    """The server does not let the role do that."""
    with pytest.raises(psycopg2.errors.InsufficientPrivilege, match=says):
        act(role, statement, parameters, database)


def powers() -> list[str]:
    """Roles with powers of an admin, beside the admin."""
    found = act(
        "postgres",
        "SELECT rolname FROM pg_roles"
        " WHERE (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)"
        " AND rolname <> 'postgres' ORDER BY 1",
    )
    return [row.rolname for row in found]


def writable(role: str, *schemas: str) -> set[str]:
    """The tables and views of the schemas that a role may change in any way."""
    found = act(
        "postgres",
        "SELECT c.oid::regclass::text AS name FROM pg_class AS c"
        " WHERE c.relnamespace = ANY(%s::regnamespace[]) AND c.relkind IN ('r', 'p', 'v', 'm')"
        " AND (has_table_privilege(%s, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')"
        " OR has_any_column_privilege(%s, c.oid, 'INSERT, UPDATE, REFERENCES'))",
        (list(schemas), role, role),
        home_of(role),
    )
    return {row.name for row in found}


def start() -> None:
    """The start that makes the databases current, as at each `highwater bootstrap`."""
    bootstrap.run()
