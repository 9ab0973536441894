"""A window that a person put back is held: nothing replaces it, every attempt says so, until a person releases it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import batches
import psycopg2
import pytest
from loading import OTHER_QUANTITY, change_set, day, land, run, stage
from psycopg2 import errors
from psycopg2.extensions import cursor as Cursor
from typer.testing import CliRunner

from highwater.backfill import lanes, requests
from highwater.backfill.requests import Request
from highwater.cli.main import app
from highwater.incidents import alerts
from highwater.loading.stages import Pipeline
from highwater.model.errors import ConfigurationError, DataRejected, Held
from highwater.store import holds, ledger, publish, rollback, warehouse
from highwater.store.ledger import Run

pytestmark = pytest.mark.usefixtures("empty_warehouse")
NAME = "2026-10-05"
DAY = day(NAME)
SALES = Pipeline("daily_sales", "historical_sales_migration", "legacy", "daily_sales")
NIGHT = datetime(2026, 10, 5, 2, tzinfo=UTC)


def rows(query: str) -> list[tuple[Any, ...]]:
    with warehouse.session("analyst") as cursor:
        cursor.execute(query)
        return [tuple(row) for row in cursor.fetchall()]


@pytest.fixture
def held(source_day: Callable[[str], int]) -> None:
    """The day landed twice, and was rolled back by ada."""
    land(DAY, by="good")
    source_day(OTHER_QUANTITY)
    land(DAY, by="bad")
    rollback.carry_out(rollback.plan("daily_sales", NAME), "ada", "the till was set wrong")


WHY = "rolled back to version 3 by ada at 2026-10-31 12:00 UTC: the till was set wrong"


def command(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["release", "daily_sales", *arguments], env={"COLUMNS": "240"})


def planned(which: str = "all") -> list[tuple[str, str | None, str]]:
    wanted = Request("daily_sales", DAY.start, day("2026-10-06").end, which, reason="again", requested_by="kim")
    with warehouse.session("analyst") as cursor:
        return [(each.action, each.rule, each.reason) for each in requests.plan(cursor, wanted).windows]


def test_nothing_is_published_into_it_and_the_error_names_who_holds_it(held: None) -> None:
    with pytest.raises(
        Held, match=f"is held, {WHY}. To load it again: scripts/highwater release daily_sales --from 2026-10-0"
    ):
        publish.publish_window("daily_sales", DAY, stage(DAY), run("again"))
    assert rows("SELECT version FROM ops.window_ledger") == [(3,)]


def test_a_plan_leaves_it_out_and_says_so(held: None) -> None:
    assert planned()[0] == ("skip", "held", f"{WHY}; see scripts/highwater release")
    assert planned("missing")[0][1] == "held"
    assert planned()[1][0] == "load"


def test_a_backfill_that_was_asked_for_before_leaves_it_alone(source_day: Callable[[str], int]) -> None:
    land(DAY, by="good")
    source_day(OTHER_QUANTITY)
    land(DAY, by="bad")
    with warehouse.session("operator") as cursor:
        asked = Request("daily_sales", DAY.start, DAY.end, "all", reason="again", requested_by="kim")
        number = requests.request(cursor, asked)
    rollback.carry_out(rollback.plan("daily_sales", NAME), "ada", "the till was set wrong")
    with warehouse.session("loader") as cursor:
        cursor.execute("SELECT control.begin_backfill(%s, 'run of it')", (number,))
    lanes.work(number, SALES, Run("selective_backfill", "run of it"))
    assert rows("SELECT state, rule, reason FROM control.backfill_windows") == [("skipped", "held", WHY)]
    assert rows("SELECT version FROM ops.window_ledger") == [(3,)]


def test_a_run_that_a_person_starts_fails_at_once_and_is_no_trouble_of_the_dataset(
    airflow: Callable[..., Any], held: None, capsys: pytest.CaptureFixture[str]
) -> None:
    done = airflow("historical_sales_migration", NIGHT)
    assert str(done.state) == "failed"
    assert f"is held, {WHY}" in capsys.readouterr().out
    assert rows("SELECT stage FROM ops.attempts") == []
    alerts.look()
    assert ("load failed",) not in rows("SELECT kind FROM ops.incidents WHERE closed_at IS NULL")


def test_the_standing_names_the_hold(held: None, loader: Cursor) -> None:
    found = ledger.standing(loader, "daily_sales", DAY)
    assert found is not None
    assert (found.verdict, found.sentence.endswith(f"; held, {WHY}")) == ("held", True)


def test_a_release_says_who_and_why_and_then_it_is_loaded_again(held: None) -> None:
    shown = command("--from", NAME, "--to", "2026-10-07", "--dry-run")
    assert "daily_sales 2026-10-05 is held at version 3 by ada since 2026-10-31 12:00 UTC: the till was" in shown.output
    assert rows("SELECT released_at FROM ops.holds") == [(None,)]
    asked = CliRunner().invoke(
        app, ["release", "daily_sales", "--from", NAME, "--to", NAME, "--reason", "fixed"], input="n\n"
    )
    assert (asked.exit_code, rows("SELECT released_at FROM ops.holds")) == (1, [(None,)])
    done = command("--from", NAME, "--to", NAME, "--reason", "fixed", "--by", "bob", "--yes", "--json")
    assert (done.exit_code, json.loads(done.output)["released"]) == (0, 1)
    assert rows("SELECT held_by, reason, released_by, released_login, release_reason FROM ops.holds") == [
        ("ada", "the till was set wrong", "bob", "operator", "fixed")
    ]
    assert planned()[0][0] == "load"
    assert land(DAY, by="fixed").version == 4
    again = command("--from", NAME, "--to", NAME, "--reason", "fixed", "--yes")
    assert f"daily_sales has no held window from {NAME} to {NAME}" in again.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", NAME, "--to", NAME, "--yes"), "--reason is missing: expected words"),
        (("--from", "1d", "--to", "7d", "--dry-run"), "--from '1d' is not before --to '7d': did you mean them the"),
        (("--from", "x", "--to", NAME, "--dry-run"), "invalid --from 'x'"),
    ],
)
def test_a_mistake_is_named(held: None, arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        CliRunner().invoke(app, ["release", "daily_sales", *arguments], catch_exceptions=False)


def test_a_second_rollback_holds_it_again_and_the_first_hold_says_so(
    held: None, source_day: Callable[[str], int]
) -> None:
    command("--from", NAME, "--to", NAME, "--reason", "fixed", "--yes")
    source_day(OTHER_QUANTITY)
    land(DAY, by="worse")
    rollback.carry_out(rollback.plan("daily_sales", NAME), "kim", "worse than before")
    assert rows("SELECT held_by, released_at IS NULL FROM ops.holds ORDER BY hold_id") == [
        ("ada", False),
        ("kim", True),
    ]


def test_one_that_is_taken_out_of_the_record_is_held_no_more(held: None) -> None:
    with warehouse.session("postgres") as cursor:
        cursor.execute("DELETE FROM quarantine.rejected_rows")
        cursor.execute("DELETE FROM ops.window_ledger")
    assert rows("SELECT * FROM ops.held_windows") == []
    assert planned("missing")[0][0] == "load"


def test_a_hold_that_came_after_what_was_shown_is_not_released(source_day: Callable[[str], int]) -> None:
    for version in ("first", "second", "third"):
        land(DAY, by=version)
        source_day(OTHER_QUANTITY)
    rollback.carry_out(rollback.plan("daily_sales", NAME), "ada", "the till was set wrong")
    shown = holds.plan("daily_sales", DAY.start, DAY.end)
    rollback.carry_out(rollback.plan("daily_sales", NAME, 1), "kim", "the second is wrong as well")
    with pytest.raises(DataRejected, match=r"as it was shown, but rolled back to version 5 by kim .* check it"):
        holds.release(shown, "bob", "the till is fixed")
    assert rows("SELECT held_by FROM ops.held_windows") == [("kim",)]
    assert holds.release(holds.plan("daily_sales", DAY.start, DAY.end), "bob", "so be it") == 1
    with pytest.raises(DataRejected, match="daily_sales 2026-10-05 is no longer held as it was shown: check"):
        holds.release(shown, "bob", "the till is fixed")


def test_a_stretch_that_holds_a_part_of_it_says_so_and_releases_nothing(held: None) -> None:
    for ends in (("--from", NAME, "--to", f"{NAME}T12:00"), ("--from", f"{NAME}T12:00", "--to", "2026-10-06")):
        done = command(*ends, "--reason", "fixed", "--yes")
        assert done.exit_code == 0 and "has no held window" not in done.output
        assert "is held at version 3 by ada" in done.output
        assert "it stays held, since only part of it is in" in done.output
        assert "use --from 2026-10-05T00:00 --to 2026-10-06T00:00" in done.output
    assert rows("SELECT held_by FROM ops.held_windows") == [("ada",)]
    assert (
        "1 released" in command("--from", f"{NAME}T00:00", "--to", "2026-10-06T00:00", "--reason", "x", "--yes").output
    )


def test_a_drill_leaves_it_in_the_record_and_says_so(platform: Any) -> None:
    window = batches.window(9)
    for amount in (0, 1):
        staged = batches.stage("payments", window)
        change_set(staged, f"SET amount = amount + {amount}")
        publish.publish_window("payments", window, staged, run(str(amount)))
    batches.land("payments", batches.window(10))
    rollback.carry_out(rollback.plan("payments", "2026-10-30T06:00"), "ada", "billing counted [twice]")
    done = CliRunner().invoke(app, ["drill", "forget", "--hours", "72", "--yes"])
    assert (
        "payments 2026-10-30T06:00/2026-10-30T12:00 is kept: it is held by ada: billing counted [twice]" in done.output
    )
    assert "drill: 1 windows are missing" in done.output
    assert rows("SELECT version FROM ops.window_ledger WHERE dataset = 'payments'") == [(3,)]


def test_a_stretch_that_ends_before_it_begins_is_refused_in_words(held: None, operator: Cursor) -> None:
    with pytest.raises(psycopg2.DatabaseError) as refused:
        operator.execute("SELECT ops.release_windows('daily_sales', '2026-10-06', '2026-10-01', 'ada', 'why')")
    assert refused.value.pgcode == "HW008"
    assert "from 2026-10-06 00:00 is not before to 2026-10-01 00:00" in str(refused.value)


def test_only_the_operator_releases(held: None, loader: Cursor, analyst: Cursor, operator: Cursor) -> None:
    for cursor in (loader, analyst):
        with pytest.raises(errors.InsufficientPrivilege):
            cursor.execute("SELECT ops.release_windows('daily_sales', '-infinity', 'infinity', 'eve', 'why')")
        cursor.connection.rollback()
        with pytest.raises(errors.InsufficientPrivilege):
            cursor.execute("SELECT ops.release_holds('{1}', 'eve', 'why')")
        cursor.connection.rollback()
    for cursor in (loader, analyst, operator):
        with pytest.raises(errors.InsufficientPrivilege):
            cursor.execute("UPDATE ops.holds SET released_at = now()")
        cursor.connection.rollback()
