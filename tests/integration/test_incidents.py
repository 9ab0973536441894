"""Incidents: open once, collect, escalate, close by the record alone; and alerts, each sent once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
from loading import OTHER_QUANTITY, day, land, run, stage
from psycopg2.extensions import cursor as Cursor
from receiver import Receiver, receiver
from typer.testing import CliRunner
from waiting import wait_until

from highwater.environment import settings
from highwater.incidents import alerts
from highwater.model.errors import AuditFailed, ConfigurationError, DataRejected, SourceUnavailable
from highwater.model.windows import Window
from highwater.store import ledger, publish, rollback, warehouse

pytestmark = pytest.mark.usefixtures("empty_warehouse")
NOW = datetime(2026, 10, 31, 12, tzinfo=UTC)
DAY, OTHER = day("2026-10-05"), day("2026-10-06")
NIGHT = datetime(2026, 10, 5, 2, tzinfo=UTC)
DAG = "historical_sales_migration"
Clock = Callable[[timedelta], None]


@pytest.fixture(autouse=True, scope="module")
def nothing_to_recover(platform: object) -> Iterator[None]:
    """Payments and page views begin later, so that no outage is found beside what the tests are about."""
    move = "UPDATE control.datasets SET first_window = %s WHERE dag_id = 'system_recovery_processing'"
    with warehouse.session("postgres") as cursor:
        # What a file before has landed would hold the grid where it is.
        cursor.execute("TRUNCATE ops.window_ledger CASCADE")
        cursor.execute(move, (datetime(2027, 10, 28, tzinfo=UTC),))
    yield
    with warehouse.session("postgres") as cursor:
        cursor.execute(move, (datetime(2026, 10, 28, tzinfo=UTC),))


def attempt(stage: str, failure: BaseException | None = None, window: Any = DAY, dataset: str = "daily_sales") -> None:
    """One attempt at a stage as a task makes it, with this end; then the look that every task has at its end."""
    try:
        with ledger.attempt(dataset, window, stage, run()):
            if failure:
                raise failure
    except (SourceUnavailable, DataRejected, ConfigurationError, ValueError) as raised:
        assert raised is failure
        alerts.look()
    else:
        alerts.look_if_troubled()


def away(source: str = "legacy") -> SourceUnavailable:
    return SourceUnavailable(f"source {source!r} is unavailable: no route to s3cret.host", source)


def incidents() -> list[tuple[Any, ...]]:
    """Kind, subject, number of attempts collected, and whether it is open, of every incident."""
    with warehouse.session("analyst") as cursor:
        cursor.execute(
            "SELECT kind, subject, (SELECT count(*) FROM ops.incident_attempts AS a"
            " WHERE a.incident_id = i.incident_id), closed_at IS NULL FROM ops.incidents AS i ORDER BY incident_id"
        )
        return [tuple(row) for row in cursor.fetchall()]


def deliveries() -> list[tuple[str, str, int]]:
    with warehouse.session("analyst") as cursor:
        cursor.execute(
            "SELECT event, state, tries FROM ops.alert_deliveries JOIN ops.alerts USING (alert_no) ORDER BY alert_no"
        )
        return [tuple(row) for row in cursor.fetchall()]


AWAY = "legacy: source unavailable since 2026-10-31 12:00 UTC"


class TestWhatIsAnIncident:
    def test_a_source_that_is_away_opens_once_and_closes_when_any_load_reaches_it(self, hook: Receiver) -> None:
        for window in (DAY, OTHER, DAY, OTHER, DAY):
            attempt("extract", away(), window)
        assert incidents() == [("source unavailable", "legacy", 5, True)]
        attempt("transform", window=OTHER)
        assert hook.titles == [AWAY], "a stage that needs no source says nothing of it"
        attempt("extract", window=OTHER)
        assert incidents() == [("source unavailable", "legacy", 5, False)]
        assert hook.titles == [AWAY, f"over: {AWAY}"]

    @pytest.mark.parametrize(("stage", "failure"), [("extract", away()), ("audit", AuditFailed("x"))])
    def test_what_went_well_before_does_not_hide_it(self, hook: Receiver, stage: str, failure: Exception) -> None:
        attempt(stage)
        attempt(stage, failure)
        assert [open_ for *_, open_ in incidents()] == [True]

    def test_two_sources_are_two_incidents(self, hook: Receiver) -> None:
        attempt("extract", away())
        attempt("determine_mode", away("shop"), dataset="orders")
        assert [found[1] for found in incidents()] == ["legacy", "shop"]

    def test_a_failed_audit_is_open_until_the_window_passes_it(self, hook: Receiver) -> None:
        attempt("audit", AuditFailed("saw a row"))
        attempt("audit", window=OTHER)
        assert incidents() == [("audit failed", "daily_sales", 1, True)]
        attempt("audit")
        assert incidents() == [("audit failed", "daily_sales", 1, False)]

    def test_a_window_that_a_rule_skips_is_no_trouble_any_more(self, hook: Receiver, admin: Cursor) -> None:
        attempt("audit", AuditFailed("saw a row"))
        admin.execute(
            "INSERT INTO ops.skipped_windows (dataset, window_range, rule, reason)"
            " VALUES ('daily_sales', %s, 'r', 'y')",
            (ledger.as_range(DAY),),
        )
        admin.connection.commit()
        alerts.look()
        assert incidents() == [("audit failed", "daily_sales", 1, False)]

    def test_a_load_that_failed_for_good_is_reported_and_one_that_is_tried_again_is_not(self, hook: Receiver) -> None:
        attempt("extract", ConfigurationError("no such column"))
        assert incidents() == [("load failed", "daily_sales", 1, True)]
        attempt("load", window=OTHER)
        assert incidents()[0][-1] is True
        attempt("load")
        assert incidents() == [("load failed", "daily_sales", 1, False)]

    def test_busy_that_is_tried_again_opens_nothing(self, hook: Receiver, admin: Cursor) -> None:
        admin.execute(
            "INSERT INTO ops.attempts (dataset, window_range, stage, dag_id, run_id, try_number, host, pid, state,"
            " error_kind, started_at) VALUES ('daily_sales', %s, 'load', 'd', 'r', 1, 'h', 1, 'retrying', 'busy', %s)",
            (ledger.as_range(DAY), NOW),
        )
        admin.connection.commit()
        alerts.look()
        assert incidents() == []

    def test_an_orphan_that_dies_beside_an_attempt_that_did_the_work_is_no_trouble(self, admin: Cursor) -> None:
        for state, start, end in (("succeeded", 0, 9), ("lost", 5, None)):
            admin.execute(
                "INSERT INTO ops.attempts (dataset, window_range, stage, dag_id, run_id, try_number, host, pid, state,"
                " started_at, ended_at) VALUES ('daily_sales', %s, 'summarise', 'd', 'r', 1, 'h', 1, %s, %s, %s)",
                (ledger.as_range(DAY), state, NOW + timedelta(seconds=start), end and NOW + timedelta(seconds=end)),
            )
        admin.connection.commit()
        alerts.look()
        assert incidents() == []

    def test_old_data_is_reported_once_nothing_has_landed_for_an_hour(self, hook: Receiver, later: Clock) -> None:
        land(DAY)
        alerts.look()
        assert incidents() == [], "it is being caught up with"
        later(timedelta(hours=1, minutes=1))
        alerts.look()
        alerts.look()
        assert incidents() == [("freshness exceeded", "daily_sales", 0, True)]
        assert hook.titles == ["daily_sales: freshness exceeded since 2026-10-07 06:00 UTC"]
        land(day("2026-10-30"))
        alerts.look()
        assert incidents() == [("freshness exceeded", "daily_sales", 0, False)]

    def test_what_time_alone_begins_is_not_looked_for_by_a_task_that_went_well(self, later: Clock) -> None:
        land(DAY)
        later(timedelta(hours=1, minutes=1))
        attempt("extract", window=OTHER)
        assert incidents() == []
        alerts.look()
        assert incidents() == [("freshness exceeded", "daily_sales", 0, True)]

    def test_a_failure_that_nobody_checked_is_found_by_a_task_that_goes_well(self, hook: Receiver) -> None:
        with pytest.raises(AuditFailed), ledger.attempt("daily_sales", DAY, "audit", run()):
            raise AuditFailed("x")
        attempt("extract", window=OTHER)
        assert incidents() == [("audit failed", "daily_sales", 1, True)]

    @pytest.mark.parametrize("look", [alerts.look, alerts.look_if_troubled])
    def test_a_task_that_was_killed_is_found_by_the_next_check(self, hook: Receiver, look: Callable[[], None]) -> None:
        program = (
            "from loading import *; from highwater.store import ledger\n"
            "with ledger.attempt(DATASET, day('2026-10-05'), 'extract', run()): print('in', flush=True); input()"
        )
        path = os.pathsep.join([str(settings.ROOT), str(settings.ROOT / "tests")])
        with subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout and process.stdout.readline() == b"in\n"
            look()
            assert incidents() == []
            process.send_signal(signal.SIGKILL)
        wait_until("the claim to end", _nothing_lives, seconds=30)
        look()
        assert incidents() == [("load failed", "daily_sales", 1, True)]
        attempt("extract", window=day("2026-10-06"))
        assert incidents() == [("load failed", "daily_sales", 1, True)], "that was another window"
        attempt("extract")
        assert incidents() == [("load failed", "daily_sales", 1, False)]

    def test_one_that_waits_for_a_person_stays_open_until_one_has_seen_it(self, hook: Receiver, later: Clock) -> None:
        with warehouse.session("postgres") as cursor:
            cursor.execute("UPDATE control.incident_kinds SET needs_person = true WHERE kind = 'audit failed'")
        try:
            attempt("audit", AuditFailed("x"))
            attempt("audit")
            assert incidents()[0][-1] is True
            assert "highwater incidents acknowledge" in hook.taken[0]["message"]
            with warehouse.session("analyst") as cursor:
                (found,) = alerts.open_incidents(cursor)
            alerts.acknowledge(found.incident_id, "kim", "seen")
            alerts.look()
            assert incidents()[0][-1] is False
            with pytest.raises(DataRejected, match=f"incident {found.incident_id} is not open; open: none"):
                alerts.acknowledge(found.incident_id, "kim", "again")
        finally:
            with warehouse.session("postgres") as cursor:
                cursor.execute("UPDATE control.incident_kinds SET needs_person = false WHERE kind = 'audit failed'")

    def test_the_loader_can_neither_make_nor_end_one_by_hand(self, loader: Cursor) -> None:
        for statement in (
            "DELETE FROM ops.incidents",
            "UPDATE ops.alert_deliveries SET state = 'sent'",
            "INSERT INTO control.incident_kinds VALUES ('x', '1 hour', false, 'x')",
            "SELECT ops.enqueue_alert(i, 'closed') FROM ops.incidents AS i",
        ):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                loader.execute(statement)
            loader.connection.rollback()


def _nothing_lives() -> bool:
    with warehouse.session("analyst") as cursor:
        cursor.execute("SELECT NOT EXISTS (SELECT FROM ops.live_attempts)")
        return bool(warehouse.fetch_value(cursor))


def acknowledge(kind: str) -> None:
    """A person has seen the open incident of a kind; then it is looked for what there is."""
    with warehouse.session("analyst") as cursor:
        cursor.execute("SELECT incident_id FROM ops.incidents WHERE kind = %s AND closed_at IS NULL", (kind,))
        number = warehouse.fetch_value(cursor)
    with warehouse.session("operator") as cursor:
        cursor.execute("SELECT ops.acknowledge_incident(%s, 'ada', 'it is to stay so')", (number,))
    alerts.look()


def open_ones(subject: str = "daily_sales") -> list[str]:
    """The kinds of the open incidents of a subject, after a look."""
    alerts.look()
    with warehouse.session("analyst") as cursor:
        cursor.execute(
            "SELECT kind FROM ops.incidents WHERE closed_at IS NULL AND subject = %s AND kind <> 'freshness exceeded'"
            " ORDER BY kind",
            (subject,),
        )
        return [row.kind for row in warehouse.fetch_all(cursor)]


class TestWhatNoLoadWillClose:
    def test_a_reload_that_failed_is_over_once_a_person_has_put_a_version_back(
        self, source_day: Callable[[str], int], later: Clock
    ) -> None:
        land(DAY, by="good")
        source_day(OTHER_QUANTITY)
        land(DAY, by="bad")
        later(timedelta(minutes=1))
        attempt("audit", AuditFailed("it is not published"))
        assert open_ones() == ["audit failed"]
        later(timedelta(minutes=5))
        rollback.carry_out(rollback.plan("daily_sales", "2026-10-05"), "ada", "leave the good one")
        assert open_ones() == ["rolled back"]
        with warehouse.session("operator") as cursor:
            cursor.execute("SELECT ops.release_windows('daily_sales', '-infinity', 'infinity', 'ada', 'it is good')")
        assert open_ones() == ["rolled back"]

    def test_a_load_that_the_rollback_was_faster_than_is_no_failure_and_the_window_says_who_holds_it(
        self, source_day: Callable[[str], int], later: Clock
    ) -> None:
        land(DAY, by="good")
        source_day(OTHER_QUANTITY)
        land(DAY, by="bad")
        staged = stage(DAY)
        rollback.carry_out(rollback.plan("daily_sales", "2026-10-05"), "ada", "bad")
        later(timedelta(minutes=1))
        with pytest.raises(DataRejected), ledger.attempt("daily_sales", DAY, "load", run("x")):
            publish.publish_window("daily_sales", DAY, staged, run("x"))
        assert open_ones() == ["rolled back"]
        with warehouse.session("analyst") as cursor:
            cursor.execute("SELECT state, reason FROM ops.windows_between('daily_sales', '2026-10-05', '2026-10-06')")
            state, reason = warehouse.fetch(cursor)
        assert state == "held"
        assert "by ada at 2026-10-31 12:00 UTC: bad" in reason

    def test_of_one_whose_version_is_kept_a_person_says_that_it_is_to_stay(self, hook: Receiver, later: Clock) -> None:
        land(DAY)
        attempt("audit", AuditFailed("it is not published"))
        later(timedelta(minutes=1))
        acknowledge("audit failed")
        assert open_ones() == []
        assert "ada has acknowledged it" in hook.taken[-1]["message"]
        later(timedelta(minutes=2))
        attempt("audit", AuditFailed("nor now"))
        assert open_ones() == ["audit failed"]

    def test_of_one_that_is_missing_nobody_can(self, later: Clock) -> None:
        attempt("audit", AuditFailed("it is not published"))
        acknowledge("audit failed")
        later(timedelta(minutes=1))
        assert open_ones() == ["audit failed"]

    def test_an_attempt_at_a_window_outside_of_the_grid_does_not_count(self, admin: Cursor) -> None:
        admin.execute(
            "INSERT INTO control.datasets (dataset, dag_id, published_table, first_window, step)"
            " VALUES ('trying', 'trying', 'sales.tried', '2026-10-01', '1 day')"
        )
        admin.connection.commit()
        try:
            attempt("audit", DataRejected("no"), dataset="trying")
            assert open_ones("trying") == ["load failed"]
            admin.execute("UPDATE control.datasets SET step = '6 hours' WHERE dataset = 'trying'")
            admin.connection.commit()
            assert open_ones("trying") == []
        finally:
            admin.execute(
                "TRUNCATE ops.attempts CASCADE; DELETE FROM ops.first_loads WHERE dataset = 'trying';"
                " DELETE FROM control.datasets WHERE dataset = 'trying'"
            )
            admin.connection.commit()


class TestOneMistakeIsOneIncident:
    def test_what_stopped_a_dataset_goes_on_as_that(self, hook: Receiver, later: Clock) -> None:
        for number, window in enumerate((DAY, OTHER, day("2026-10-07"))):
            later(timedelta(minutes=number))
            attempt("transform", ConfigurationError("clean.sql is missing"), window)
            assert open_ones() == (["dataset stopped"] if number == 2 else ["load failed"])
        later(timedelta(hours=2))
        attempt("transform", ConfigurationError("clean.sql is missing"), day("2026-10-08"))
        assert open_ones() == ["dataset stopped"]
        over = [alert["message"] for alert in hook.taken if alert["title"].startswith("over: ")]
        assert len(over) == 1 and "the dataset is stopped, which is an incident of its own" in over[0]

    def test_what_waits_for_a_person_beside_it_stays(self, later: Clock) -> None:
        attempt("audit", AuditFailed("it is not published"), day("2026-10-09"))
        later(timedelta(minutes=1))
        for window in (DAY, OTHER, day("2026-10-07")):
            attempt("transform", ConfigurationError("clean.sql is missing"), window)
        assert open_ones() == ["audit failed", "dataset stopped"]
        attempt("extract", away(), day("2026-10-10"))
        assert open_ones("legacy") == ["source unavailable"]


class TestWhatPeopleAreTold:
    def test_it_is_reported_once_more_when_it_lasts_and_then_its_end(self, hook: Receiver, later: Clock) -> None:
        attempt("extract", away())
        for minutes in (59, 60, 61, 600):
            later(timedelta(minutes=minutes))
            alerts.look()
        attempt("extract")
        assert hook.titles == [AWAY, f"still: {AWAY}", f"over: {AWAY}"]
        assert [message["type"] for message in hook.taken] == ["warning", "failure", "success"]
        assert "after 10:00:00" in hook.taken[-1]["message"]

    def test_one_that_a_person_has_seen_is_not_reported_again(self, hook: Receiver, later: Clock) -> None:
        attempt("extract", away())
        with warehouse.session("analyst") as cursor:
            alerts.acknowledge(alerts.open_incidents(cursor)[0].incident_id, "kim", "on it")
        later(timedelta(hours=2))
        alerts.look()
        assert hook.titles == [AWAY]

    def test_a_title_names_the_windows(self, hook: Receiver) -> None:
        attempt("audit", AuditFailed("x"))
        assert hook.named == ["window 2026-10-05 00:00"]
        attempt("load")
        assert hook.named[1] == hook.named[0]
        following = Window(DAY.end, DAY.end + (DAY.end - DAY.start))
        for window in (DAY, following):
            attempt("audit", AuditFailed("x"), window)
        for window in (DAY, following):
            attempt("load", window=window)
        assert hook.named[-1] == "2 windows from 2026-10-05 00:00 to 2026-10-07 00:00"
        assert hook.titles[-1].startswith("over: daily_sales: audit failed")

    def test_a_message_says_what_to_do_and_holds_no_row_and_no_secret(self, hook: Receiver, admin: Cursor) -> None:
        attempt("audit", AuditFailed("failed: saw 'Erika Mustermann'"))
        attempt("extract", away())
        bodies = [message["message"] for message in hook.taken]
        assert "Nothing was published" in bodies[0] and "Check that the source is up" in bodies[1]
        assert "Windows: 1 from 2026-10-05 00:00 to 2026-10-06 00:00 UTC; failed attempts so far: 1." in bodies[0]
        admin.execute("SELECT (SELECT json_agg(a) FROM ops.alerts AS a)::text || (SELECT json_agg(d) FROM"
                      " ops.alert_deliveries AS d)::text")  # fmt: skip
        stored = warehouse.fetch_value(admin)
        for private in ("Mustermann", "s3cret", "127.0.0.1"):
            assert private not in stored + "".join(bodies)

    def test_each_message_has_an_id_of_its_own(self, hook: Receiver) -> None:
        attempt("extract", away())
        attempt("extract")
        assert len(set(hook.ids)) == 2

    def test_what_a_killed_task_did_not_send_is_sent_once_by_the_next(self, hook: Receiver) -> None:
        with pytest.raises(SourceUnavailable), ledger.attempt("daily_sales", DAY, "extract", run()):
            raise away()
        with warehouse.session("loader") as cursor:
            cursor.execute("SELECT ops.reconcile_incidents()")
        assert hook.titles == []
        alerts.look()
        alerts.look()
        assert hook.titles == [AWAY]

    def test_of_two_who_send_at_once_one_does(self, hook: Receiver) -> None:
        hook.answer = None
        first = threading.Thread(target=attempt, args=("extract", away()))
        first.start()
        assert hook.hanging.wait(30)
        assert alerts.send_waiting() == 0
        hook.let_go.set()
        first.join()
        assert hook.titles == [AWAY]
        assert deliveries() == [("opened", "sent", 1)]

    def test_a_sender_that_was_killed_holds_nobody_up(self, hook: Receiver) -> None:
        hook.answer = None
        program = "from highwater.incidents import alerts; alerts.look()"
        with warehouse.session("loader") as cursor:
            cursor.execute("SELECT ops.start_attempt('daily_sales', %s, 'extract', 'd', 'r', 1, 'h', 1)",
                           (ledger.as_range(DAY),))  # fmt: skip
        with subprocess.Popen(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(settings.ROOT)}
        ) as p:
            assert hook.hanging.wait(60)
            p.kill()
        hook.answer = 200
        hook.taken.clear()
        wait_until("the turn to be free", lambda: alerts.send_waiting() == 1, seconds=30)
        assert deliveries() == [("opened", "sent", 1)]

    def test_without_an_address_incidents_are_kept_and_an_address_set_later_gets_the_news_only(
        self, platform: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attempt("extract", away())
        assert incidents() == [("source unavailable", "legacy", 1, True)]
        with receiver() as late:
            monkeypatch.setenv("HIGHWATER_ALERT_URLS", late.url)
            settings.get.cache_clear()
            attempt("extract")
            assert late.titles == [f"over: {AWAY}"]
        monkeypatch.undo()
        settings.get.cache_clear()


class TestReceiversThatFail:
    def test_one_that_answers_500_is_asked_again_with_growing_waits_and_no_data_fails(
        self, hook: Receiver, later: Clock
    ) -> None:
        hook.answer = 500
        attempt("extract", away())
        assert (hook.asked, deliveries()) == (alerts.QUICK_TRIES, [("opened", "pending", 1)])
        attempt("extract")
        assert hook.asked == alerts.QUICK_TRIES, "its next try is not due"
        with warehouse.session("analyst") as cursor:
            assert [row["last_error"] for row in alerts.undelivered(cursor)] == ["answered 500", None]
        later(timedelta(seconds=11))
        alerts.look()
        assert deliveries()[0] == ("opened", "pending", 2)
        later(timedelta(seconds=25))
        alerts.look()
        assert deliveries()[0] == ("opened", "pending", 2), "the second wait is longer"
        hook.answer = 200
        later(timedelta(seconds=32))
        alerts.look()
        assert hook.titles == [AWAY, f"over: {AWAY}"], "in the order in which it happened"

    def test_one_that_hangs_is_left_after_a_while(self, hook: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(alerts, "TIMEOUT", 0.3)
        hook.answer = None
        attempt("extract", away())
        with warehouse.session("analyst") as cursor:
            (waiting,) = alerts.undelivered(cursor)
        assert (waiting["state"], waiting["tries"]) == ("pending", 1)
        assert waiting["last_error"] == "no answer within 0.3 s, or no connection"

    def test_one_that_never_takes_it_is_given_up_and_seen_in_the_status(
        self, hook: Receiver, later: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from highwater.cli.incidents import draw

        monkeypatch.setattr(alerts, "MOST_TRIES", 3)
        hook.answer = 404
        attempt("extract", away())
        for hour in range(1, 6):
            later(timedelta(hours=hour))
            alerts.look()
        assert deliveries()[0] == ("opened", "given up", 3)
        with warehouse.session("analyst") as cursor:
            drawn: Any = draw([], alerts.undelivered(cursor))
            shown = [str(line) for line in drawn.renderables]
        assert f"given up (3 tries, answered 404): {AWAY} (" in shown[0]

    def test_one_that_is_gone_keeps_nothing_from_another(self, hook: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HIGHWATER_ALERT_URLS", f"json://127.0.0.1:1/ {hook.url}")
        settings.get.cache_clear()
        attempt("extract", away())
        attempt("extract")
        assert hook.titles == [AWAY, f"over: {AWAY}"]
        assert sorted(state for _, state, _ in deliveries()) == ["pending", "pending", "sent", "sent"]
        monkeypatch.setenv("HIGHWATER_ALERT_URLS", hook.url)
        settings.get.cache_clear()
        alerts.look()
        assert sorted(state for _, state, _ in deliveries()) == ["sent", "sent", "withdrawn", "withdrawn"]

    def test_a_clock_that_was_put_back_does_not_hold_a_message(self, hook: Receiver, later: Clock) -> None:
        hook.answer = 500
        attempt("extract", away())
        hook.answer = 200
        later(-timedelta(days=365))
        alerts.look()
        assert AWAY in hook.titles

    def test_a_warehouse_that_is_away_is_said_and_nothing_is_raised(
        self, hook: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("HIGHWATER_WAREHOUSE_PORT", "1")
        settings.get.cache_clear()
        alerts.look()
        assert "the next check will do it" in caplog.text


class TestTheCommands:
    def test_the_status_shows_what_is_open_and_what_was_not_delivered(self, hook: Receiver) -> None:
        from highwater.cli.main import app

        hook.answer = 503
        attempt("extract", away())
        shown = CliRunner().invoke(app, ["status"]).output
        assert f"{AWAY} (1 failed attempt)" in shown
        assert "pending (1 tries, answered 503)" in shown
        answer = json.loads(CliRunner().invoke(app, ["status", "--json"]).output)
        assert [incident["title"] for incident in answer["incidents"]] == [AWAY]
        assert [alert["state"] for alert in answer["undelivered_alerts"]] == ["pending"]
        assert "Check that the source is up" in CliRunner().invoke(app, ["incidents", "list"]).output

    def test_an_incident_is_acknowledged_by_name_and_with_a_note(self, hook: Receiver) -> None:
        from highwater.cli.main import app

        attempt("extract", away())
        with warehouse.session("analyst") as cursor:
            number = str(alerts.open_incidents(cursor)[0].incident_id)
        shell = CliRunner()
        nothing_said = shell.invoke(app, ["incidents", "acknowledge", number, "--note", " "])
        assert isinstance(nothing_said.exception, ConfigurationError)
        done = shell.invoke(app, ["incidents", "acknowledge", number, "--note", "on it", "--by", "kim"])
        assert done.output == f"incident {number}: acknowledged by kim\n"
        with warehouse.session("analyst") as cursor:
            assert alerts.open_incidents(cursor)[0].acknowledged_by == "kim"

    @pytest.mark.parametrize("command", ["bootstrap", "init"])
    def test_a_start_with_a_malformed_address_is_refused_and_its_secret_not_shown(
        self, platform: object, command: str
    ) -> None:
        refused = subprocess.run(
            [sys.executable, "-m", "highwater.cli.main", command],
            env={
                **os.environ,
                "PYTHONPATH": str(settings.ROOT),
                "HIGHWATER_ALERT_URLS": "json://fine slack://s3cretword",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert refused.returncode == 2
        assert "HIGHWATER_ALERT_URLS is refused: address 2 of 2 (slack://…)" in refused.stderr
        assert "s3cretword" not in refused.stderr + refused.stdout


class TestFromTheDags:
    def test_a_task_tells_of_what_it_found_and_the_next_run_that_it_is_over(
        self, airflow: Callable[..., Any], hook: Receiver, admin: Cursor
    ) -> None:
        admin.execute("ALTER ROLE legacy_reader NOLOGIN")
        admin.connection.commit()
        try:
            assert str(airflow(DAG, NIGHT).state) == "failed"
        finally:
            admin.execute("ALTER ROLE legacy_reader LOGIN")
            admin.connection.commit()
        assert hook.titles == [AWAY]
        assert str(airflow(DAG, NIGHT).state) == "success"
        assert hook.titles == [AWAY, f"over: {AWAY}"]

    def test_the_watch_looks_when_no_other_task_does(self, airflow: Callable[..., Any], hook: Receiver) -> None:
        with pytest.raises(SourceUnavailable), ledger.attempt("daily_sales", DAY, "extract", run()):
            raise away()
        with warehouse.session("postgres") as cursor:
            cursor.execute("CREATE TABLE archive.version_77 ()")
            cursor.execute(
                "INSERT INTO ops.former_versions (dataset, window_range, version, rows_extracted, rows_published,"
                " rows_quarantined, rows_deduplicated, content_hash, dag_id, run_id, landed_at, table_name, state,"
                " replaced_at) VALUES ('daily_sales', '[2026-10-05,2026-10-06)', 1, 0, 0, 0, 0, '', 'dag', 'run', %s,"
                " 'version_77', 'kept', %s)",
                (NOW, NOW - timedelta(days=7)),
            )
            cursor.execute("ALTER TABLE archive.version_77 OWNER TO publisher")
        assert str(airflow("incident_watch", NOW).state) == "success"
        assert hook.titles == [AWAY]
        with warehouse.session("postgres") as cursor:
            cursor.execute("SELECT to_regclass('archive.version_77'), count(*) FROM ops.former_versions")
            assert tuple(cursor.fetchone() or ()) == (None, 0), "a version whose days are over is gone"

    @pytest.mark.parametrize("dag_id", [DAG, "incremental_data_processing"])
    def test_a_run_whose_tasks_were_all_killed_looks_by_its_callback(self, airflow: object, dag_id: str) -> None:
        from airflow.dag_processing.dagbag import DagBag

        dag = DagBag(dag_folder=settings.ROOT / f"dags/{dag_id}.py").dags[dag_id]
        assert dag.on_failure_callback is alerts.on_failure
