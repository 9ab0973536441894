"""What a person accepts of the guard on volume: one load of one window of the grid, with who and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import tables
from loading import day, land
from psycopg2.extensions import cursor as Cursor
from typer.testing import CliRunner

from highwater.model.errors import DataRejected
from highwater.store import warehouse

pytestmark = pytest.mark.usefixtures("empty_warehouse", "nothing_accepted")
DAY = "2026-10-05"


@pytest.fixture
def nothing_accepted(platform: Path) -> Iterator[None]:
    yield
    with warehouse.session("postgres") as cursor:
        cursor.execute("TRUNCATE control.accepted_reloads")


def rows(query: str) -> list[tuple[Any, ...]]:
    with warehouse.session("analyst") as cursor:
        cursor.execute(query)
        return [tuple(row) for row in cursor.fetchall()]


ACCEPTED = (
    "SELECT dataset, lower(window_range)::date::text, accepted_by, login, reason, used_at FROM control.accepted_reloads"
)


def command(*arguments: str) -> Any:
    from highwater.cli.main import app

    return CliRunner().invoke(app, ["accept", *arguments])


def test_a_dry_run_says_what_it_is_about_and_accepts_nothing() -> None:
    land(day(DAY))
    said = command("daily_sales", DAY, "--dry-run")
    assert said.exit_code == 0, said.exception
    assert (
        "version 1 with 391 rows is published; a load that loses more than 50.0% of the rows is stopped" in said.output
    )
    assert rows(ACCEPTED) == []


def test_it_is_kept_with_who_and_why_until_a_load_uses_it() -> None:
    done = command("daily_sales", DAY, "--reason", "the source has purged it", "--by", "ada", "--yes", "--json")
    assert done.exit_code == 0, done.exception
    printed = json.loads(done.output)
    assert (printed["version"], printed["window"], printed["done"]["accepted_by"]) == (None, DAY, "ada")
    assert rows(ACCEPTED) == [("daily_sales", DAY, "ada", "operator", "the source has purged it", None)]
    again = command("daily_sales", DAY, "--reason", "me too", "--by", "kim", "--yes")
    assert "accepted by ada at 2026-10-31 12:00 UTC (the source has purged it)" in again.output
    assert len(rows(ACCEPTED)) == 1
    with warehouse.session("postgres") as cursor:
        cursor.execute("UPDATE control.accepted_reloads SET used_at = ops.clock(), used_by_run = 'run'")
    assert command("daily_sales", DAY, "--reason", "once more", "--by", "kim", "--yes").exit_code == 0
    assert [row[2] for row in rows(f"{ACCEPTED} ORDER BY accepted_id")] == ["ada", "kim"]


def test_a_load_that_does_not_need_it_uses_it_up_too() -> None:
    """What was accepted of the next load is not the excuse of a broken one months later."""
    with tables.defined("shaped"):
        tables.land("shaped", tables.window(), 100)
        assert command("shaped", "2026-10-01", "--reason", "purged", "--by", "ada", "--yes").exit_code == 0
        tables.land("shaped", tables.window(), 101)
        assert rows("SELECT used_by_run FROM control.accepted_reloads") == [("run a",)]
        with pytest.raises(DataRejected, match="101 rows have landed, 1 would take their place"):
            tables.land("shaped", tables.window(), 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("daily_sales", DAY, "--yes"), "--reason is missing: expected words"),
        (("daily_sales", DAY, "--reason", " ", "--yes"), "is blank"),
        (("nobody", DAY, "--reason", "x", "--yes"), "dataset 'nobody' has no row in control.datasets"),
        (("payments", "2026-10-28", "--reason", "x", "--yes"), "contains several windows of payments"),
        (("payments", "2026-10-28T03:00", "--reason", "x", "--yes"), "is not a window of payments"),
        (("daily_sales", "2026-09-30", "--reason", "x", "--yes"), "is not a window of daily_sales"),
        (("daily_sales", "2026-10-31", "--reason", "x", "--yes"), "has not ended yet"),
        (("orders", "2026-10-30T00:00", "--reason", "x", "--yes"), "is not a window of orders"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_accepted(arguments: tuple[str, ...], said: str) -> None:
    done = command(*arguments)
    assert done.exit_code != 0
    assert said in str(done.exception)
    if "is blank" not in said and "is missing" not in said:
        dry = command(*arguments[:2], "--dry-run")
        assert str(dry.exception) == str(done.exception)
    assert rows(ACCEPTED) == []


def test_nobody_but_the_operator_accepts_and_nobody_writes_the_table(
    loader: Cursor, analyst: Cursor, operator: Cursor
) -> None:
    call = "SELECT ops.accept_shrink('daily_sales', '[2026-10-05, 2026-10-06)', 'x', 'y')"
    for cursor in (loader, analyst):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute(call)
        cursor.connection.rollback()
    for statement in (
        "INSERT INTO control.accepted_reloads (dataset, window_range, accepted_by, reason, accepted_at)"
        " VALUES ('daily_sales', '[2026-10-05, 2026-10-06)', 'x', 'y', now())",
        "UPDATE control.accepted_reloads SET used_at = NULL",
        "DELETE FROM control.accepted_reloads",
    ):
        for cursor in (loader, analyst, operator):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(statement)
            cursor.connection.rollback()


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("on_shrink = 'perhaps'", "on_shrink_is_stop_or_accept"),
        ("max_shrink = 1.5", "max_shrink_is_between_0_and_1"),
        ("max_shrink = -0.1", "max_shrink_is_between_0_and_1"),
        ("max_shrink = 'NaN'", "max_shrink_is_between_0_and_1"),
    ],
)
def test_the_rule_of_a_dataset_is_the_operators_to_set(operator: Cursor, value: str, rule: str) -> None:
    operator.execute(
        "UPDATE control.datasets SET on_shrink = 'accept', max_shrink = 0.25 WHERE dataset = 'daily_sales'"
    )
    with pytest.raises(psycopg2.errors.CheckViolation, match=rule):
        operator.execute(f"UPDATE control.datasets SET {value} WHERE dataset = 'daily_sales'")
    operator.connection.rollback()
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        operator.execute("UPDATE control.datasets SET step = '1 hour' WHERE dataset = 'daily_sales'")
