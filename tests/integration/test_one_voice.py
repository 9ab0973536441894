"""One sentence for an error wherever it is shown: command line, page, a task and ops.attempts; no row of data in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace

import psycopg2
import pytest
from loading import OTHER_QUANTITY, day, land, run, stage
from typer.testing import CliRunner

from highwater.backfill import lanes, requests
from highwater.backfill.requests import Request
from highwater.cli.main import app
from highwater.environment import settings
from highwater.incidents import watching
from highwater.loading.stages import Pipeline
from highwater.model.errors import DataRejected, Held, WarehouseUnavailable
from highwater.store import ledger, publish, rollback, sentences, warehouse
from highwater.store.ledger import Run

pytestmark = pytest.mark.usefixtures("empty_warehouse")

DAY = day("2026-10-24")
SALES = Pipeline("daily_sales", "historical_sales_migration", "legacy", "daily_sales")


def kept() -> str:
    """What ops.attempts says of the only attempt."""
    with warehouse.session("analyst") as cursor:
        cursor.execute("SELECT error FROM ops.attempts ORDER BY attempt_id DESC LIMIT 1")
        return str(warehouse.fetch_value(cursor))


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("CREATE TEMP TABLE t (a integer NOT NULL, b text); INSERT INTO t VALUES (NULL, 'their name')",
         'column "a" of t is empty, expected a value'),
        ("CREATE TEMP TABLE t (a int CONSTRAINT small CHECK (a < 9), b text); INSERT INTO t VALUES (9, 'their name')",
         'a row of t breaks the rule "small"'),
        ("SELECT nothing FROM control.datasets", 'column "nothing" does not exist'),
    ],
)  # fmt: skip
def test_ops_attempts_says_what_the_command_line_says_and_repeats_no_row(statement: str, said: str) -> None:
    with (
        pytest.raises(psycopg2.Error) as raised,
        ledger.attempt("daily_sales", DAY, "load", run()),
        warehouse.session("postgres") as cursor,
    ):
        cursor.execute(statement)
    config = settings.get()
    assert kept() == sentences.of(raised.value)
    assert kept().startswith(f"the warehouse at {config.warehouse_host}:{config.warehouse_port} refuses this: {said}")
    assert "Failing row" not in kept() and "their name" not in kept()


@pytest.mark.parametrize(("bad", "spelled"), [("\x00", "\\x00"), ("\udc80", "\\udc80")])
def test_what_is_no_text_hides_no_error_and_ends_no_lane(
    airflow: object, monkeypatch: pytest.MonkeyPatch, bad: str, spelled: str
) -> None:
    def load(*_: object) -> None:
        raise DataRejected(f"a value {bad} is refused")

    with pytest.raises(DataRejected), ledger.attempt("daily_sales", DAY, "load", run()):
        load()
    assert kept() == f"a value {spelled} is refused"
    monkeypatch.setattr(lanes, "load", load)
    with warehouse.session("operator") as cursor:
        wanted = Request("daily_sales", DAY.start, DAY.end + timedelta(days=1), reason="why", requested_by="ada")
        number = requests.request(cursor, wanted)
    with warehouse.session("loader") as cursor:
        cursor.execute("SELECT control.begin_backfill(%s, 'a run')", (number,))
    lanes.work(number, SALES, Run("selective_backfill", "a run"))
    with warehouse.session("analyst") as cursor:
        cursor.execute("SELECT state, error FROM control.backfill_windows")
        assert cursor.fetchall() == [("failed", f"a value {spelled} is refused")] * 2


def test_a_person_s_reason_is_not_taken_for_the_server_s_words(source_day: Callable[[str], int]) -> None:
    land(day("2026-10-05"), by="good")
    source_day(OTHER_QUANTITY)
    land(day("2026-10-05"), by="bad")
    reason = "half is missing since a statement timeout hit the till export"
    rollback.carry_out(rollback.plan("daily_sales", "2026-10-05"), "ada", reason)
    with pytest.raises(Held, match=f"by ada at 2026-10-31 12:00 UTC: {reason}.*scripts/highwater release daily_sales"):
        publish.publish_window("daily_sales", day("2026-10-05"), stage(day("2026-10-05")), run("again"))


def test_a_task_says_the_same_and_is_tried_again(airflow: object) -> None:
    from highwater.airflow import tasks

    with (
        pytest.raises(WarehouseUnavailable) as raised,
        tasks.final_errors_end_the_task(),
        ledger.attempt("daily_sales", DAY, "load", run()),
        warehouse.session("analyst") as cursor,
    ):
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert str(raised.value) == kept()
    assert re.search("does not answer: (an administrator ended the session|the server closed the connection); ", kept())
    assert not raised.value.is_final


def test_a_task_of_the_platform_s_own_says_the_same(airflow: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are watched; tests/integration/test_watchers.py sees to it."""
    ti = SimpleNamespace(dag_id="incident_watch", task_id="prune_versions", run_id="r", try_number=1, max_tries=0)
    monkeypatch.setattr("airflow.sdk.get_current_context", lambda: {"ti": ti})

    @watching.watched
    def cut_off() -> None:
        with warehouse.session("analyst") as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(WarehouseUnavailable) as raised:
        cut_off()
    with warehouse.session("analyst") as cursor:
        cursor.execute("SELECT state, error FROM ops.own_tasks WHERE task_id = 'prune_versions'")
        assert tuple(warehouse.fetch(cursor)) == ("failed", str(raised.value))
    assert re.search("does not answer: (an administrator ended|the server closed)", str(raised.value))


