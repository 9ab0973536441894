"""Warehouses of other names on the platform's server: as older code left them, or new."""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg2 import sql

from highwater.environment import credentials, settings
from highwater.local import placement
from highwater.store import warehouse

STATES = sorted((Path(__file__).parent / "upgrade/states").glob("*.sql.gz"))


def psql(database: str, text: bytes) -> None:
    """Run a dump, as the admin."""
    done = subprocess.run(
        [
            placement.binaries() / "psql",
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            f"--dbname={database}",
        ],
        input=text,
        env=as_admin(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


def as_admin() -> dict[str, str]:
    """The environment in which a program of Postgres' is the admin."""
    return os.environ | {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(settings.get().warehouse_port),
        "PGUSER": "postgres",
        "PGPASSWORD": credentials.password("postgres"),
    }


@contextmanager
def database(name: str) -> Iterator[str]:
    """An empty database, which is the warehouse that the settings name within the block."""
    with pytest.MonkeyPatch.context() as patch:
        _drop(name)
        with _server() as run:
            run(sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(sql.Identifier(name)))
        patch.setenv("HIGHWATER_WAREHOUSE_DATABASE", name)
        settings.get.cache_clear()
        try:
            yield name
        finally:
            settings.get.cache_clear()
            _drop(name)
    settings.get.cache_clear()


def restore(state: Path) -> None:
    """Fill the warehouse that the settings name with a state that older code left."""
    psql(settings.get().warehouse_database, gzip.decompress(state.read_bytes()))


def _drop(name: str) -> None:
    with _server() as run:
        run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def _server() -> Iterator[Callable[[sql.Composable], None]]:
    link = warehouse.connect("postgres", "postgres")
    link.autocommit = True
    try:
        with link.cursor() as cursor:
            yield cursor.execute
    finally:
        link.close()


def schema() -> str:
    """The schema of the warehouse that the settings name, as pg_dump writes it, without what data is in: partitions,
    staging sets and former versions of windows."""
    name = settings.get().warehouse_database
    with warehouse.session("postgres", name) as cursor:
        cursor.execute(
            "SELECT n.nspname || '.' || c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND (c.relispartition OR n.nspname IN ('staging', 'former', 'archive'))"
        )
        data = [f"--exclude-table={row[0]}" for row in cursor.fetchall()]
    dump = subprocess.run(
        [placement.binaries() / "pg_dump", "--schema-only", *data, name],
        env=as_admin(),
        check=True,
        capture_output=True,
        text=True,
    )
    return "\n".join(line for line in dump.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))
