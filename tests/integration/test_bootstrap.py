"""Bootstrap brings any state to the current one, and a second time finds nothing to do."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from old_states import database as empty_database
from psycopg2.extensions import cursor as Cursor
from rows import named
from waiting import wait_until

from highwater.environment import credentials, settings
from highwater.local import environment, placement
from highwater.setup import bootstrap
from highwater.store import warehouse
from simulation import extension

pytestmark = pytest.mark.usefixtures("platform")


@pytest.fixture(scope="module", autouse=True)
def started(platform: Path) -> None:
    """What other tests have emptied is as a start leaves it."""
    bootstrap.run()


def everything() -> dict[str, str]:
    """Schemas and data of the databases as pg_dump writes them, the roles with their verifiers, the files at home."""
    config = settings.get()
    state = {}
    for database in (config.warehouse_database, config.sources_database):
        dump = subprocess.run(
            [placement.binaries() / "pg_dump", "--no-comments", "--exclude-table-data=legacy.sales*", database],
            env={
                **os.environ,
                "PGHOST": "127.0.0.1",
                "PGPORT": str(config.warehouse_port),
                "PGUSER": "postgres",
                "PGPASSWORD": credentials.password("postgres"),
            },
            check=True,
            capture_output=True,
            text=True,
        )
        state[database] = re.sub(r"\\(un)?restrict .*", "", dump.stdout)
    with warehouse.session("postgres") as cursor:
        cursor.execute("SELECT rolname, rolpassword, rolsuper, rolcreaterole, rolcanlogin FROM pg_authid ORDER BY 1")
        state["roles"] = repr(cursor.fetchall())
        cursor.execute("SELECT datname, datdba, datacl FROM pg_database ORDER BY 1")
        state["databases"] = repr(cursor.fetchall())
    for path in sorted([*config.secrets.iterdir(), config.anchor_file, config.ui_passwords_file]):
        state[path.name] = path.read_text()
    return state


def test_a_second_run_changes_nothing() -> None:
    before = everything()
    bootstrap.run()
    assert everything() == before


def test_a_command_line_that_was_printed_logs_in_with_a_password_made_again() -> None:
    printed = environment.psql_command("analyst")
    (settings.get().secrets / "analyst_password").unlink()
    bootstrap.run()
    said = subprocess.run([*_sh(printed), "-qAtc", "SELECT session_user"], check=False, capture_output=True, text=True)
    assert (said.stdout, said.stderr) == ("analyst\n", "")


def _sh(line: str) -> list[str]:
    return ["sh", "-c", f'{line} "$@"', "sh"]


def test_a_lost_function_a_changed_password_and_a_missing_role_are_put_right(admin: Cursor) -> None:
    before = everything()
    admin.execute("DROP FUNCTION ops.skip_window")
    admin.execute("ALTER ROLE analyst PASSWORD 'another user changed it'")
    admin.connection.commit()
    with warehouse.session("postgres", settings.get().sources_database) as cursor:
        cursor.execute("DROP OWNED BY legacy_reader")
        cursor.execute("DROP ROLE legacy_reader")
    bootstrap.run()
    after = everything()
    assert (after["warehouse"], after["sources"]) == (before["warehouse"], before["sources"])
    with warehouse.session("analyst") as cursor:
        cursor.execute("SELECT count(*) FROM control.datasets")
        assert warehouse.fetch_value(cursor) >= 1
    warehouse.connect("legacy_reader", settings.get().sources_database).close()


def test_a_start_that_meets_a_session_the_other_way_round_tries_again(caplog: pytest.LogCaptureFixture) -> None:
    """As those of a running platform are: they read what the start is to change last, and then what it has changed."""
    config = settings.get()
    with (
        closing(warehouse.connect("postgres", config.warehouse_database)) as link,
        closing(warehouse.connect("postgres")) as look,
        link.cursor() as cursor,
        look.cursor() as eye,
    ):
        look.autocommit = True
        # A start that finds nothing to do takes no table for itself.
        cursor.execute("DROP FUNCTION ops.skip_window")
        cursor.execute("SET deadlock_timeout = '60s'")
        cursor.execute("SET lock_timeout = '60s'")
        link.commit()
        cursor.execute("SELECT count(*) FROM ops.attempts")
        failed: list[BaseException] = []

        def start() -> None:
            try:
                bootstrap.run()
            except BaseException as error:
                failed.append(error)

        def waits() -> object:
            eye.execute(
                "SELECT FROM pg_locks WHERE relation = 'ops.attempts'::regclass AND NOT granted"
                " AND mode = 'AccessExclusiveLock'"
            )
            return eye.fetchone() is not None or failed

        starting = threading.Thread(target=start)
        with caplog.at_level(logging.INFO):
            starting.start()
            wait_until("the start waits for the session", waits, 60)
            cursor.execute("SELECT count(*) FROM control.platform")
            link.rollback()
            starting.join()
    assert failed == []
    assert "deadlock with the running platform: the start is retried" in caplog.text


def test_nobody_but_the_admin_is_a_superuser_and_the_publisher_does_not_log_in(admin: Cursor) -> None:
    admin.execute("SELECT rolname FROM pg_roles WHERE rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls")
    assert [row[0] for row in admin.fetchall()] == ["postgres"]
    admin.execute("SELECT rolname FROM pg_roles WHERE NOT rolcanlogin AND rolname !~ '^pg_'")
    assert [row[0] for row in admin.fetchall()] == ["publisher"]


@pytest.mark.parametrize(
    ("role", "database"),
    [
        ("analyst", "sources"),
        ("loader", "sources"),
        ("loader", "airflow"),
        ("legacy_reader", "warehouse"),
        ("simulator", "warehouse"),
        ("airflow", "warehouse"),
        ("airflow", "sources"),
    ],
)
def test_a_role_gets_only_into_the_databases_it_needs(role: str, database: str) -> None:
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        warehouse.connect(role, database)


def test_a_source_reader_only_reads(legacy_reader: Cursor) -> None:
    legacy_reader.execute("SELECT count(*) FROM legacy.closed_days")
    assert warehouse.fetch_value(legacy_reader) == 30
    for statement in ("DELETE FROM legacy.sales", "CREATE TABLE legacy.mine ()", "CREATE TABLE public.mine ()"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            legacy_reader.execute(statement)
        legacy_reader.connection.rollback()


def test_secrets_differ_and_are_not_for_everybody() -> None:
    folder = settings.get().secrets
    values = [path.read_text() for path in folder.iterdir() if path.suffix != ".json"]
    assert len(values) == len(set(values))
    assert all(len(value.strip()) >= 20 for value in values)
    for path in folder.iterdir():
        assert not stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO, path.name
    assert not stat.S_IMODE(settings.get().ui_passwords_file.stat().st_mode) & 0o077


def test_the_server_never_sees_a_password_in_the_clear(admin: Cursor) -> None:
    admin.execute("SELECT rolname, rolpassword FROM pg_authid WHERE rolcanlogin")
    assert all(row.rolpassword.startswith("SCRAM-SHA-256$") for row in named(admin))


def test_each_source_has_a_connection_with_its_own_reader() -> None:
    connections = json.loads((settings.get().secrets / "connections.json").read_text())
    assert {name: c["login"] for name, c in connections.items()} == {
        reader.removesuffix("_reader"): reader for reader in extension.READERS
    }


def test_a_dataset_that_becomes_known_begins_its_first_load_and_one_that_landed_has_had_it(admin: Cursor) -> None:
    admin.execute("SELECT dataset, history_until, loaded_at FROM ops.first_loads WHERE dataset = 'daily_sales'")
    admin.execute("DELETE FROM ops.first_loads")
    admin.execute(
        "INSERT INTO control.datasets (dataset, dag_id, published_table, first_window, step)"
        " VALUES ('mine', 'mine', 'sales.mine', '2026-10-30', '1 day')"
    )
    admin.execute("SELECT dataset, history_until::date::text AS until, loaded_at FROM ops.first_loads")
    assert [tuple(row) for row in admin.fetchall()] == [("mine", "2026-10-31", None)]
    admin.connection.rollback()


def test_what_a_first_start_makes_is_nobodys_change(platform: Path) -> None:
    with empty_database("first_start"):
        bootstrap.run()
        with warehouse.session("analyst") as cursor:
            cursor.execute("SELECT what, dataset, old, new FROM control.catchup_policy_history")
            assert warehouse.fetch_all(cursor) == []
