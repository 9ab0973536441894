"""Another owner's database as a source, on the server of the tests: made, asked through an Airflow connection, gone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from highwater.environment import settings
from highwater.sources import types
from highwater.store import warehouse

READER, PASSWORD = "own_reader", "of a test"


def admin(database: str) -> Connection:
    """The admin's connection, every statement a transaction of its own."""
    link = warehouse.connect("postgres", database)
    link.autocommit = True
    return link


@contextmanager
def database(name: str, *statements: str | bytes, encoding: str = "UTF8") -> Iterator[str]:
    """A database in that encoding, whose tables the reader may read; gone at the end of the block."""
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    with closing(admin("postgres")) as link, link.cursor() as cursor:
        cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (READER,))
        if cursor.fetchone() is None:
            cursor.execute(f"CREATE ROLE {READER} LOGIN PASSWORD '{PASSWORD}'")
        cursor.execute(drop)
        cursor.execute(
            sql.SQL("CREATE DATABASE {} ENCODING {} LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0").format(
                sql.Identifier(name), sql.Literal(encoding)
            )
        )
    try:
        with closing(admin(name)) as link, link.cursor() as cursor:
            cursor.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {READER}")
            link.set_client_encoding("SQL_ASCII" if encoding == "SQL_ASCII" else "UTF8")
            # As its owner would: an admin's session of ours finds no names there.
            cursor.execute("SET search_path = public")
            for statement in statements:
                cursor.execute(statement)
        yield name
    finally:
        with closing(admin("postgres")) as link, link.cursor() as cursor:
            cursor.execute(drop)


def connect_airflow(
    patch: pytest.MonkeyPatch, connection_id: str, database: str, port: int | None = None, **extra: Any
) -> None:
    """Let Airflow know the database as a connection."""
    known = {
        "conn_type": "postgres",
        "host": "127.0.0.1",
        "port": port or settings.get().warehouse_port,
        "schema": database,
        "login": READER,
        "password": PASSWORD,
        "extra": extra,
    }
    patch.setenv(f"AIRFLOW_CONN_{connection_id.upper()}", json.dumps(known))


def own_folder(patch: pytest.MonkeyPatch, root: Path) -> Path:
    """A folder ``own`` for statements beside those that there are."""
    for folder in warehouse.SQL.iterdir():
        (root / folder.name).symlink_to(folder)
    (root / "own").mkdir()
    patch.setattr(warehouse, "SQL", root)
    return root / "own"


def arrived(source: Cursor, name: str, parameters: dict[str, object]) -> tuple[Sequence[tuple[str, str]], list[Any]]:
    """The columns that ``sql/<name>`` gives at the source, and its rows as they stand in the warehouse then."""
    with warehouse.session("loader") as target:
        found = types.describe(source, target, name, parameters)
        columns = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(kind)) for column, kind in found.columns
        )
        target.execute(sql.SQL("CREATE TEMPORARY TABLE arrived ({}) ON COMMIT DROP").format(columns))
        warehouse.copy_stream(source, found.query, target, sql.Identifier("arrived"))
        target.execute("SELECT * FROM arrived")
        return found.columns, [tuple(row) for row in warehouse.fetch_all(target)]
