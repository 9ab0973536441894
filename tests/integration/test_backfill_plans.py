"""What a backfill would do: what may be asked for, each window with its reason, and that just this is written down."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from loading import day, land, run
from typer.testing import CliRunner

from highwater.backfill import requests
from highwater.backfill.requests import LOAD, SKIP, Plan, PlanChanged, Request
from highwater.cli.main import app
from highwater.model import weekdays
from highwater.model.errors import AuditFailed, ConfigurationError
from highwater.store import ledger, warehouse

pytestmark = pytest.mark.usefixtures("no_backfills")
DATASET = "daily_sales"
FIRST, DUE = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 31, tzinfo=UTC)
"""The first window of daily_sales, and the end of the newest that is due at noon of the anchor."""


@pytest.fixture
def no_backfills(empty_warehouse: None) -> Iterator[None]:
    """Nobody has asked for anything yet, and everything is wanted; so it is again at the end."""
    clear()
    yield
    clear()


def clear() -> None:
    change("TRUNCATE control.backfills CASCADE")
    change("DELETE FROM control.closed_days")
    change(
        "UPDATE control.catchup_policies SET max_age = NULL, max_windows = NULL, skip_weekdays = '{}',"
        " skip_closed_days = TRUE, enabled = TRUE, conditions = '{}'"
    )


def change(statement: str, *values: Any, role: str = "postgres") -> None:
    with warehouse.session(role) as cursor:
        cursor.execute(statement, values)


def rows(query: str, *values: Any) -> list[tuple[Any, ...]]:
    with warehouse.session("analyst") as cursor:
        cursor.execute(query, values)
        return [tuple(row) for row in cursor.fetchall()]


def october(first: int = 1, last: int = 30, **asked: Any) -> Request:
    """Days of October, the last included."""
    values = {"reason": "a test", "requested_by": "someone"} | asked
    return Request(
        DATASET,
        datetime(2026, 10, first, tzinfo=UTC),
        datetime(2026, 10, last, tzinfo=UTC) + timedelta(days=1),
        **values,
    )


def plan(request: Request) -> Plan:
    with warehouse.session("analyst") as cursor:
        return requests.plan(cursor, request)


def ask(request: Request, **more: Any) -> int:
    with warehouse.session("operator") as cursor:
        return requests.request(cursor, request, **more)


def planned(request: Request) -> dict[int, tuple[str, str | None, str]]:
    """What happens to each day of the plan, and why."""
    return {w.start.day: (w.action, w.rule, w.reason) for w in plan(request).windows}


VALID = "valid for daily_sales: from 2026-10-01 00:00 (its first window) to 2026-10-31 00:00"
DATASETS = "channel_sales, daily_sales, page_views, partner_sales, payments, store_sales, supplier_settlements"
REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "reversed": ({"from_time": "2026-10-20", "to_time": "2026-10-10"}, ["2026-10-20", "other way round", VALID]),
    "the future": ({"to_time": "2026-12-24"}, ["to 2026-12-24 00:00 (the end of 2026-12-23) is in the future", VALID]),
    "all in the future": (
        {"from_time": "2027-01-01", "to_time": "2027-02-01"}, ["from 2027-01-01 00:00 is in the future", VALID]
    ),
    "before the grid": ({"from_time": "2026-09-30"}, ["from 2026-09-30 00:00 is before the first window", VALID]),
    "a hundred years": (
        {"from_time": "1926-10-30"}, ["1926-10-30 00:00 to 2026-10-31 00:00 is 100 years", "at most 10 years", VALID]
    ),
    "endless": ({"to_time": "infinity"}, ['to "infinity"', "both must be moments", VALID]),
    "no window": (
        {"from_time": "2026-10-20 06:00", "to_time": "2026-10-20 18:00"},
        ["lies wholly between", "its windows are 1 day long", "2026-10-21 00:00"],    ),
    "a weekday": ({"weekdays": [1, 8]}, ["invalid weekday 8", "1 (Monday) to 7 (Sunday)"]),
    "no weekday": ({"weekdays": []}, ["no weekday is given", "1 (Monday) to 7 (Sunday)"]),
    "a dataset": ({"dataset": "dayly_sales"}, ['unknown dataset "dayly_sales"', DATASETS]),
    "by watermark": ({"dataset": "orders"}, ["highwater checkpoint reset orders", DATASETS]),
    "a blank reason": ({"reason": " \t"}, ['reason " \t" is blank']),
    "nobody": ({"requested_by": " "}, ['requested_by " " is blank']),
    "an excluded date": ({"excluded_dates": [date(2026, 9, 3)]}, ["date 2026-09-03 does not lie between 2026-10-01"]),
    "which": ({"which": "some"}, ['invalid which "some": expected missing, failed or all']),
    "closed days": ({"closed_days": "maybe"}, ['invalid closed_days "maybe": expected skip or load']),
    "an order": ({"direction": "up"}, ['invalid direction "up": expected oldest or newest']),
    "on failure": ({"on_failure": "cry"}, ['invalid on_failure "cry": expected continue or stop']),
    "a way in": ({"via": "mail"}, ['invalid via "mail": expected cli, form, sql, policy or recovery']),
    "too many at once": ({"max_active": 9}, ["invalid max_active 9: expected 1 to 8"]),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_an_invalid_row_is_refused_with_its_value_and_the_valid_ones(what: str) -> None:
    changed, said = REFUSED[what]
    values = {"dataset": DATASET, "from_time": "2026-10-01", "to_time": "2026-10-31", "reason": "a test"} | changed
    with pytest.raises(psycopg2.Error) as refused, warehouse.session("operator") as cursor:
        cursor.execute(
            f"INSERT INTO control.backfills ({', '.join(values)}) VALUES ({', '.join(['%s'] * len(values))})",
            list(values.values()),
        )
    assert refused.value.pgcode == "HW030"
    for part in said:
        assert part in str(refused.value)
    assert rows("SELECT count(*) FROM control.backfills") == [(0,)]


def test_a_relative_range_is_that_of_its_days() -> None:
    with_days = CliRunner().invoke(app, ["backfill", "plan", DATASET, "--from", "10d", "--to", "yesterday", "--json"])
    by_date = CliRunner().invoke(
        app, ["backfill", "plan", DATASET, "--from", "2026-10-21", "--to", "2026-10-30", "--json"]
    )
    assert with_days.exit_code == 0, with_days.exception
    assert with_days.stdout == by_date.stdout
    assert json.loads(with_days.stdout)["windows"][0]["start"].startswith("2026-10-21")


BY_COMMAND: dict[str, tuple[list[str], str]] = {
    "reversed": (["--from", "2026-10-20", "--to", "2026-10-10"], "2026-10-20 00:00 is not before"),
    "future": (
        ["--from", "2026-10-20", "--to", "2026-12-10"],
        "to 2026-12-11 00:00 (the end of 2026-12-10) is in the future; valid for daily_sales: from 2026-10-01",
    ),
    "no date": (["--from", "20th", "--to", "2026-10-10"], "invalid --from '20th': expected a day (2026-10-24, today"),
    "weekday": (
        ["--from", "2026-10-01", "--to", "2026-10-10", "--weekdays", "mon,funday"],
        "invalid weekday 'funday': expected one of Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, ",
    ),
    "excluded": (
        ["--from", "2026-10-01", "--to", "2026-10-10", "--exclude", "x"],
        "invalid --exclude 'x': expected a day: 2026-10-24",
    ),
    "blank": (["--from", "2026-10-01", "--to", "2026-10-10", "--reason", " "], 'reason " " is blank'),
}


@pytest.mark.parametrize("what", BY_COMMAND)
def test_a_mistake_at_the_command_line_is_one_sentence_and_nothing_starts(what: str) -> None:
    options, said = BY_COMMAND[what]
    reason = [] if "--reason" in options else ["--reason", "a test"]
    done = CliRunner().invoke(app, ["backfill", "run", DATASET, *options, *reason, "--yes"])
    assert isinstance(done.exception, ConfigurationError)
    assert said in str(done.exception)
    assert rows("SELECT count(*) FROM control.backfills") == [(0,)]


FORM: dict[str, Any] = {
    "dataset": DATASET, "first_day": "2026-10-01", "last_day": "2026-10-30", "which": "missing", "reason": "a test",
    "weekdays": ["Monday", "Sunday"], "excluded_dates": ["2026-10-05", " "], "closed_days": "skip", "max_active": 2,
    "direction": "newest", "on_failure": "stop",
}  # fmt: skip


@pytest.mark.usefixtures("airflow")
def test_the_form_asks_for_what_is_filled_in() -> None:
    from highwater.backfill import form

    assert form.request(FORM, "ada") == october(
        excluded_dates=[date(2026, 10, 5)], weekdays=[1, 7], direction="newest", via="form", requested_by="ada",
        max_active=2, on_failure="stop",
    )  # fmt: skip
    assert form.request(FORM | {"weekdays": list(weekdays.NAMES)}, "ada").weekdays is None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"weekdays": ["Funday"]}, "invalid weekday 'Funday': expected one of Monday, "),
        ({"weekdays": []}, "no weekdays given: expected one of Monday, "),
        ({"excluded_dates": ["2026-13-01"]}, "invalid excluded date '2026-13-01'"),
    ],
)
@pytest.mark.usefixtures("airflow")
def test_a_form_with_a_date_or_weekday_that_does_not_exist_is_refused(wrong: dict[str, Any], said: str) -> None:
    from highwater.backfill import form

    with pytest.raises(ConfigurationError, match=said):
        form.request(FORM | wrong, "ada")


class TestThePlan:
    def test_each_window_has_what_happens_to_it_and_why(self) -> None:
        land(day("2026-10-02"))
        with pytest.raises(AuditFailed), ledger.attempt(DATASET, day("2026-10-03"), "audit", run()):
            raise AuditFailed("till 99")
        change(
            "INSERT INTO ops.skipped_windows (dataset, window_range, rule, reason)"
            " VALUES ('daily_sales', '[2026-10-07 00:00+00, 2026-10-08 00:00+00)', 'lost', 'gone')"
        )
        change("INSERT INTO control.closed_days (day, reason) VALUES ('2026-10-05', 'stocktaking')")
        with ledger.attempt(DATASET, day("2026-10-08"), "extract", run("live")):
            found = planned(october(1, 9, excluded_dates=[date(2026, 10, 6)], weekdays=[1, 2, 3, 4, 6, 7]))
        assert found == {
            1: (LOAD, None, "it is missing"),
            2: (SKIP, "weekday", "Friday is not among the requested weekdays: "
                "Monday, Tuesday, Wednesday, Thursday, Saturday, Sunday"),
            3: (LOAD, None, "it failed in audit: till 99"),
            4: (LOAD, None, "it is missing"),
            5: (SKIP, "skip_closed_days", "2026-10-05 is closed: stocktaking"),
            6: (SKIP, "excluded date", "this backfill excludes the day"),
            7: (SKIP, "lost", "gone"),
            8: (SKIP, "in work", "extract by run live is running"),
            9: (SKIP, "weekday", "Friday is not among the requested weekdays: "
                "Monday, Tuesday, Wednesday, Thursday, Saturday, Sunday"),
        }  # fmt: skip

    def test_which_decides_about_landed_and_failed_windows(self) -> None:
        land(day("2026-10-02"))
        with pytest.raises(AuditFailed), ledger.attempt(DATASET, day("2026-10-03"), "audit", run()):
            raise AuditFailed("till 99")
        loaded = {
            which: [n for n, (action, _, _) in planned(october(1, 4, which=which)).items() if action == LOAD]
            for which in ("missing", "failed", "all")
        }
        assert loaded == {"missing": [1, 3, 4], "failed": [3], "all": [1, 2, 3, 4]}
        assert planned(october(2, 2)) == {2: (SKIP, "landed", "version 1 by run a")}
        assert planned(october(2, 2, which="all")) == {2: (LOAD, None, "version 1 is loaded again")}

    def test_what_was_refused_waits_for_a_person_and_is_not_asked_for_by_a_policy_or_a_recovery(self) -> None:
        with pytest.raises(AuditFailed), ledger.attempt(DATASET, day("2026-10-03"), "audit", run()):
            raise AuditFailed("till 99")
        for via in ("policy", "recovery"):
            assert planned(october(3, 3, via=via))[3][:2] == (SKIP, "refused")
        assert planned(october(3, 3, via="cli"))[3][0] == LOAD

    def test_what_the_policy_does_not_want_is_not_loaded_for_any_caller(self) -> None:
        change(
            "UPDATE control.catchup_policies SET max_age = '10 days', skip_weekdays = '{7}'"
            " WHERE dataset = 'daily_sales'"
        )
        found = planned(october(15, 30, which="all"))
        assert {n for n, (action, _, _) in found.items() if action == SKIP} == {15, 16, 17, 18, 19, 20, 25}
        assert found[20][1:] == ("max_age", "it ended more than 10 days ago")
        assert found[25][1:] == ("skip_weekdays", "the policy skips Sundays")
        verdicts = rows(
            "SELECT extract(DAY FROM lower(w.window_range))::int, v.rule FROM control.plan_backfill("
            "'daily_sales', '2026-10-15', '2026-10-31', 'all') AS w"
            " CROSS JOIN LATERAL control.policy_verdict('daily_sales', w.window_range, ops.clock()) AS v"
        )
        assert {n: rule for n, (_, rule, _) in found.items()} == dict(verdicts)

    def test_closed_days_are_the_backfills_own_to_load(self) -> None:
        change("INSERT INTO control.closed_days (day, reason) VALUES ('2026-10-05', 'stocktaking')")
        assert planned(october(5, 5, closed_days="load")) == {5: (LOAD, None, "it is missing")}

    def test_the_order_is_the_one_asked_for(self) -> None:
        days = [w.start.day for w in plan(october(1, 9, direction="newest")).windows]
        assert days == list(range(9, 0, -1))

    def test_a_window_of_several_days_counts_as_left_out_once_all_of_them_are(self) -> None:
        (first,) = rows("SELECT first_window FROM control.datasets WHERE dataset = 'supplier_settlements'")[0]
        week = [first.date() + timedelta(days=n) for n in range(7)]
        for excluded, action in ((week[:6], LOAD), (week, SKIP)):
            asked = Request(
                "supplier_settlements", first, first + timedelta(days=7), excluded_dates=excluded, reason="a test"
            )
            assert plan(asked).windows[0].action == action

    def test_ten_years_of_hours_are_planned_as_they_lie_on_the_grid(self) -> None:
        hours = 87_600
        start = datetime(2026, 10, 31, 12, tzinfo=UTC) - timedelta(hours=hours)
        change(
            "INSERT INTO control.datasets (dataset, dag_id, published_table, first_window, step)"
            " VALUES ('hourly', 'nobody', 'sales.hourly', %s, '1 hour')",
            start,
        )
        try:
            change("UPDATE control.catchup_policies SET skip_weekdays = '{7}' WHERE dataset = 'hourly'")
            end = start + timedelta(hours=hours)
            found = plan(Request("hourly", start, end, excluded_dates=[date(2020, 2, 29)]))
            assert len(found.windows) == hours
            for place, window in enumerate(found.windows):
                assert window.start == start + timedelta(hours=place)
                left_out = window.start.isoweekday() == 7 or window.start.date() == date(2020, 2, 29)
                assert window.action == (SKIP if left_out else LOAD)
        finally:
            change("DELETE FROM control.catchup_policies WHERE dataset = 'hourly'")
            change("DELETE FROM control.datasets WHERE dataset = 'hourly'")


class TestWhatIsAskedFor:
    def test_the_row_has_exactly_the_windows_of_the_plan(self) -> None:
        land(day("2026-10-02"))
        asked = october(1, 20, excluded_dates=[date(2026, 10, 6)], weekdays=[1, 2, 3, 4, 5], direction="newest")
        shown = plan(asked)
        number = ask(asked, shown=shown)
        with warehouse.session("analyst") as cursor:
            written = requests.windows(cursor, number)
        assert [(w["start"], w["end"], w["action"], w["rule"], w["reason"]) for w in written] == list(shown.windows)
        assert {(w["action"], w["state"]) for w in written} == {(LOAD, "planned"), (SKIP, "skipped")}
        ((by, via, state),) = rows("SELECT requested_by, via, state FROM control.backfills")
        assert (by, via, state) == ("someone", "cli", "requested")

    def test_a_world_that_changed_since_is_refused_and_the_difference_is_named(self) -> None:
        asked = october(1, 9)
        shown = plan(asked)
        land(day("2026-10-04"))
        with pytest.raises(PlanChanged):
            ask(asked, shown=shown)
        assert rows("SELECT count(*) FROM control.backfills") == [(0,)]
        ((former, later),) = shown.difference(plan(asked))
        assert former is not None
        assert (later.start.day, former.action, later.action, later.rule) == (4, LOAD, SKIP, "landed")

    def test_two_over_the_same_windows_are_refused_until_the_first_has_ended(self) -> None:
        first = ask(october(1, 9))
        with pytest.raises(ConfigurationError) as refused:
            ask(october(5, 20))
        said = str(refused.value)
        assert f"backfill {first} (requested) is to load 5 of these windows of daily_sales already" in said
        assert "the first from 2026-10-05 00:00" in said and f"highwater backfill cancel {first}" in said
        # The plan alone says the same.
        with pytest.raises(ConfigurationError) as looked:
            plan(october(5, 20))
        assert str(looked.value) == said
        assert plan(october(1, 20, excluded_dates=[date(2026, 10, n) for n in range(1, 10)])).to_load == 11
        ask(october(10, 20))
        change("SELECT control.cancel_backfill(%s)", first, role="operator")
        ask(october(1, 9))

    def test_of_two_at_once_over_the_same_windows_one_is_refused(self) -> None:
        outcomes: list[str] = []
        together = threading.Barrier(2)

        def one() -> None:
            together.wait()
            try:
                ask(october(1, 9))
                outcomes.append("asked")
            except ConfigurationError:
                outcomes.append("refused")

        threads = [threading.Thread(target=one) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["asked", "refused"]

    def test_where_there_is_nothing_to_load_it_is_done_at_once(self) -> None:
        land(day("2026-10-02"))
        number = ask(october(2, 2))
        with warehouse.session("analyst") as cursor:
            now = requests.progress(cursor, number)
        assert (now["state"], now["percent"], now["note"]) == ("done", 100, "there was nothing to load")

    def test_one_that_is_over_keeps_what_it_came_to(self, later: Callable[[timedelta], None]) -> None:
        number = ask(october(1, 3))
        change(
            "UPDATE control.backfill_windows SET state = 'landed', version = 1, started_at = ops.clock(),"
            " ended_at = ops.clock()"
        )
        change("UPDATE control.backfills SET state = 'done', running_since = ops.clock(), ended_at = ops.clock()")
        before = rows("SELECT p::text FROM ops.backfill_progress AS p")
        with warehouse.session("analyst") as cursor:
            said = requests.sentence(requests.progress(cursor, number))
        assert f"backfill {number} of daily_sales is done since 2026-10-31 12:00, counted then: 3 landed" in said
        later(timedelta(hours=3))
        land(day("2026-10-02"))
        assert rows("SELECT p::text FROM ops.backfill_progress AS p") == before

    def test_the_rate_does_not_fall_while_it_is_paused(self, later: Callable[[timedelta], None]) -> None:
        number = ask(october(1, 30))
        change(
            "UPDATE control.backfill_windows SET state = 'landed', version = 1, started_at = ops.clock()"
            " + (place - 1) * interval '1 minute', ended_at = ops.clock() + place * interval '1 minute'"
            " WHERE place <= 6"
        )
        change("UPDATE control.backfills SET state = 'running', running_since = ops.clock()")
        for minutes in (6, 66):
            later(timedelta(minutes=minutes))
            with warehouse.session("analyst") as cursor:
                now = requests.progress(cursor, number)
            assert now["windows_per_minute"] == 1
            assert now["at_least"] <= timedelta(minutes=24) <= now["at_most"]
            assert "1.00 windows a minute, 19-29 min left" in requests.sentence(now)
        change("UPDATE control.backfills SET state = 'paused'")
        with warehouse.session("analyst") as cursor:
            now = requests.progress(cursor, number)
        assert (now["windows_per_minute"], now["at_most"]) == (1, None)

    def test_nobody_writes_windows_or_states_past_the_functions(self) -> None:
        ask(october(1, 9))
        for role in ("operator", "loader", "analyst"):
            for statement in (
                "UPDATE control.backfills SET state = 'done'",
                "UPDATE control.backfill_windows SET state = 'landed'",
                "INSERT INTO control.backfills (dataset, from_time, to_time, reason, state)"
                " VALUES ('daily_sales', '2026-10-01', '2026-10-02', 'a test', 'done')",
            ):
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    change(statement, role=role)


class TestTheCommandLine:
    def test_plan_prints_every_window_and_the_sum(self) -> None:
        land(day("2026-10-02"))
        shown = CliRunner().invoke(
            app, ["backfill", "plan", DATASET, "--from", "2026-10-01", "--to", "2026-10-04", "--exclude", "2026-10-03"]
        )
        lines = [" ".join(line.split()) for line in shown.output.splitlines()]
        assert lines[:4] == [
            "2026-10-01 load it is missing",
            "2026-10-02 skip landed: version 1 by run a",
            "2026-10-03 skip excluded date: this backfill excludes the day",
            "2026-10-04 load it is missing",
        ]
        assert lines[4].startswith("4 windows: 2 to load, 2 skipped (1 landed, 1 excluded date); plan ")

    def test_neighbours_are_put_together_where_there_are_very_many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from highwater.cli import drawing

        monkeypatch.setattr(drawing, "MANY", 10)
        land(day("2026-10-12"))
        options = ["backfill", "plan", DATASET, "--from", "2026-10-01", "--to", "2026-10-30"]
        lines = [" ".join(line.split()) for line in CliRunner().invoke(app, options).output.splitlines()]
        assert lines[:3] == [
            "2026-10-01 to 2026-10-12 11 windows load it is missing",
            "2026-10-12 1 window skip landed: version 1 by run a",
            "2026-10-13 to 2026-10-31 18 windows load it is missing",
        ]
        assert len(CliRunner().invoke(app, [*options, "--every"]).output.splitlines()) == 31

    def test_a_run_that_names_neither_what_to_load_nor_a_plan_is_refused(self) -> None:
        done = CliRunner().invoke(app, ["backfill", "run", DATASET, "--from", "3d", "--reason", "a test", "--yes"])
        assert str(done.exception) == "--to missing: say what to load, or give a plan with --plan"

    def test_a_list_says_what_landed_and_the_last_day_as_it_was_asked_for(self) -> None:
        ask(october(1, 2, reason="a test"))
        change("UPDATE control.backfill_windows SET state = 'failed', error = 'x', ended_at = ops.clock()")
        lines = CliRunner().invoke(app, ["backfill", "list"], env={"COLUMNS": "240"}).output.splitlines()
        (line,) = [each for each in lines if "daily_sales" in each]
        assert "2026-10-01" in line and "2026-10-02" in line and "2026-10-03" not in line
        assert "0 of 2" in line

    def test_run_runs_the_plan_of_the_file_and_nothing_else(self, tmp_path: Path) -> None:
        days = [DATASET, "--from", "2026-10-01", "--to", "2026-10-09"]
        file = tmp_path / "plan.json"
        file.write_text(CliRunner().invoke(app, ["backfill", "plan", *days, "--json"]).output)
        assert json.loads(file.read_text())["to_load"] == 9
        land(day("2026-10-04"))
        asked = ["backfill", "run", "--reason", "a test", "--plan", str(file)]
        other = CliRunner().invoke(app, [*asked, DATASET, "--which", "all", "--yes"])
        assert str(other.exception) == (
            "invalid which 'all': expected 'missing', as in the plan; leave it out, or make a new plan"
        )
        refused = CliRunner().invoke(app, [*asked, "--yes"])
        assert "the plan has changed since it was shown" in str(refused.exception)
        assert "2026-10-04 load → skip (landed: version 1 by run a)" in " ".join(refused.stderr.split())
        assert CliRunner().invoke(app, asked, input="n\n").exit_code == 1
        assert rows("SELECT count(*) FROM control.backfills") == [(0,)]
        agreed = CliRunner().invoke(app, asked, input="y\n")
        assert agreed.exit_code == 0, agreed.output
        assert "catchup_control will start it within five minutes" in " ".join(agreed.output.split())
        assert rows("SELECT state, count(*) FROM control.backfill_windows GROUP BY 1 ORDER BY 1") == [
            ("planned", 8), ("skipped", 1)
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--reason", " "], 'reason " " is blank'),
            (["--reason", "why", "--max-active", "9"], "invalid max_active 9: expected 1 to 8"),
            (["--reason", "why", "--on-failure", "perhaps"], 'invalid on_failure "perhaps": expected continue or stop'),
        ],
    )
    def test_what_would_be_refused_is_refused_before_anyone_is_asked(self, options: list[str], said: str) -> None:
        days = [DATASET, "--from", "2026-10-01", "--to", "2026-10-09"]
        asked = CliRunner().invoke(app, ["backfill", "run", *days, *options], input="y\n")
        assert said in str(asked.exception)
        assert asked.output == ""

    def test_a_recovery_leaves_out_what_another_backfill_has_and_says_so(self) -> None:
        first = ask(october(1, 9))
        asked = CliRunner().invoke(app, ["recovery", "request", DATASET], input="y\n")
        assert f"daily_sales: backfill {first} (requested) is to load 9 of these windows" in " ".join(
            asked.output.split()
        )
        assert "Load them?" not in asked.output

    def test_list_and_show_tell_what_is_asked_for_and_for_a_program_too(self) -> None:
        number = ask(october(1, 3, excluded_dates=[date(2026, 10, 2)], reason="month end"))
        (listed,) = json.loads(CliRunner().invoke(app, ["backfill", "list", "--json"]).output)
        assert (listed["backfill_id"], listed["windows_total"], listed["skipped"]) == (number, 3, 1)
        assert "month end" in CliRunner().invoke(app, ["backfill", "list", "--active"]).output
        shown = CliRunner().invoke(app, ["backfill", "show", str(number)]).output
        assert "excluded date: this backfill excludes the day" in shown
        assert f"backfill {number} of daily_sales is requested" in shown

    def test_cancel_says_what_it_does_not_undo_and_asks(self) -> None:
        number = ask(october(1, 3))
        change(
            "UPDATE control.backfill_windows SET state = 'landed', version = 1 WHERE backfill_id = %s AND place = 1",
            number,
        )
        asked = CliRunner().invoke(app, ["backfill", "cancel", str(number)], input="n\n")
        said = " ".join(asked.output.split())
        assert "is final: 2 of its 3 windows will not be loaded, and it cannot be resumed. A paused one can." in said
        assert "It undoes nothing: the 1 windows that have landed are kept (scripts/highwater rollback restores" in said
        assert "Cancel it for good?" in said
        assert (asked.exit_code, rows("SELECT state FROM control.backfills")) == (1, [("requested",)])
        agreed = CliRunner().invoke(app, ["backfill", "cancel", str(number), "--by", "ada"], input="y\n")
        assert f"backfill {number} is cancelled: 2 windows not started, 0 still running" in agreed.output
        assert rows("SELECT state, note FROM control.backfills") == [("cancelled", "cancelled by ada")]

    @pytest.mark.parametrize(
        ("verb", "states", "said"),
        [
            ("cancel", "cancelled", "only one that is requested, running, paused, stopped or failed can be cancelled"),
            ("pause", "cancelled", "only one that is requested or running can be paused"),
            ("resume", "cancelled", "only one that is paused, stopped or failed can be resumed"),
        ],
    )
    def test_what_its_state_forbids_is_refused(self, verb: str, states: str, said: str) -> None:
        number = ask(october(1, 3))
        assert CliRunner().invoke(app, ["backfill", "cancel", str(number), "--yes"]).exit_code == 0
        refused = CliRunner().invoke(app, ["backfill", verb, str(number)])
        assert f"backfill {number} is {states}: {said}" == str(refused.exception)
        unknown = CliRunner().invoke(app, ["backfill", verb, "999999"])
        assert f"there is no backfill 999999; the latest are: {number}" == str(unknown.exception)
