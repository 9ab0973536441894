"""The warehouses that older code left, tests/upgrade/states/: restored into a database of a platform's server."""

from __future__ import annotations

import gzip
import os
import subprocess
from contextlib import closing
from pathlib import Path

from psycopg2 import sql

from highwater.environment import credentials, settings
from highwater.local import server
from highwater.store import warehouse

FOLDER = settings.ROOT / "tests/upgrade/states"
STATES = sorted(path.name.removesuffix(".sql.gz") for path in FOLDER.glob("*.sql.gz"))
"""Their names: the commits, or tags, whose code made them."""
ENVIRONMENT = {
    "HIGHWATER_ANCHOR": "2026-10-31",
    "HIGHWATER_NOW": "2026-10-31T12:00:00+00:00",
    "SIMULATION_ROWS_PER_DAY": "40",
    "SIMULATION_LATE_CLOSE_SECONDS": "0",
    "SIMULATION_SHOP_ORDERS": "50",
    "SIMULATION_CHANNEL_SALES": "40",
}
"""With what they were made: a start on one of them needs it too."""


def restore(state: str, database: str) -> None:
    """Make the database of that name on the platform's server, new, as the code of that state left it.

    Roles of the server become what they were then; the start that follows puts them right.
    """
    create(database)
    fill(database, FOLDER / f"{state}.sql.gz")


def create(database: str) -> None:
    """Make an empty database of that name, in place of one that there is."""
    drop(database)
    outside_transactions("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'", database)


def fill(database: str, state: Path) -> None:
    """Run the statements of a kept state in an empty database."""
    said = psql(database, gzip.decompress(state.read_bytes()))
    assert said.returncode == 0, said.stderr.decode()


def drop(database: str) -> None:
    """Drop the database of that name if there is one, with its open sessions."""
    outside_transactions("DROP DATABASE IF EXISTS {} WITH (FORCE)", database)


def outside_transactions(statement: str, *names: str) -> None:
    """Run a statement about databases by these names as the admin."""
    with closing(warehouse.connect("postgres", "postgres")) as link:
        link.autocommit = True
        with link.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(*(sql.Identifier(name) for name in names)))


def psql(database: str, text: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run a file of statements as the admin, up to the first that fails."""
    options = ("--no-psqlrc", "--quiet", "--output", os.devnull, "--set=ON_ERROR_STOP=1", "--dbname", database)
    return _tool("psql", *options, text=text)


def run_tool(name: str, *arguments: str) -> None:
    """Run a tool of Postgres as the admin of the platform's server."""
    said = _tool(name, *arguments)
    assert said.returncode == 0, said.stderr.decode()


def as_admin() -> dict[str, str]:
    """The environment in which a program of Postgres is the admin of the platform's server."""
    config = settings.get()
    login = {"PGUSER": config.warehouse_admin, "PGPASSWORD": credentials.password("postgres")}
    return {**os.environ, "PGHOST": config.warehouse_host, "PGPORT": str(config.warehouse_port), **login}


def _tool(name: str, *arguments: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [str(server.program(name)), *arguments]
    return subprocess.run(command, input=text, capture_output=True, check=False, env=as_admin())
