"""A row of a policy that makes no sense: refused where it is written, and one that is there takes no other along."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor
from typer.testing import CliRunner

from highwater.environment import settings
from highwater.incidents import alerts
from highwater.model.errors import ConfigurationError
from highwater.policy import reader as policy_reader
from highwater.policy.reader import PolicyReader
from highwater.setup import bootstrap
from highwater.store import warehouse

pytestmark = pytest.mark.usefixtures("empty_warehouse", "restored")
BAD_DAYS = ["infinity", "-infinity", "0044-03-15 BC", "0001-01-01", "9999-12-31", "10000-01-01", "5874897-12-31"]
KIND = "policy cannot be read"
RULES = {
    "control.closed_days": ["day_is_between_1900_and_2999"],
    "control.catchup_policies": ["max_age_is_at_most_36600_days", "conditions_have_names"],
}


def change(statement: str, *values: object, role: str = "postgres") -> None:
    with warehouse.session(role) as cursor:
        cursor.execute(statement, values)


def rows(query: str) -> list[tuple[Any, ...]]:
    with warehouse.session("analyst") as cursor:
        cursor.execute(query)
        return [tuple(row) for row in cursor.fetchall()]


@pytest.fixture
def restored(platform: Path) -> Iterator[None]:
    """Nobody has changed what is wanted, before the test and behind it, and every rule is valid."""
    _restore()
    yield
    _restore()


def _restore() -> None:
    change("TRUNCATE control.closed_days, control.condition_states, ops.unread_policies")
    change("DELETE FROM control.catchup_policies")
    change("INSERT INTO control.catchup_policies (dataset) SELECT dataset FROM control.datasets")
    bootstrap.run()
    assert (
        rows("SELECT conname FROM pg_constraint WHERE connamespace = 'control'::regnamespace AND NOT convalidated")
        == []
    )


@pytest.fixture
def older() -> Iterator[Callable[[str], None]]:
    """Writes what no rule would let in; the rules are there again behind the test, which has taken it out."""
    kept = [
        (table, rule, definition)
        for table, rules in RULES.items()
        for rule, definition in rows(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
            f" WHERE conrelid = '{table}'::regclass AND conname = ANY('{{{','.join(rules)}}}')"
        )
    ]
    assert len(kept) == sum(map(len, RULES.values()))

    def write(statement: str) -> None:
        for table, rule, _ in kept:
            change(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {rule}")
        change(statement)

    yield write
    change("DELETE FROM control.closed_days WHERE NOT control.is_usual_day(day)")
    change("UPDATE control.catchup_policies SET max_age = NULL, conditions = '{}' WHERE dataset = 'daily_sales'")
    for table, rule, definition in kept:
        change(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {rule}, ADD CONSTRAINT {rule} {definition}")


def incidents() -> list[str]:
    """The subjects of what cannot be read, as `highwater status` tells them to a program."""
    from highwater.cli.main import app

    done = CliRunner().invoke(app, ["status", "--json"])
    assert done.exit_code == 0, done.exception
    return [each["subject"] for each in json.loads(done.output)["incidents"] if each["kind"] == KIND]


def shell(*arguments: str) -> str:
    from highwater.cli.main import app

    done = CliRunner().invoke(app, ["policy", *arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


class TestWhereItIsWritten:
    @pytest.mark.parametrize("bad", BAD_DAYS)
    def test_a_day_that_nobody_means_is_refused(self, operator: Cursor, bad: str) -> None:
        with pytest.raises(psycopg2.errors.CheckViolation, match="day_is_between_1900_and_2999"):
            operator.execute("INSERT INTO control.closed_days (day, reason) VALUES (%s, 'x')", (bad,))

    @pytest.mark.parametrize(
        ("value", "rule"),
        [
            ("max_age = 'infinity'", "max_age_is_"),
            ("max_age = '-infinity'", "max_age_is_"),
            ("max_age = '40000 days'", "max_age_is_at_most_36600_days"),
            ("conditions = '{NULL}'", "conditions_have_names"),
        ],
    )
    def test_a_policy_that_cannot_be_is_refused(self, operator: Cursor, value: str, rule: str) -> None:
        with pytest.raises(psycopg2.errors.CheckViolation, match=rule):
            operator.execute(f"UPDATE control.catchup_policies SET {value} WHERE dataset = 'daily_sales'")

    def test_a_condition_settles_within_its_days(self, operator: Cursor) -> None:
        with pytest.raises(psycopg2.errors.CheckViolation, match="settle_is_at_most_36600_days"):
            operator.execute("UPDATE control.conditions SET settle = 'infinity'")

    @pytest.mark.parametrize("windows", [10_000_000, 2**31 - 1])
    def test_more_windows_than_there_is_time_for_are_all(self, operator: Cursor, windows: int) -> None:
        operator.execute("UPDATE control.catchup_policies SET max_windows = %s", (windows,))
        operator.execute("SELECT windows_due, windows_missing FROM ops.window_totals WHERE dataset = 'daily_sales'")
        assert tuple(warehouse.fetch(operator)) == (30, 30)
        operator.connection.commit()
        reader = PolicyReader()
        reader.read()
        known = reader._known["daily_sales"]
        now = known.grid.first + 30 * known.grid.step
        assert known.verdict(next(known.grid.windows(known.grid.first, now)), now) is None


class TestWhatIsThereAlready:
    @pytest.mark.parametrize("bad", BAD_DAYS)
    def test_a_day_that_makes_no_sense_takes_nothing_along_and_is_reported(
        self, older: Callable[[str], None], bad: str
    ) -> None:
        change("INSERT INTO control.closed_days VALUES ('2026-10-06', 'daily_sales', 'stocktaking')")
        reader = PolicyReader()
        reader.read()
        before = rows(
            "SELECT window_start, state, reason FROM ops.window_status WHERE dataset = 'daily_sales' ORDER BY 1"
        )
        older(f"INSERT INTO control.closed_days VALUES ('{bad}', NULL, 'never')")
        change("UPDATE control.catchup_policies SET max_windows = 5 WHERE dataset = 'payments'", role="operator")
        reader.read()
        assert reader._known["payments"].max_windows == 5, "a change behind it is known"
        assert reader._known["daily_sales"].closed_days == ((date(2026, 10, 6), "stocktaking"),)
        assert before == rows(
            "SELECT window_start, state, reason FROM ops.window_status WHERE dataset = 'daily_sales' ORDER BY 1"
        )
        subject = f"closed day {bad} of every dataset"
        assert f"{subject} is invalid and ignored: expected a day between 1900 and 2999" in shell("show")
        assert json.loads(shell("show", "--json"))["problems"][0]["subject"] == subject
        shell("explain", "daily_sales")
        shell("history")
        with warehouse.session("analyst") as cursor:
            for name in ("page/datasets_now.sql", "page/policy_changes.sql"):
                warehouse.run_file(cursor, name, {"datasets": ["daily_sales", "payments"]})
                assert cursor.fetchall()
        alerts.look()
        assert incidents() == [subject]
        change("DELETE FROM control.closed_days WHERE day = %s", bad, role="operator")
        alerts.look()
        assert incidents() == []

    @pytest.mark.parametrize("value", ["max_age = '2000000 days'", "conditions = '{NULL}'"])
    def test_a_policy_that_makes_no_sense_is_as_if_it_were_not_said(
        self, older: Callable[[str], None], value: str
    ) -> None:
        older(f"UPDATE control.catchup_policies SET {value} WHERE dataset = 'daily_sales'")
        change("UPDATE control.catchup_policies SET max_windows = 5 WHERE dataset = 'payments'", role="operator")
        reader = PolicyReader()
        reader.read()
        assert reader._known["payments"].max_windows == 5
        assert reader._known["daily_sales"].max_age is None
        assert rows("SELECT windows_missing FROM ops.window_totals WHERE dataset = 'daily_sales'") == [(30,)]
        assert "policy of daily_sales is invalid and ignored" in shell("show")
        with warehouse.session("loader") as cursor:
            warehouse.run_file(cursor, "policy/in_use.sql")
            assert cursor.fetchall() == []
        alerts.look()
        assert incidents() == ["policy of daily_sales"]
        shell("set", "daily_sales", "--max-windows", "9", "--conditions", "none", "--reason", "to be rid of it")
        policy = "SELECT max_age, max_windows, conditions FROM control.catchup_policies WHERE dataset = 'daily_sales'"
        assert rows(policy) == [(None, 9, [])]
        alerts.look()
        assert incidents() == []

    def test_a_file_of_policies_takes_its_place(self, older: Callable[[str], None], tmp_path: Path) -> None:
        older("INSERT INTO control.closed_days VALUES ('infinity', NULL, 'x'), ('0044-03-15 BC', 'orders', 'x')")
        file = tmp_path / "mine.yaml"
        file.write_text("closed_days: [{day: 2026-12-25, reason: Christmas}]")
        said = shell("apply", str(file))
        assert "infinity is open again for every dataset" in said
        assert rows("SELECT day::text FROM control.closed_days") == [("2026-12-25",)]


class TestTheReader:
    def test_a_row_that_it_cannot_read_is_reported_at_once_and_stays_as_it_was(self, admin: Cursor) -> None:
        reader = PolicyReader()
        reader.read()
        before = reader._known["page_views"]
        change("ALTER TABLE control.datasets DROP CONSTRAINT first_window_is_between_1900_and_2999")
        change("UPDATE control.datasets SET first_window = '10000-01-01 00:00+00' WHERE dataset = 'page_views'")
        try:
            change("UPDATE control.catchup_policies SET max_windows = 5 WHERE dataset = 'payments'", role="operator")
            reader.read()
            assert reader._known["page_views"] == before
            assert reader._known["payments"].max_windows == 5
            assert incidents() == ["policy of page_views"], "with nobody else to look for incidents"
            ((problem,),) = rows("SELECT DISTINCT problem FROM ops.policy_problems")
            assert problem.endswith(": expected a moment between 1900 and 2999")
        finally:
            change("UPDATE control.datasets SET first_window = %s WHERE dataset = 'page_views'", before.grid.first)
        reader.read()
        assert incidents() == []

    def test_a_file_that_cannot_be_written_is_reported(self) -> None:
        file = settings.get().policies_file
        kept = file.read_text()
        file.unlink()
        file.mkdir()
        try:
            reader = PolicyReader()
            reader.read()
            assert reader._known["daily_sales"].is_on
            assert incidents() == ["file policies.json"]
            with pytest.raises(ConfigurationError, match=r"policies\.json cannot be written"):
                policy_reader.remember()
        finally:
            shutil.rmtree(file)
            file.write_text(kept)
        reader.read()
        assert incidents() == []

    def test_what_is_well_is_not_written_down_at_each_look(self) -> None:
        reader = PolicyReader()
        reader.read()
        with warehouse.session("postgres") as cursor:
            cursor.execute("LOCK TABLE ops.unread_policies IN ACCESS EXCLUSIVE MODE NOWAIT")
            cursor.connection.rollback()
        before = rows("SELECT n_tup_ins + n_tup_del FROM pg_stat_user_tables WHERE relname = 'unread_policies'")
        reader.read()
        assert rows("SELECT n_tup_ins + n_tup_del FROM pg_stat_user_tables WHERE relname = 'unread_policies'") == before
