"""Policies in the warehouse: who may change them, what is kept, sent and refused, conditions, the gaps they fill."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from batches import land, window
from loading import day, run
from loading import land as land_day
from psycopg2.extensions import cursor as Cursor
from receiver import Receiver
from typer.testing import CliRunner

from highwater.airflow import catchup_control
from highwater.environment import settings
from highwater.incidents import alerts
from highwater.model import clock
from highwater.policy import conditions
from highwater.policy import reader as policy_reader
from highwater.policy.reader import PolicyReader
from highwater.recovery import backlog
from highwater.store import ledger, warehouse
from highwater.store.ledger import Run

pytestmark = pytest.mark.usefixtures("empty_warehouse", "policies_restored")
Clock = Callable[[timedelta], None]
Readers = Callable[[], PolicyReader]


@pytest.fixture
def policies_restored(platform: Path) -> Iterator[None]:
    """Nobody has changed what is wanted, before the test and behind it."""
    _restore()
    yield
    _restore()


def _restore() -> None:
    change("TRUNCATE control.closed_days, control.condition_states", "postgres")
    change("UPDATE control.conditions SET settle = '10 minutes'", "postgres")
    change("DELETE FROM control.catchup_policies", "postgres")
    change("INSERT INTO control.catchup_policies (dataset) SELECT dataset FROM control.datasets", "postgres")
    change("TRUNCATE control.catchup_policy_history", "postgres")
    change("TRUNCATE control.backfills CASCADE", "postgres")


def change(statement: str, role: str = "operator") -> None:
    with warehouse.session(role) as cursor:
        cursor.execute(statement)


def rows(query: str) -> list[tuple[Any, ...]]:
    with warehouse.session("analyst") as cursor:
        cursor.execute(query)
        return [tuple(row) for row in cursor.fetchall()]


def shell(*arguments: str) -> str:
    """What a command printed; it must have gone well."""
    from highwater.cli.main import app

    done = CliRunner().invoke(app, ["policy", *arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


SET = "UPDATE control.catchup_policies SET {} WHERE dataset = 'daily_sales'"


class TestWhoMayChangeIt:
    def test_the_operator_and_nobody_else(self, operator: Cursor, loader: Cursor, analyst: Cursor) -> None:
        operator.execute(SET.format("enabled = false"))
        operator.execute("INSERT INTO control.closed_days (day, reason) VALUES ('2026-10-31', 'x')")
        operator.execute("UPDATE control.sources SET reliability_threshold = 0.9 WHERE source = 'partner'")
        operator.execute("SELECT count(*) FROM sales.daily_sales")
        for cursor in (loader, analyst):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(SET.format("enabled = false"))
            cursor.connection.rollback()
        for statement in ("DELETE FROM control.catchup_policy_history", "DELETE FROM ops.window_ledger"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                operator.execute(statement)
            operator.connection.rollback()

    @pytest.mark.parametrize(
        ("value", "rule"),
        [
            ("max_age = '-3 days'", "max_age_is_positive"),
            ("max_age = '1 month'", "max_age_is_no_month"),
            ("max_windows = 0", "max_windows_is_positive"),
            ("skip_weekdays = '{8}'", "skip_weekdays_are_1_monday_to_7_sunday"),
            ("skip_weekdays = '{1,2,3,4,5,6,7}'", "skip_weekdays_leave_one"),
            (
                "conditions = '{at_night}'",
                'unknown condition "at_night" in the policy of daily_sales: expected one of',
            ),
        ],
    )
    def test_what_makes_no_sense_is_refused_by_a_rule_that_says_so(
        self, operator: Cursor, value: str, rule: str
    ) -> None:
        with pytest.raises(psycopg2.Error, match=rule):
            operator.execute(SET.format(value))

    def test_a_dataset_that_is_new_has_a_policy(self, admin: Cursor) -> None:
        admin.execute(
            "INSERT INTO control.datasets (dataset, dag_id, published_table, first_window, step)"
            " VALUES ('mine', 'x', 'sales.mine', '2026-10-01', '1 day') "
        )
        admin.execute("SELECT enabled, skip_closed_days FROM control.catchup_policies WHERE dataset = 'mine'")
        assert tuple(warehouse.fetch(admin)) == (True, True)


class TestHistory:
    def test_a_plain_update_is_kept_with_its_login_and_a_reason_only_if_it_gave_one(self) -> None:
        change(SET.format("enabled = false, reason = 'the servers move'"))
        change(SET.format("max_windows = 5"))
        change(SET.format("max_windows = 5"))
        assert rows("SELECT changed_by, reason FROM control.catchup_policy_history ORDER BY change_id") == [
            ("operator", "the servers move"),
            ("operator", None),
        ]
        assert rows("SELECT reason FROM control.catchup_policies WHERE dataset = 'daily_sales'") == [(None,)]

    def test_every_way_of_changing_it_tells_who_what_and_why(self, tmp_path: Path) -> None:
        change(SET.format("enabled = false"))
        shell("set", "daily_sales", "--max-age", "20 days", "--enabled", "--reason", "all is well", "--by", "kim")
        change("INSERT INTO control.closed_days VALUES ('2026-12-25', NULL, 'Christmas')")
        change("UPDATE control.sources SET reliability_threshold = 0.8 WHERE source = 'partner'")
        change("UPDATE control.sources SET reliability_threshold = 0.7 WHERE source = 'partner'")
        change("UPDATE control.sources SET reliability_threshold = 0.8 WHERE source = 'partner'")
        file = tmp_path / "mine.yaml"
        file.write_text("{policies: {daily_sales: {max_windows: 9}}, closed_days: []}")
        shell("apply", str(file), "--by", "kim")
        reported = [line.removeprefix("2026-10-31 12:00:00 ") for line in shell("history").splitlines()]
        assert reported[:3] == [
            "operator, policy of daily_sales: enabled on -> off",
            "operator (kim), policy of daily_sales: enabled off -> on, max_age none -> 20 days: all is well",
            "operator, closed day of every dataset: day none -> 2026-12-25: Christmas",
        ]
        assert reported[3].startswith("operator, source rule of partner_sales: reliability_threshold 0.8 -> 0.7")
        assert reported[5:] == [
            "operator (kim), policy of daily_sales: max_age 20 days -> none, max_windows none -> 9: as mine.yaml says",
            "operator (kim), closed day of every dataset: day 2026-12-25 -> none",
        ]

    def test_a_change_is_announced_once(self) -> None:
        change(SET.format("enabled = false"))
        with warehouse.session("loader") as cursor:
            assert [str(each) for each in catchup_control.announce(cursor)] == [
                "2026-10-31 12:00:00 operator, policy of daily_sales: enabled on -> off"
            ]
            assert catchup_control.announce(cursor) == []


def reported(hook: Receiver) -> list[str]:
    """The alerts about the month's sales: of other datasets everything is missing."""
    return [title for title in hook.titles if "daily_sales" in title]


