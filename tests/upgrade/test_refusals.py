"""A warehouse that this code cannot work with is refused in one sentence, by every command, and nothing is changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from loading import day, stage
from old_states import STATES, database, restore, schema
from page_server import page_server

from highwater.environment import settings
from highwater.model.errors import ConfigurationError, WrongVersion
from highwater.page import db
from highwater.page.problems import Problem
from highwater.policy import reader as policy_reader
from highwater.setup import bootstrap
from highwater.store import schema_version, warehouse

COMMANDS = (
    "bootstrap",
    "init",
    "migrate",
    "migrate --plan",
    "status",
    "status --json",
    "verify",
    "policy show",
    "policy set daily_sales --disabled --reason x",
    "sources",
    "incidents list",
    "backfill list",
    "backfill plan daily_sales --from 2026-10-01 --to 2026-10-02",
    "recovery",
    "checkpoint show",
    "checkpoint reset orders --reason x --yes",
    "rollback daily_sales 2026-10-01 --to 1 --reason x --yes",
    "release daily_sales --from 2026-10-01 --to 2026-10-02 --reason x --yes",
    "accept daily_sales 2026-10-01 --reason x",
)


def admin(statement: str) -> None:
    with warehouse.session("postgres", settings.get().warehouse_database) as cursor:
        cursor.execute(statement)


def highwater(command: str) -> tuple[int, list[str]]:
    """The exit code of a command, and the lines that it says as a mistake."""
    done = subprocess.run(
        [sys.executable, "-m", "highwater.cli.main", *command.split(" ")],
        env=os.environ | {"PYTHONPATH": str(settings.ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr.splitlines()


def everything() -> tuple[str, list[tuple[Any, ...]], list[str]]:
    """Schema, version and the files at home: what a refusal leaves as it was."""
    with warehouse.session("postgres", settings.get().warehouse_database) as cursor:
        cursor.execute("SELECT rolname, rolcanlogin, rolconfig FROM pg_roles ORDER BY 1")
        roles = [tuple(row) for row in cursor.fetchall()]
    config = settings.get()
    files = [path.read_text() for path in (config.anchor_file, *sorted(config.secrets.iterdir()))]
    return schema(), roles, files


class TestNewerThanTheCode:
    said = "the warehouse's schema is version 99.0.0, newer than this code, which knows versions up to"

    @pytest.fixture(scope="class", autouse=True)
    def newer(self, platform: Path) -> Iterator[None]:
        with database("newer"):
            bootstrap.run()
            admin("UPDATE control.alembic_version SET version_num = '99.0.0'")
            yield

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_says_so_in_a_line(self, command: str) -> None:
        before = everything()
        code, lines = highwater(command)
        assert (code, len(lines)) == (2, 1), lines
        assert lines[0].startswith(f"highwater: {self.said} {schema_version.head()}"), lines
        assert everything() == before

    @pytest.mark.parametrize("start", [bootstrap.run, bootstrap.migrate, bootstrap.plan])
    def test_every_start_says_so(self, start: Callable[[], object]) -> None:
        before = everything()
        with pytest.raises(ConfigurationError, match=self.said):
            start()
        assert everything() == before

    @pytest.mark.parametrize("role", ["loader", "analyst", "operator"])
    def test_every_session_of_a_role_says_so(self, role: str) -> None:
        with pytest.raises(WrongVersion, match=self.said), warehouse.session(role):
            pass
        with pytest.raises(WrongVersion, match=self.said), warehouse.autocommitting(role):
            pass

    def test_a_stage_of_a_load_says_so(self) -> None:
        with pytest.raises(WrongVersion, match=self.said) as refused:
            stage(day("2026-10-01"))
        assert refused.value.is_final

    def test_the_scheduler_goes_on_by_what_it_knows_and_logs_it(self, caplog: pytest.LogCaptureFixture) -> None:
        policy_reader.PolicyReader().read()
        assert self.said in caplog.text

    def test_the_page_says_so(self) -> None:
        with pytest.raises(Problem) as problem, db.session():
            pass
        assert problem.value.status == 503
        assert self.said in problem.value.sentence

    def test_the_page_in_airflow_says_so(self) -> None:
        with page_server() as server, server.client("admin") as client:
            answer = client.get("/")
        assert answer.status_code == 503
        assert "newer than this code" in answer.text


def test_a_start_of_code_without_versions_ends_where_it_writes_its_anchor(platform: Path) -> None:
    """As every one of them does, before it replaces functions that read what it does not know."""
    anchor = "INSERT INTO control.platform (anchor) VALUES ('2026-10-31') ON CONFLICT (only_row) DO NOTHING"
    with warehouse.session("postgres") as cursor:
        cursor.execute("SET LOCAL ROLE publisher")
        said = f"the warehouse's schema is version {schema_version.head()}, newer than the code of this start"
        with pytest.raises(psycopg2.Error, match=said) as refused:
            cursor.execute(anchor)
        assert refused.value.pgcode == "HW012"
        cursor.connection.rollback()


class TestOlderThanTheCode:
    @pytest.fixture(scope="class", autouse=True)
    def older(self, platform: Path) -> Iterator[None]:
        with database("older"):
            restore(STATES[-1])
            yield

    @pytest.mark.parametrize("command", [one for one in COMMANDS if not one.startswith(("bootstrap", "init", "migr"))])
    def test_every_command_says_what_brings_it_there(self, command: str) -> None:
        code, lines = highwater(command)
        assert (code, len(lines)) == (2, 1), lines
        wanted = f"highwater: the warehouse's schema has no version yet, and this code needs {schema_version.head()}: "
        assert lines[0].startswith(wanted), lines
        assert "scripts/highwater migrate" in lines[0]

    def test_a_plan_says_what_a_start_would_do_and_does_nothing(self) -> None:
        before = everything()
        done = subprocess.run(
            [sys.executable, "-m", "highwater.cli.main", "migrate", "--plan", "--json"],
            env=os.environ | {"PYTHONPATH": str(settings.ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        planned = json.loads(done.stdout)
        assert (planned["before"], planned["is_adopted"], planned["after"]) == (None, True, schema_version.head())
        assert planned["versions"] == list(schema_version.known())
        assert "warehouse/40_publish.sql" in planned["files"]
        assert everything() == before


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("CREATE SCHEMA control; CREATE TABLE control.alembic_version (version_num text)", "control of postgres"),
        ("CREATE SCHEMA ops", "ops of postgres"),
        ("CREATE SCHEMA sales AUTHORIZATION analyst", "sales of analyst"),
        (
            "CREATE SCHEMA ops AUTHORIZATION publisher; SET ROLE publisher; CREATE TABLE ops.events (n integer)",
            "ops.events",
        ),
        (
            "CREATE SCHEMA control AUTHORIZATION publisher; SET ROLE publisher;"
            " CREATE TABLE control.alembic_version (version_num) AS SELECT 'ab1'::text",
            "version ab1, newer than this code",
        ),
    ],
)
def test_what_another_users_platform_has_made_is_not_touched(platform: Path, made: str, said: str) -> None:
    with database("elsewhere"):
        admin(made)
        before = everything()
        for start in (bootstrap.run, bootstrap.migrate, bootstrap.plan):
            with pytest.raises(ConfigurationError, match="nothing was changed") as refused:
                start()
            assert said in str(refused.value)
        assert everything() == before