def test_the_page_says_what_the_command_line_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from highwater.page import db
    from highwater.page.problems import Problem

    monkeypatch.setenv("HIGHWATER_WAREHOUSE_PORT", "1")
    settings.get.cache_clear()
    try:
        with pytest.raises(psycopg2.OperationalError) as away:
            warehouse.connect("analyst")
        said = sentences.of(away.value)
        with pytest.raises(Problem) as problem, db.session():
            pass
    finally:
        monkeypatch.undo()
        settings.get.cache_clear()
    assert said.startswith("the warehouse at 127.0.0.1:1 does not answer: nothing listens there; ")
    assert problem.value.sentence == f"{said}; the page has nothing to show until it answers"


def test_a_rule_of_a_source_that_is_broken_is_named_without_the_row() -> None:
    with pytest.raises(psycopg2.errors.CheckViolation) as refused, warehouse.session("operator") as cursor:
        cursor.execute("UPDATE control.sources SET reliability_threshold = 7 WHERE source = 'partner'")
    said = 'refuses this: a row of sources breaks the rule "reliability_threshold_is_between_0_and_1"'
    assert sentences.of(refused.value).endswith(said)


def test_what_a_backfill_is_refused_for_names_commands_as_they_are_typed() -> None:
    shown = CliRunner().invoke(
        app, ["backfill", "plan", "orders", "--from", "2026-10-01", "--to", "2026-10-02"], catch_exceptions=True
    )
    assert "scripts/highwater checkpoint reset orders" in str(shown.exception)


def test_what_people_and_programs_wrote_is_no_markup_in_a_terminal(source_day: Callable[[str], int]) -> None:
    written = "[/x] a code is [a-z]{3}, [red]not[/]"
    land(day("2026-10-05"), by="[/good]")
    source_day(OTHER_QUANTITY)
    land(day("2026-10-05"), by="[bold]bad")
    with pytest.raises(DataRejected), ledger.attempt("daily_sales", DAY, "load", run()):
        raise DataRejected(written)
    with warehouse.session("operator") as cursor:
        wanted = Request("daily_sales", DAY.start, DAY.end, reason=written, requested_by="[/b]")
        number = str(requests.request(cursor, wanted))

    def shown(*arguments: str) -> str:
        done = CliRunner().invoke(app, arguments, env={"COLUMNS": "250"})
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return " ".join(done.output.split())  # a table folds what its column is too narrow for

    assert written in shown("policy", "explain", "daily_sales", "--last", "40")
    assert "[/b]" in shown("backfill", "list") and written in shown("backfill", "list")
    assert written in shown("backfill", "show", number)
    assert "[/good]" in shown("rollback", "daily_sales", "2026-10-05", "--dry-run")
    shown("status")
