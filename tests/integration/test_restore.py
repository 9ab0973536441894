"""scripts/backup and scripts/restore on the demo's platform: what is refused, what is migrated, what is put back."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import kept_states
import loading
import pytest

from highwater.environment import settings
from highwater.local import server
from highwater.local.platform import claim
from highwater.setup import bootstrap, restoration
from highwater.store import schema_version, warehouse

SCRATCH = "to_be_dumped"
DAYS = ("2026-10-05", "2026-10-06")


@pytest.fixture(scope="module")
def home(scratch: Callable[[str], Path]) -> Iterator[Path]:
    """An installation of this module's own, in which two days have landed, with a server that runs."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("HIGHWATER_", "SIMULATION_"))]:
            patch.delenv(name)
        patch.setenv("HIGHWATER_HOME", str(scratch("restore")))
        for name, value in kept_states.ENVIRONMENT.items():
            patch.setenv(name, value)
        settings.get.cache_clear()
        server.start()
        try:
            bootstrap.run()
            for day in DAYS:
                loading.land(loading.day(day))
            yield settings.get().home
        finally:
            server.remove()
            settings.get.cache_clear()


@pytest.fixture(scope="module")
def kept(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of it."""
    file = tmp_path_factory.mktemp("backup") / "kept.dump"
    done = typed("scripts/backup", str(file))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"backup: {file}, ")
    assert done.stdout.endswith(f", schema {schema_version.head()}\n")
    return file


@pytest.fixture(autouse=True)
def nothing_left(home: Path) -> Iterator[None]:
    """Every test leaves the installation's two days, and no database of its own."""
    yield
    kept_states.drop(SCRATCH)
    for database in set(restoration.names().__dict__.values()) - {restoration.names().warehouse}:
        kept_states.drop(database)


def typed(*line: str) -> subprocess.CompletedProcess[str]:
    """What a command comes to; no Docker engine answers it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
    return subprocess.run(
        line,
        cwd=settings.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def databases() -> dict[str, int]:
    """The databases of the server by name: one that was renamed keeps its number."""
    with closing(warehouse.connect("postgres", "postgres")) as link, link.cursor() as cursor:
        cursor.execute("SELECT datname, oid FROM pg_database")
        return {row.datname: row.oid for row in warehouse.fetch_all(cursor)}


def ledger(database: str | None = None) -> list[tuple[Any, ...]]:
    """Dataset, window, version and content of every row of the ledger."""
    with closing(warehouse.connect("postgres", database)) as link, link.cursor() as cursor:
        cursor.execute("SELECT dataset, window_range::text, version, content_hash FROM ops.window_ledger ORDER BY 1, 2")
        return [tuple(row) for row in cursor.fetchall()]


def run_in(database: str, *statements: str) -> None:
    """Run statements as the admin, each by itself."""
    with closing(warehouse.connect("postgres", database)) as link, link, link.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def dump(database: str, file: Path) -> Path:
    """What pg_dump makes of a database of the server."""
    kept_states.run_tool("pg_dump", "--format=custom", f"--file={file}", database)
    return file


def of_statements(file: Path, *statements: str) -> Path:
    """A dump of a database in which these were run."""
    kept_states.drop(SCRATCH)
    kept_states.outside_transactions("CREATE DATABASE {}", SCRATCH)
    run_in(SCRATCH, *statements)
    return dump(SCRATCH, file)


def cut(file: Path, kept: Path) -> Path:
    """The first half of a backup."""
    file.write_bytes(kept.read_bytes()[: kept.stat().st_size // 2])
    return file


def text(file: Path, _kept: Path) -> Path:
    """No dump of anything."""
    file.write_text("PGDUMP, it says\n")
    return file


def of_another_program(file: Path, _kept: Path) -> Path:
    """A dump of a database that Highwater knows nothing of."""
    return of_statements(file, "CREATE TABLE public.orders (n integer)", "INSERT INTO public.orders VALUES (1)")


def of_newer_code(file: Path, _kept: Path) -> Path:
    """A dump of a schema that does not exist yet."""
    return of_statements(
        file,
        "CREATE SCHEMA control",
        "CREATE SCHEMA ops",
        "CREATE TABLE control.datasets (dataset text)",
        "CREATE TABLE ops.window_ledger (dataset text)",
        "CREATE TABLE control.alembic_version (version_num text)",
        "INSERT INTO control.alembic_version VALUES ('99.0.0')",
    )


def without_ledger(file: Path, _kept: Path) -> Path:
    """A dump of the first days, when there was no ledger."""
    return of_statements(file, "CREATE SCHEMA control", "CREATE TABLE control.datasets (dataset text)")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (text, "is no dump of scripts/backup"),
        (cut, "is cut or damaged: pg_restore: error: could not read from input file: end of file"),
        (of_another_program, "is a dump of another program: it has no table control.datasets"),
        (of_newer_code, "has schema 99.0.0, and this code knows those up to "),
        (without_ledger, "is older than the oldest that can be migrated: it has no ledger"),
    ],
)
@pytest.mark.parametrize("option", [(), ("--check",)])
def test_what_cannot_be_restored_is_refused_before_anything_is_touched(
    kept: Path, tmp_path: Path, make: Callable[[Path, Path], Path], said: str, option: tuple[str, ...]
) -> None:
    file = make(tmp_path / "given.dump", kept)
    kept_states.drop(SCRATCH)
    before = databases(), ledger()
    refused = typed("scripts/restore", *option, str(file))
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr.startswith(f"restore: {file} {said}")
    assert refused.stderr.endswith("; nothing was changed\n")
    assert refused.stderr.count("\n") == 1
    assert (databases(), ledger()) == before


def test_a_file_that_is_not_there_and_two_files_are_refused(home: Path) -> None:
    assert typed("scripts/restore", "/nowhere.dump").stderr == (
        "restore: /nowhere.dump cannot be read; nothing was changed\n"
    )
    assert typed("scripts/restore", "a", "b").stderr == (
        "restore: expected one file: scripts/restore --help says more\n"
    )


def test_while_the_demo_runs_it_is_refused(kept: Path) -> None:
    before = databases()
    with claim():
        refused = typed("scripts/restore", str(kept))
    assert refused.returncode == 2
    assert "is already running: stop it first" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert databases() == before


def test_a_backup_takes_the_place_of_what_came_after_it(kept: Path) -> None:
    landed, before = ledger(), databases()
    assert typed("scripts/restore", "--check", str(kept)).stdout == (
        f"restore: {kept} is whole and can be restored here, schema {schema_version.head()}\n"
    )
    loading.land(loading.day("2026-10-07"))
    # Open sessions in the warehouse do not keep it from being replaced.
    with closing(warehouse.connect("analyst")) as link, link.cursor() as cursor:
        cursor.execute("SELECT 1")
        done = typed("scripts/restore", str(kept))
    assert done.returncode == 0, done.stderr
    assert ledger() == landed
    assert "recreate" not in done.stderr, "a restored schema is as this code made it"
    assert "the former warehouse is kept as database warehouse_replaced until the next restore" in done.stdout
    assert databases()["warehouse_replaced"] == before["warehouse"]
    assert len(ledger("warehouse_replaced")) == len(landed) + 1
    loading.land(loading.day("2026-10-08"))
    again = typed("scripts/restore", str(kept))
    assert again.returncode == 0, again.stderr
    assert ledger() == landed
    assert len(ledger("warehouse_replaced")) == len(landed) + 1


@pytest.mark.parametrize("state", kept_states.STATES)
def test_a_backup_of_older_code_is_migrated(kept: Path, tmp_path: Path, state: str) -> None:
    kept_states.restore(state, SCRATCH)
    landed = ledger(SCRATCH)
    file = dump(SCRATCH, tmp_path / "old.dump")
    kept_states.drop(SCRATCH)
    done = typed("scripts/restore", str(file))
    assert done.returncode == 0, done.stderr
    assert ledger() == landed
    assert len(landed) >= 5
    with warehouse.session("analyst") as cursor:
        cursor.execute((settings.ROOT / "highwater/sql/schema/version.sql").read_text())
        assert warehouse.fetch_value(cursor) == schema_version.head()
    assert typed("scripts/restore", str(kept)).returncode == 0


def test_one_that_cannot_be_migrated_leaves_the_warehouse_where_it_is(kept: Path, tmp_path: Path) -> None:
    kept_states.restore("58036d3", SCRATCH)
    run_in(SCRATCH, "CREATE VIEW public.mine AS SELECT dataset FROM ops.window_ledger")
    file = dump(SCRATCH, tmp_path / "hindered.dump")
    kept_states.drop(SCRATCH)
    before = databases(), ledger()
    failed = typed("scripts/restore", str(file))
    assert failed.returncode == 1
    assert "view mine depends on table ops.window_ledger" in failed.stderr, failed.stderr
    assert "Traceback" not in failed.stderr
    assert "restore: not restored: migrating and comparing what was read failed" in failed.stderr
    assert "restore: the warehouse, database warehouse, is unchanged; the restored data is kept" in failed.stderr
    assert (databases()["warehouse"], ledger()) == (before[0]["warehouse"], before[1])


def test_one_whose_rows_are_not_what_its_ledger_says_leaves_the_warehouse_where_it_is(
    kept: Path, tmp_path: Path
) -> None:
    kept_states.restore("f882bfb", SCRATCH)
    run_in(SCRATCH, "UPDATE sales.daily_sales SET quantity = quantity + 1 WHERE sold_at::date = '2026-10-27'")
    file = dump(SCRATCH, tmp_path / "other.dump")
    kept_states.drop(SCRATCH)
    before = databases(), ledger()
    failed = typed("scripts/restore", str(file))
    assert failed.returncode == 1
    assert "the backup differs from its ledger in 1 places: daily_sales 2026-10-27" in failed.stderr
    assert "restore: the warehouse, database warehouse, is unchanged; the restored data is kept" in failed.stderr
    assert (databases()["warehouse"], ledger()) == (before[0]["warehouse"], before[1])


@pytest.fixture
def a_start_that_fails(home: Path) -> Iterator[None]:
    """The sources have a schema in the way of the next start, which the warehouse knows nothing of."""
    run_in("sources", "ALTER SCHEMA gate OWNER TO simulator")
    yield
    run_in("sources", "ALTER SCHEMA gate OWNER TO postgres")
    bootstrap.run()


def test_where_the_platform_does_not_start_on_it_the_former_warehouse_is_put_back(
    kept: Path, a_start_that_fails: None
) -> None:
    loading.land(loading.day("2026-10-09"))
    before = databases(), ledger()
    failed = typed("scripts/restore", str(kept))
    assert failed.returncode == 1
    assert "schema 'gate' in database 'sources' belongs to 'simulator'" in failed.stderr
    assert "restore: not restored: starting the platform on it failed" in failed.stderr
    assert "restore: the former warehouse is database warehouse again; the restored data is kept" in failed.stderr
    assert (databases()["warehouse"], ledger()) == (before[0]["warehouse"], before[1])
    assert "warehouse_former" not in databases()


def test_one_that_was_killed_behind_the_swap_is_put_in_order_by_the_next(kept: Path) -> None:
    former = databases()["warehouse"]
    restoration.prepare()
    restoration.swap()
    assert databases()["warehouse_former"] == former
    done = typed("scripts/restore", str(kept))
    assert done.returncode == 0, done.stderr
    assert "warehouse_former" not in databases()
    assert ledger()
