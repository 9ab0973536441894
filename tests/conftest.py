"""What every test may ask for: a bootstrapped platform of its own, and a cursor in it for each role."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import prepared
import pytest
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor
from rows import named
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from highwater.environment import settings
from highwater.local import server
from highwater.store import warehouse

ENVIRONMENT = {
    "HIGHWATER_ANCHOR": "2026-10-31",
    "HIGHWATER_NOW": "2026-10-31T12:00:00+00:00",
    "SIMULATION_ROWS_PER_DAY": "400",
    "SIMULATION_LATE_CLOSE_SECONDS": "0",
    "SIMULATION_CHANNEL_SALES": "400",
}
"""Small, and the same on every day of the year: thirty windows are due, 2026-10-01 to 2026-10-30, all closed."""
SUITES = ("unit", "integration", "adversary", "upgrade", "e2e", "compose")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The cheap tests first, or last where two processes share them, so that neither ends long before the other.

    Those of compose are left out where there is no Docker engine, but never in CI.
    """
    items.sort(
        key=lambda item: next((n for n, suite in enumerate(SUITES) if suite in item.path.parts), len(SUITES)),
        reverse=hasattr(config, "workerinput"),
    )
    in_compose = [item for item in items if "compose" in item.path.parts]
    if in_compose and not os.environ.get("CI") and not _docker_answers():
        for item in in_compose:
            item.add_marker(pytest.mark.skip(reason="no Docker engine answers here: compose is not tested"))


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each process a file at a time, and all of compose to one: its files share a platform."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return "compose" if "compose" in Path(file).parts else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """How scripts/test shares the tests between its two processes."""
    return ByFile(config, log)


def _docker_answers() -> bool:
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="session")
def scratch() -> Iterator[Callable[[str], Path]]:
    """Makes folders that an unprivileged Postgres can reach, which pytest's own are not; they go at the end."""
    made: list[Path] = []

    def make(name: str) -> Path:
        made.append(Path(tempfile.mkdtemp(prefix=f"highwater-{name}-")))
        made[-1].chmod(0o755)
        return made[-1]

    yield make
    for folder in made:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def platform(scratch: Callable[[str], Path]) -> Iterator[Path]:
    """The home of a bootstrapped platform with its own server; one for the whole session."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("HIGHWATER_", "SIMULATION_"))]:
            patch.delenv(name)
        patch.setenv("HIGHWATER_HOME", str(scratch("home")))
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        settings.get.cache_clear()
        try:
            prepared.start_platform(ENVIRONMENT)
            yield settings.get().home
        finally:
            server.remove()
            settings.get.cache_clear()


def _cursor_as(role: str, name: str, database: str) -> Callable[[Path], Iterator[Cursor]]:
    @pytest.fixture(name=name)
    def cursor(platform: Path) -> Iterator[Cursor]:
        link = warehouse.connect(role, getattr(settings.get(), f"{database}_database"))
        with closing(link), link.cursor() as cursor:
            yield cursor
            if not link.closed:
                link.rollback()

    return cursor


# A cursor logged in as that role, in a transaction that is rolled back unless the test commits it.
admin = _cursor_as("postgres", "admin", "warehouse")
loader = _cursor_as("loader", "loader", "warehouse")
analyst = _cursor_as("analyst", "analyst", "warehouse")
operator = _cursor_as("operator", "operator", "warehouse")
simulator = _cursor_as("simulator", "simulator", "sources")
legacy_reader = _cursor_as("legacy_reader", "legacy_reader", "sources")


@pytest.fixture
def empty_warehouse(platform: Path) -> None:
    """Nothing has happened yet: no window landed, no attempt, nothing staged, no partition, no backfill. Rules stay."""
    _empty()


@pytest.fixture(scope="module")
def emptied_once(platform: Path) -> None:
    """As `empty_warehouse`, once for a module."""
    _empty()


def _empty() -> None:
    with warehouse.session("postgres") as cursor:
        cursor.execute(
            "SELECT n.nspname AS folder, c.relname AS name,"
            " c.relispartition OR n.nspname IN ('archive', 'staging') AS goes, pg_relation_size(c.oid) = 0 AS is_empty"
            " FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " WHERE n.nspname IN ('archive', 'ops', 'quarantine', 'sales', 'staging') AND c.relkind = 'r'"
        )
        tables = named(cursor)
        for table in (table for table in tables if table.goes):
            cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(table.folder, table.name)))
        # TRUNCATE takes its time for each table and index, whether there is a row or not.
        filled = [sql.Identifier(table.folder, table.name) for table in tables if not table.goes and not table.is_empty]
        filled.append(sql.Identifier("control", "backfills"))
        cursor.execute(sql.SQL("TRUNCATE {} CASCADE").format(sql.SQL(", ").join(filled)))