class TestRisks:
    def test_off_while_windows_are_missing_is_an_incident_until_it_is_on(self, hook: Receiver) -> None:
        land_day(day("2026-10-29"))
        change(SET.format("enabled = false"))
        alerts.look()
        title = "daily_sales: catch-up off while windows are missing since 2026-10-31 12:00 UTC"
        assert reported(hook) == [title]
        change(SET.format("enabled = true"))
        alerts.look()
        assert reported(hook) == [title, f"over: {title}"]

    def test_off_with_the_newest_window_missing_does_not_count(self, hook: Receiver) -> None:
        change("UPDATE control.catchup_policies SET enabled = false, max_windows = 1 WHERE dataset = 'daily_sales'")
        alerts.look()
        assert rows("SELECT windows FROM ops.gaps WHERE dataset = 'daily_sales'") == [(1,)]
        assert reported(hook) == []

    def test_what_a_closed_day_leaves_out_is_in_trouble_no_more_and_makes_nothing_stale(self, hook: Receiver) -> None:
        wanted = day("2026-10-30")
        with pytest.raises(OSError, match="gone"), ledger.attempt("daily_sales", wanted, "extract", run()):
            raise OSError("gone")
        alerts.look()
        assert [title.split(" since")[0] for title in reported(hook)] == ["daily_sales: load failed"]
        change("INSERT INTO control.closed_days VALUES ('2026-10-30', NULL, 'stocktaking')")
        alerts.look()
        assert [title.split(" since")[0] for title in reported(hook)][1:] == ["over: daily_sales: load failed"]
        assert rows(
            "SELECT state, reason FROM ops.window_status WHERE dataset = 'daily_sales' AND window_start = '2026-10-30'"
        ) == [("skipped", "skip_closed_days: 2026-10-30 is closed: stocktaking")]

    def test_closed_days_behind_the_newest_data_do_not_make_it_stale(self, later: Clock) -> None:
        land_day(day("2026-10-30"))
        later(timedelta(days=1))
        stale = "SELECT is_stale FROM ops.freshness WHERE dataset = 'daily_sales'"
        assert rows(stale) == [(True,)]
        change("INSERT INTO control.closed_days VALUES ('2026-10-31', 'daily_sales', 'stocktaking')")
        assert rows(stale) == [(False,)]


class TestBacklog:
    def test_off_the_recovery_loads_the_newest_due_window_alone(self) -> None:
        change("UPDATE control.catchup_policies SET enabled = false WHERE dataset = 'payments'")
        with warehouse.session("loader") as cursor:
            assert backlog.backlog(cursor, "payments", 99) == [window(12)]
            assert len(backlog.backlog(cursor, "page_views", 99)) == 13

    def test_what_is_not_wanted_is_no_part_of_it(self) -> None:
        change("UPDATE control.catchup_policies SET max_windows = 3 WHERE dataset = 'payments'")
        change("INSERT INTO control.closed_days VALUES ('2026-10-31', 'payments', 'x')")
        with warehouse.session("loader") as cursor:
            assert backlog.backlog(cursor, "payments", 99) == [window(10), window(11)]


@pytest.fixture
def predicate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Writes what the condition `tried` of daily_sales is; it settles at once."""
    folder = tmp_path / "sql"
    (folder / conditions.FOLDER).mkdir(parents=True)
    monkeypatch.setattr(warehouse, "SQL", folder)

    def write(text: str) -> None:
        (folder / conditions.FOLDER / "tried.sql").write_text(text)

    change("INSERT INTO control.conditions VALUES ('tried', 'for a test', '0')", "postgres")
    change(SET.format("conditions = '{tried}'"))
    yield write
    change(SET.format("conditions = '{}'"))
    change("DELETE FROM control.conditions WHERE condition = 'tried'", "postgres")


Predicate = Callable[[str], None]
STATE = "SELECT is_on, reason FROM control.catchup_is_on('daily_sales')"


class TestConditions:
    def test_catch_up_is_off_while_one_does_not_hold_and_on_again_when_it_does(self, predicate: Predicate) -> None:
        predicate("SELECT %(dataset)s = 'another' AS holds")
        (look,) = conditions.evaluate()
        assert (look.answer, look.holds) == (False, False)
        assert rows(STATE) == [(False, "condition tried does not hold since 2026-10-31 12:00")]
        predicate("SELECT %(dataset)s = 'daily_sales' AS holds")
        (look,) = conditions.evaluate()
        assert (look.flipped, str(look)) == (
            True,
            "condition tried of daily_sales answers True; it switches catch-up of daily_sales on",
        )
        assert rows(STATE) == [(True, None)]
        assert rows("SELECT what, old, new FROM control.catchup_policy_history ORDER BY change_id")[1:] == [
            ("condition", {"tried": False}, {"tried": True})
        ]

    def test_one_that_comes_and_goes_switches_nothing_until_it_has_settled(
        self, predicate: Predicate, later: Clock
    ) -> None:
        change("UPDATE control.conditions SET settle = '10 minutes'", "operator")
        holds = []
        for minutes, answer in ((0, True), (5, False), (10, True), (15, False), (20, False), (24, False), (25, False)):
            later(timedelta(minutes=minutes))
            predicate(f"SELECT {answer} AS holds")
            (look,) = conditions.evaluate()
            holds.append(look.holds)
        assert holds == [True, True, True, True, True, True, False]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("SELECT 1 / 0 > 0 AS holds", "division by zero"),
            ("SELECT pg_sleep(60) IS NULL AS holds", "a statement exceeded its time limit"),
            ("SELEC true", "syntax error"),
            (
                "SELECT true AS holds UNION ALL SELECT false",
                "returns 2 rows for daily_sales: expected one row with one boolean",
            ),
            ("SELECT 1 AS holds", "returns (1) for daily_sales: expected one row with one boolean"),
            ("SELECT NULL::boolean AS holds", "returns (None)"),
            ("UPDATE control.datasets SET step = step RETURNING true", "in a read-only transaction"),
            ("", "can't execute an empty query"),
        ],
    )
    def test_one_that_fails_or_hangs_counts_as_before_and_is_an_incident(
        self, predicate: Predicate, monkeypatch: pytest.MonkeyPatch, hook: Receiver, text: str, said: str
    ) -> None:
        monkeypatch.setattr(conditions, "PATIENCE", 1)
        predicate("SELECT false AS holds")
        list(conditions.evaluate())
        predicate(text)
        (look,) = conditions.evaluate()
        assert (look.answer, look.holds, look.flipped) == (None, False, False)
        assert said in str(look.error)
        assert "it cannot be checked now" in rows(STATE)[0][1]
        alerts.look()
        assert "tried: condition cannot be evaluated since 2026-10-31 12:00 UTC" in hook.titles
        predicate("SELECT true AS holds")
        list(conditions.evaluate())
        alerts.look()
        assert "over: tried: condition cannot be evaluated since 2026-10-31 12:00 UTC" in hook.titles

    def test_those_that_come_along_answer_and_say_what_they_are(self) -> None:
        assert rows("SELECT condition FROM control.conditions ORDER BY 1") == [
            (name,) for name in ("off_peak_hours", "source_reliable", "warehouse_not_busy")
        ]
        assert all(conditions.known().values())
        assert conditions.ask("off_peak_hours", "daily_sales"), "a Saturday"
        assert conditions.ask("warehouse_not_busy", "daily_sales")
        assert conditions.ask("source_reliable", "daily_sales")
        assert not conditions.ask("source_reliable", "partner_sales"), "it was never checked"

    def test_off_peak_is_the_night_of_a_working_day(self, later: Clock) -> None:
        monday = timedelta(days=2)
        answers = {}
        for hour in (-5, -4, 0, 5, 6):
            later(monday + timedelta(hours=hour))
            answers[12 + hour] = conditions.ask("off_peak_hours", "daily_sales")
        assert answers == {7: True, 8: False, 12: False, 17: False, 18: True}


class TestReader:
    """What the scheduler knows while the warehouse is away."""

    @pytest.fixture
    def away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The warehouse does not answer any more; what was in force lies in the file."""
        policy_reader.remember()
        asked = threading.Event()

        def hang(*_: object, **__: object) -> None:
            asked.wait(300)

        monkeypatch.setattr(warehouse, "connect", hang)

    @pytest.fixture
    def reader(self) -> Iterator[Callable[[], PolicyReader]]:
        """Makes readers; they look no more behind the test."""
        made: list[PolicyReader] = []

        def make() -> PolicyReader:
            made.append(PolicyReader())
            return made[-1]

        yield make
        for each in made:
            each.stop()

    def test_who_asks_is_not_kept_waiting_by_a_warehouse_that_hangs(
        self, reader: Readers, away: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It would hang for minutes: that it comes back at all is the proof."""
        monkeypatch.setattr(policy_reader, "FIRST_READ", 0.1)
        known = reader().of("daily_sales")
        assert known is not None and known.is_on, "from the file"

    def test_the_last_good_policy_stays_in_force_and_the_file_has_it(self, reader: Readers) -> None:
        change(SET.format("enabled = false"))
        first = reader()
        first.read()
        change("ALTER ROLE analyst NOLOGIN", "postgres")
        try:
            first.read()
            for each in (first, reader()):
                known = each.of("daily_sales")
                assert known is not None and not known.is_on
        finally:
            change("ALTER ROLE analyst LOGIN", "postgres")
        change(SET.format("enabled = true"))
        first.read()
        known = first.of("daily_sales")
        assert known is not None and known.is_on

    @pytest.mark.parametrize("text", ["", "[", '[{"dataset": 3}]'])
    def test_a_spoilt_file_counts_as_missing(
        self, reader: Readers, away: None, monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        monkeypatch.setattr(policy_reader, "FIRST_READ", 0.1)
        file = settings.get().policies_file
        before = file.read_text()
        file.write_text(text)
        try:
            assert reader().of("daily_sales") is None
        finally:
            file.write_text(before)


def begun(*days: str, kind: str = "scheduled") -> None:
    """A run of the schedule has landed these days."""
    for each in days:
        with ledger.attempt("daily_sales", day(each), "load", Run("historical_sales_migration", f"{kind}__{each}")):
            land_day(day(each))


def gaps() -> list[tuple[str, int]]:
    """The start of each stretch that is to be filled, and how many windows it has."""
    with warehouse.session("loader") as cursor:
        return [
            (f"{gap.from_time:%m-%d}", gap.windows)
            for gap in catchup_control.gaps_to_fill(cursor)
            if gap.dataset == "daily_sales"
        ]


class TestGaps:
    @pytest.fixture(autouse=True)
    def short(self, platform: Path) -> Iterator[None]:
        """The grid begins on the 24th."""
        begin = "UPDATE control.datasets SET first_window = '{}' WHERE dataset = 'daily_sales'"
        change(begin.format("2026-10-24 00:00+00"), "postgres")
        yield
        change(begin.format("2026-10-01 00:00+00"), "postgres")

    def test_what_the_schedule_is_past_is_filled_and_what_it_will_come_to_is_not(self) -> None:
        begun("2026-10-24", "2026-10-28")
        assert gaps() == [("10-25", 3)]

    def test_a_native_backfill_moves_the_schedule_too_and_a_run_by_hand_does_not(self) -> None:
        begun("2026-10-26", kind="manual")
        assert gaps() == []
        begun("2026-10-26", kind="backfill")
        assert gaps() == [("10-24", 2)]

    def test_while_catch_up_is_off_nothing_is(self) -> None:
        begun("2026-10-28")
        change(SET.format("enabled = false"))
        assert gaps() == []

    def test_what_is_not_wanted_is_not(self) -> None:
        begun("2026-10-28")
        change(SET.format("skip_weekdays = '{6,7}'"))
        change("INSERT INTO control.closed_days VALUES ('2026-10-27', NULL, 'x')")
        assert gaps() == [("10-26", 1)]

    def test_what_was_refused_waits_for_a_person_and_is_between_two_backfills(self) -> None:
        begun("2026-10-24", "2026-10-28")
        with pytest.raises(OSError, match="gone"), ledger.attempt("daily_sales", day("2026-10-26"), "audit", run()):
            raise OSError("gone")
        assert gaps() == [("10-25", 1), ("10-27", 1)]

    def test_it_is_asked_for_once(self) -> None:
        begun("2026-10-24", "2026-10-28")
        with warehouse.session("loader") as cursor:
            (gap,) = (each for each in catchup_control.gaps_to_fill(cursor) if each.dataset == "daily_sales")
            number = catchup_control.fill(cursor, gap)
        assert gaps() == []
        assert rows("SELECT via, requested_by, which, reason FROM control.backfills") == [
            (
                "policy",
                "catchup_control",
                "missing",
                "the schedule of historical_sales_migration has passed these windows, it is at 2026-10-28 00:00",
            )
        ]
        assert rows(f"SELECT count(*) FROM control.backfill_windows WHERE backfill_id = {number}") == [(3,)]

    def test_a_dataset_whose_own_runs_fill_its_gaps_has_none(self) -> None:
        land("payments", window(5))
        change("UPDATE ops.attempts SET dag_id = 'system_recovery_processing', run_id = 'scheduled__x'", "postgres")
        query = "SELECT count(*) FROM ops.window_status WHERE dataset = 'payments' AND state = 'missing'"
        assert rows(query)[0][0] > 0
        with warehouse.session("loader") as cursor:
            assert catchup_control.gaps_to_fill(cursor) == []


class TestTheCommands:
    def test_a_dry_run_says_what_would_change_and_changes_nothing(self) -> None:
        said = shell("set", "daily_sales", "--disabled", "--reason", "x", "--dry-run")
        assert "daily_sales: enabled on -> off" in said and "nothing was changed" in said
        assert rows("SELECT count(*) FROM control.catchup_policy_history") == [(0,)]

    def test_show_and_explain_tell_what_follows(self) -> None:
        shell("set", "daily_sales", "--disabled", "--skip-weekdays", "saturday,sunday", "--reason", "a move")
        shown = json.loads(shell("show", "--json"))
        (mine,) = (row for row in shown["policies"] if row["dataset"] == "daily_sales")
        assert (mine["is_on"], mine["skip_weekdays"]) == (False, [6, 7])
        reported = json.loads(shell("explain", "daily_sales", "--last", "3", "--next", "2", "--json"))
        assert [(row["window_start"][:10], row["state"], row["verdict"]) for row in reported] == [
            ("2026-10-29", "missing", "wanted, not loaded automatically"),
            ("2026-10-30", "missing", "wanted"),
            ("2026-10-31", "skipped", "not wanted: skip_weekdays"),
            ("2026-11-01", "to come", "not wanted: skip_weekdays"),
            ("2026-11-02", "to come", "wanted"),
        ]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (
                ("set", "daily_sales", "--max-age=-3 days", "--reason", "x"),
                "max_age '-3 days': expected a positive",
            ),
            (
                ("set", "daily_sale", "--enabled", "--reason", "x"),
                "unknown dataset 'daily_sale': expected one of",
            ),
            (
                ("set", "daily_sales", "--conditions", "at_night", "--reason", "x"),
                "unknown condition 'at_night': expected one of",
            ),
            (("set", "daily_sales", "--reason", "x"), "nothing to set: give one of --enabled"),
            (("set", "daily_sales", "--enabled", "--reason", " "), 'reason " " is blank'),
            (("explain", "nothing"), "unknown dataset 'nothing': expected one of channel_sales, daily_sales"),
            (("apply", "nowhere.yaml"), "nowhere.yaml cannot be read"),
        ],
    )
    def test_a_mistake_is_named_and_changes_nothing(self, arguments: tuple[str, ...], said: str) -> None:
        from highwater.cli.main import app

        done = CliRunner().invoke(app, ["policy", *arguments])
        assert said in str(done.exception)
        assert rows("SELECT count(*) FROM control.catchup_policy_history") == [(0,)]

    def test_a_file_with_one_mistake_changes_nothing_of_it(self, tmp_path: Path) -> None:
        from highwater.cli.main import app

        file = tmp_path / "mine.yaml"
        file.write_text("{policies: {daily_sales: {max_windows: 9}, nobody: {}}}")
        done = CliRunner().invoke(app, ["policy", "apply", str(file)])
        assert "unknown dataset 'nobody': expected one of channel_sales, daily_sales" in str(done.exception)
        assert rows("SELECT count(*) FROM control.catchup_policy_history") == [(0,)]
        assert clock.now().year == 2026


def test_what_is_wanted_is_the_same_in_every_zone() -> None:
    """In Sydney, the night to 2026-10-04 has an hour less."""
    moment = "'2026-10-04 23:30+00'"
    questions = (
        "SELECT u.rule, extract(EPOCH FROM lower(r)) AS a, extract(EPOCH FROM upper(r)) AS b"
        f" FROM control.unwanted_by_rule('daily_sales', {moment}, '[2026-10-01 00:00+00,2026-10-06 00:00+00)') AS u,"
        " unnest(u.window_ranges) AS r ORDER BY 1, 2",
        "SELECT rule, reason FROM control.policy_verdict("
        f"'daily_sales', '[2026-10-03 00:00+00,2026-10-04 00:00+00)', {moment})",
        "SELECT extract(EPOCH FROM control.due_until("
        f'jsonb_populate_record(d, \'{{"due_after": "2 days"}}\'), {moment}))'
        " FROM control.datasets AS d WHERE dataset = 'daily_sales'",
    )
    change(
        "UPDATE control.catchup_policies SET max_age = '2 days', skip_weekdays = '{6}' WHERE dataset = 'daily_sales'"
    )
    here = [rows(question) for question in questions]
    assert all(here)
    there = []
    with warehouse.session("analyst") as cursor:
        cursor.execute("SET LOCAL timezone = 'Australia/Sydney'")
        for question in questions:
            cursor.execute(question)
            there.append([tuple(row) for row in cursor.fetchall()])
    assert there == here
