"""Back after an outage: the backlog by the ledger, what is lost, how far it is, whether it is whole, the alerts."""

from __future__ import annotations

import json
import runpy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from batches import DATASETS, FIRST, RECOVERED, STEP, land, window
from batches import stage as stage_batch
from loading import change_set, known_source, partition
from receiver import Receiver
from typer.testing import CliRunner

from highwater.cli.main import app
from highwater.environment import settings
from highwater.incidents import alerts
from highwater.model import clock
from highwater.model.errors import AuditFailed, IntegrityBroken, Unhealthy
from highwater.recovery import backlog as recovery_backlog
from highwater.recovery.backlog import Loaded
from highwater.sources import health
from highwater.store import ledger, publish, rollback, warehouse
from highwater.store import links as sources_links
from highwater.store.ledger import Run
from simulation import batches, drills

pytestmark = pytest.mark.usefixtures("empty_warehouse", "batches_restored")
RUN = Run("system_recovery_processing", "run r")
DUE = 13
"""Windows of each dataset that are due at noon of the anchor."""
BEGIN = "UPDATE control.datasets SET first_window = '{}' WHERE dag_id = 'system_recovery_processing'"
Clock = Callable[[timedelta], None]


@pytest.fixture
def batches_restored(platform: Path) -> Iterator[None]:
    """The batches at the sources are as bootstrap made them again once the test is done with them."""
    yield
    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        cursor.execute("TRUNCATE billing.payments, billing.closed_batches, web.page_views, web.closed_batches")
    batches.advance(clock.now())


@pytest.fixture
def short(platform: Path) -> Iterator[None]:
    """Three windows of each are due, 10 to 12, so that a test need not land all."""
    change(BEGIN.format("2026-10-30 12:00+00"))
    yield
    change(BEGIN.format("2026-10-28 00:00+00"))


def backlog(dataset: str = "payments", most: int = 99, **asked: Any) -> list[int]:
    """The numbers of the windows that are to land."""
    with warehouse.session("loader") as cursor:
        found = recovery_backlog.backlog(cursor, dataset, most, **asked)
    return [int((each.start - FIRST) / STEP) for each in found]


def land_all(*numbers: int, datasets: Sequence[str] = tuple(DATASETS)) -> None:
    for dataset in datasets:
        for number in numbers:
            land(dataset, window(number))


def rows(query: str) -> list[tuple[Any, ...]]:
    with warehouse.session("analyst") as cursor:
        cursor.execute(query)
        return [tuple(row) for row in cursor.fetchall()]


def change(statement: str, role: str = "postgres", database: str = "warehouse") -> None:
    with warehouse.session(role, getattr(settings.get(), f"{database}_database")) as cursor:
        cursor.execute(statement)


class TestBacklog:
    def test_holes_of_any_shape_are_found_in_the_order_asked_for(self) -> None:
        land_all(0, 3, 4, 9, 12, datasets=["page_views"])
        left = [1, 2, 5, 6, 7, 8, 10, 11]
        assert backlog("page_views") == left
        assert backlog("page_views", newest=True) == left[::-1]
        assert backlog("page_views", 3) == left[:3]
        assert backlog("page_views", 2, newest=True) == [11, 10]

    def test_what_is_refused_waits_for_a_person_who_asks_for_it_by_its_own_run(self) -> None:
        with pytest.raises(AuditFailed), ledger.attempt("payments", window(5), "audit", RUN):
            raise AuditFailed("x")
        assert backlog() == [n for n in range(DUE) if n != 5]
        assert backlog(own=window(5).start + timedelta(minutes=15)) == list(range(DUE))

    def test_what_was_away_or_killed_stays_in_it(self) -> None:
        with pytest.raises(OSError), ledger.attempt("payments", window(5), "extract", RUN):
            raise OSError("gone")
        assert backlog() == list(range(DUE))

    def test_a_window_that_is_not_due_is_no_part_of_it(self, later: Clock) -> None:
        assert max(backlog()) == DUE - 1
        later(timedelta(minutes=15))
        assert max(backlog()) == DUE


class TestLost:
    def test_what_the_source_no_longer_keeps_is_recorded_reported_and_waits_for_a_person(
        self, short: None, hook: Receiver
    ) -> None:
        change("DELETE FROM billing.closed_batches WHERE batch_start < '2026-10-31'", "simulator", "sources")
        with warehouse.session("billing_reader", settings.get().sources_database) as source:
            kept = recovery_backlog.give_up_lost(source, RECOVERED[0].pipeline, [window(n) for n in (10, 11, 12)], RUN)
        assert kept == [window(12)]
        assert (
            rows("SELECT rule, reason FROM ops.skipped_windows")
            == [("lost", "the source keeps nothing before 2026-10-31 00:00 UTC")] * 2
        )
        assert backlog() == [12]
        land_all(12, datasets=["payments"])
        land_all(10, 11, 12, datasets=["page_views"])
        with warehouse.session("analyst") as cursor:
            (left,) = alerts.open_incidents(cursor)
        assert left.title == "payments: data lost since 2026-10-30 12:00 UTC"
        alerts.acknowledge(left.incident_id, "kim", "asked the provider for a dump")
        alerts.look()
        assert rows("SELECT count(*) FROM ops.incidents WHERE closed_at IS NULL") == [(0,)]
        assert hook.titles.count(f"over: {left.title}") == hook.titles.count(left.title) == 1

    def test_a_source_that_is_empty_has_lost_nothing(self) -> None:
        change("TRUNCATE web.closed_batches", "simulator", "sources")
        with warehouse.session("web_reader", settings.get().sources_database) as source:
            assert recovery_backlog.give_up_lost(source, RECOVERED[1].pipeline, [window(0)], RUN) == [window(0)]


FOUND = "system_recovery_processing: outage found since 2026-10-30 12:00 UTC"


def outages(hook: Receiver) -> list[str]:
    """The alerts about outages alone."""
    return [title for title in hook.titles if "outage" in title]


@pytest.mark.usefixtures("short")
class TestOutages:
    def test_one_is_reported_when_found_and_when_the_last_window_is_back(self, hook: Receiver) -> None:
        alerts.look()
        land_all(10, 11, 12, datasets=["payments"])
        land_all(10, 11, datasets=["page_views"])
        assert hook.titles == [FOUND]
        land_all(12, datasets=["page_views"])
        assert hook.titles == [FOUND, f"over: {FOUND}"]

    def test_two_missing_windows_are_no_outage(self, hook: Receiver) -> None:
        change(BEGIN.format("2026-10-30 18:00+00"))
        alerts.look()
        assert hook.titles == []
        assert rows("SELECT windows FROM ops.gaps WHERE dataset = 'payments'") == [(2,)]

    def test_how_far_it_is_counts_what_is_back_of_what_was_missing(self, later: Clock) -> None:
        alerts.look()
        land_all(10, 11, datasets=["payments"])
        later(timedelta(minutes=10))
        with warehouse.session("analyst") as cursor:
            now = recovery_backlog.progress(cursor)
        assert now is not None
        assert (now.critical_done, now.critical_total) == (2, 3)
        assert (now.non_critical_done, now.non_critical_total) == (0, 3)
        assert (now.outage_from, now.outage_to) == (window(10).start, window(12).end)
        assert (now.attempts, now.failures, now.lost) == (2, 0, 0)
        assert (now.at_least, now.at_most) == (None, None)
        assert "critical 2/3, non-critical 0/3, too few landed to estimate the rest; 2 attempts" in str(now)

    def test_its_attempts_are_no_stages(self) -> None:
        alerts.look()
        with pytest.raises(OSError), ledger.attempt("payments", window(10), "extract", RUN):
            raise OSError("gone")
        for stage in ("extract", "transform", "audit", "load", "summarise"):
            with ledger.attempt("payments", window(10), stage, RUN):
                pass
        with warehouse.session("analyst") as cursor:
            now = recovery_backlog.progress(cursor)
        assert now is not None
        assert (now.attempts, now.failures) == (2, 1)

    def test_a_second_outage_during_the_recovery_is_the_same_incident(self, hook: Receiver, later: Clock) -> None:
        alerts.look()
        land_all(10, 11)
        later(timedelta(hours=5, minutes=20))
        batches.advance(clock.now())
        land_all(12)
        assert outages(hook) == [FOUND], "a window became due meanwhile"
        land_all(13)
        assert outages(hook) == [FOUND, f"over: {FOUND}"]
        assert rows("SELECT critical_done, critical_total, non_critical_done FROM ops.recovery_progress") == [(4, 4, 4)]

    def test_one_that_is_over_keeps_what_it_came_to(self, hook: Receiver, later: Clock) -> None:
        alerts.look()
        land_all(10, 11, 12)
        before = rows("SELECT * FROM ops.recovery_progress")
        with warehouse.session("analyst") as cursor:
            said = str(recovery_backlog.progress(cursor))
        assert "critical 3/3, non-critical 3/3" in said and "recovered at 2026-10-31 12:00:00, counted then" in said
        shell = CliRunner()
        assert said in shell.invoke(app, ["status"]).output.replace("\n", " ")
        (recovery,) = json.loads(shell.invoke(app, ["status", "--json"]).output)["recoveries"]
        assert recovery["recovered_at"] is not None
        assert (recovery["critical_done"], recovery["non_critical_total"]) == (3, 3)
        later(timedelta(minutes=30))
        drills.forget_since(window(11).start)
        change("DELETE FROM ops.attempts")
        # The second outage is another row; the first is as it was.
        assert rows("SELECT * FROM ops.recovery_progress ORDER BY incident_id")[:1] == before
        assert rows(
            "SELECT (ops.count_recovery(i)).critical_done FROM ops.incidents AS i ORDER BY i.incident_id LIMIT 1"
        ) == [(1,)]

    def test_a_first_start_is_no_outage_and_what_is_lost_later_is_one(self, hook: Receiver, later: Clock) -> None:
        change(
            "INSERT INTO ops.first_loads (dataset, known_since, history_until)"
            " SELECT d.dataset, ops.clock(), control.due_until(d, ops.clock()) FROM control.datasets AS d"
            " WHERE d.dag_id = 'system_recovery_processing'"
        )
        alerts.look()
        land_all(10, 11)
        shell = CliRunner()
        assert "no incident  system_recovery_processing: first load of history since" in (
            " ".join(shell.invoke(app, ["incidents", "list"]).output.split("\n"))
        )
        assert "first load of history 2026-10-30 12:00 to 2026-10-31 06:00: critical 2/3" in (
            " ".join(shell.invoke(app, ["recovery"]).output.split())
        )
        land_all(12)
        with warehouse.session("analyst") as cursor:
            assert alerts.open_incidents(cursor) == []
            said = str(recovery_backlog.progress(cursor))
        assert "first load of history" in said and "loaded at 2026-10-31 12:00:00, counted then" in said
        assert (hook.titles, rows("SELECT kind FROM ops.incidents")) == ([], [("first load of history",)])
        later(timedelta(minutes=30))
        drills.forget_since(window(10).start)
        assert outages(hook) == [FOUND]
        assert rows("SELECT count(*) FROM ops.first_loads WHERE loaded_at IS NULL") == [(0,)]

    def test_what_becomes_due_during_the_first_load_and_stays_away_is_an_outage(
        self, hook: Receiver, later: Clock
    ) -> None:
        change(
            "INSERT INTO ops.first_loads (dataset, known_since, history_until)"
            " SELECT d.dataset, ops.clock(), control.due_until(d, ops.clock()) FROM control.datasets AS d"
            " WHERE d.dag_id = 'system_recovery_processing'"
        )
        later(timedelta(hours=18))
        alerts.look()
        assert outages(hook) == ["system_recovery_processing: outage found since 2026-10-31 06:00 UTC"]
        assert rows("SELECT kind FROM ops.incidents WHERE subject LIKE 'system%' ORDER BY 1") == [
            ("first load of history",), ("outage found",)
        ]  # fmt: skip

    def test_a_backlog_that_grows_is_reported(self, hook: Receiver, later: Clock) -> None:
        alerts.look()
        later(timedelta(hours=11))
        alerts.look()
        assert not [title for title in hook.titles if "growing" in title]
        later(timedelta(hours=13))
        alerts.look()
        alerts.look()
        assert sorted(title for title in hook.titles if "growing" in title) == [
            f"{dataset}: backlog growing since 2026-10-30 12:00 UTC" for dataset in ("page_views", "payments")
        ]


def check(*numbers: int) -> None:
    """Compare these windows with their sources."""
    windows = [window(n) for n in numbers]
    with ExitStack() as stack:
        links = [
            stack.enter_context(
                closing(warehouse.connect(f"{each.pipeline.connection}_reader", settings.get().sources_database))
            )
            for each in RECOVERED
        ]
        loaded = [
            Loaded(each, stack.enter_context(link.cursor()), windows)
            for each, link in zip(RECOVERED, links, strict=True)
        ]
        recovery_backlog.check_integrity(loaded, stack.enter_context(warehouse.session("loader")), RUN)


BROKEN = {
    "a cent": (
        "UPDATE sales.payments SET amount = amount + 0.01"
        " WHERE payment_id IN (SELECT min(payment_id) FROM sales.payments)",
        "payments, equal to the source: 2026-10-28T00:00/2026-10-28T06:00 has 7 payments",
    ),
    "a payment": (
        "DELETE FROM sales.payments WHERE payment_id IN (SELECT max(payment_id) FROM sales.payments)",
        "payments, equal to the source: 2026-10-28T12:00/2026-10-28T18:00 has 6 payments",
    ),
    "an order": (
        "INSERT INTO sales.orders VALUES (6000, 1, 'paid', 1, 'EUR', now(), now())",
        "payments, orders are there: 21 payments refer to rows",
    ),
    "a hole": (
        "DELETE FROM quarantine.rejected_rows WHERE dataset = 'page_views';"
        "DELETE FROM ops.window_ledger"
        " WHERE window_range @> '2026-10-28 07:00+00'::timestamptz AND dataset = 'page_views'",
        "page_views, windows without gap or overlap: 1 gaps, the first at 2026-10-28 06:00",
    ),
    "views": (
        "DELETE FROM sales.page_views WHERE view_id IN (SELECT view_id FROM sales.page_views ORDER BY 1 LIMIT 1)",
        "page_views, within tolerance of the source: 2026-10-28T00:00/2026-10-28T06:00 has 98 page_views,"
        " its source 99 page_views",
    ),
}


class TestIntegrity:
    @pytest.mark.parametrize("what", BROKEN)
    def test_what_differs_is_named_and_an_incident_until_it_is_fixed(self, what: str, hook: Receiver) -> None:
        statement, said = BROKEN[what]
        land_all(0, 1, 2)
        check(0, 1, 2)
        change(statement)
        with pytest.raises(IntegrityBroken) as broken:
            check(0, 1, 2)
        assert said in str(broken.value)
        alerts.look()
        dataset = said.split(",")[0]
        open_now = "SELECT subject FROM ops.incidents WHERE kind = 'integrity broken' AND closed_at IS NULL"
        assert rows(open_now) == [(dataset,)]
        check_again = f"UPDATE ops.integrity_checks SET verdict = 'passed' WHERE check_id = ({_newest(dataset)})"
        change(check_again)
        alerts.look()
        assert rows(open_now) == []

    def test_what_is_whole_passes(self) -> None:
        land_all(0, 1, 2)
        change(
            "INSERT INTO sales.orders SELECT n, 1, 'paid', 1, 'EUR', now(), now() FROM generate_series(1, 5000) AS n"
        )
        check(0, 1, 2)
        assert rows("SELECT DISTINCT verdict FROM ops.integrity_checks") == [("passed",)]
        assert rows("SELECT count(*) FROM ops.integrity_checks") == [(5,)]


def _newest(dataset: str) -> str:
    return f"SELECT max(check_id) FROM ops.integrity_checks WHERE verdict = 'failed' AND dataset = '{dataset}'"


class TestHealth:
    @pytest.fixture(autouse=True)
    def known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A source is a login of the simulation, as its connection in Airflow has it."""
        monkeypatch.setattr(sources_links, "of_airflow", known_source)

    def test_all_is_well_with_a_row_a_check(self) -> None:
        health.check("run", ["billing", "web"])
        names = ["warehouse writable", "free disk", "locks", "replication", "ledger", "source billing", "source web"]
        assert rows("SELECT check_name, verdict FROM ops.health_checks ORDER BY check_id") == [
            (name, "well") for name in names
        ]

    def test_each_thing_that_is_not_well_is_named(self, monkeypatch: pytest.MonkeyPatch, hook: Receiver) -> None:
        land_all(0, datasets=["payments"])
        change(f"DROP TABLE {partition('payments', window(0))}")
        monkeypatch.setattr(health, "MIN_FREE", 2**62)
        change("ALTER ROLE web_reader NOLOGIN")
        try:
            with pytest.raises(Unhealthy) as unwell:
                health.check("run", ["billing", "web"])
        finally:
            change("ALTER ROLE web_reader LOGIN")
        said = str(unwell.value)
        assert "ledger" not in said, "it is reported, and holds nothing up"
        detail = "SELECT detail FROM ops.health_checks WHERE check_name = 'ledger' AND verdict = 'unwell'"
        assert rows(detail) == [("payments has 1 landed windows and 0 partitions",)]
        assert "MiB are free in" in said
        assert "source web: source 'web' is unavailable" in said and "not permitted to log in" in said
        assert "billing" not in said
        alerts.look()
        assert {
            ("source unavailable", "web"),
            ("platform unhealthy", "ledger"),
            ("platform unhealthy", "free disk"),
        } <= set(rows("SELECT kind, subject FROM ops.incidents"))
        monkeypatch.undo()

    def test_one_that_hangs_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        never = threading.Event()
        monkeypatch.setattr(health, "TIMEOUT", 0.3)
        monkeypatch.setattr(health, "_locked", lambda: str(never.wait(30)))
        with pytest.raises(Unhealthy, match=r"locks: no answer within 0\.3 s"):
            health.check("run", [])
        never.set()


class TestTheCommands:
    def test_an_outage_is_staged_and_found(self, short: None, hook: Receiver) -> None:
        land_all(10, 11, 12)
        hook.taken.clear()
        shell = CliRunner()
        done = shell.invoke(app, ["drill", "forget", "--hours", "24", "--yes"])
        assert "6 windows are missing" in done.output, done.output
        assert hook.titles == ["system_recovery_processing: outage found since 2026-10-30 12:00 UTC"]
        found = json.loads(shell.invoke(app, ["recovery", "--json"]).output)
        assert (found["critical_done"], found["critical_total"], found["non_critical_total"]) == (0, 3, 3)
        assert backlog() == [10, 11, 12]


DAG = "system_recovery_processing"
RunDag = Callable[[str, datetime], Any]


@pytest.mark.usefixtures("short")
class TestTheDag:
    """Real tasks, one after the other, each run by `dag.test`."""

    def test_it_declares_the_pipelines_and_checks_that_the_tests_above_use(self, airflow: RunDag) -> None:
        assert runpy.run_path(str(settings.ROOT / "dags/system_recovery_processing.py"))["RECOVERED"] == RECOVERED

    def test_all_of_the_backlog_lands_payments_first_and_the_next_run_finds_nothing(self, airflow: RunDag) -> None:
        land_all(11, datasets=["payments"])
        land_all(10, 12, datasets=["page_views"])
        change("DELETE FROM ops.attempts")
        run = airflow(DAG, FIRST + timedelta(minutes=15))
        assert str(run.state) == "success"
        loads = rows("SELECT dataset, window_range FROM ops.attempts WHERE stage = 'load' ORDER BY attempt_id")
        order = [(dataset, int((r.lower - FIRST) / STEP)) for dataset, r in loads]
        assert sorted(order[:2]) == [("payments", 10), ("payments", 12)], "`dag.test` runs mapped tasks in any order"
        assert order[2:] == [("page_views", 11)]
        critical = [ti for ti in run.get_task_instances() if ti.task_id == "process_critical"]
        mapped = {ti.map_index: ti.rendered_map_index for ti in critical}
        assert mapped == {0: str(window(10)), 1: str(window(12))}, "oldest first: a scheduler goes by the map"
        assert rows("SELECT count(*) FROM ops.gaps WHERE dataset IN ('payments', 'page_views')") == [(0,)]
        assert rows("SELECT count(*) FROM pg_tables WHERE schemaname = 'staging'") == [(0,)]
        assert rows("SELECT DISTINCT verdict FROM ops.integrity_checks") == [("passed",)]
        assert str(airflow(DAG, FIRST + timedelta(hours=6, minutes=15)).state) == "success"
        assert rows("SELECT count(*) FROM ops.attempts WHERE stage = 'load'") == [(3,)]
        checks = "SELECT count(DISTINCT run_id) FROM ops.health_checks"
        assert rows(checks) == [(1,)], "a later run is due, which will look"
        assert str(airflow(DAG, clock.now() - timedelta(hours=5, minutes=45)).state) == "success"
        assert rows(checks) == [(2,)], "the newest looks, though there is nothing to do"

    def test_a_run_by_hand_for_a_window_that_is_held_fails_and_says_who_holds_it(self, airflow: RunDag) -> None:
        land_all(10, 11, 12)
        staged = stage_batch("payments", window(11))
        change_set(staged, "SET amount = amount + 1")
        publish.publish_window("payments", window(11), staged, RUN)
        rollback.carry_out(rollback.plan("payments", "2026-10-30T18:00"), "ada", "billing counted twice")
        change("DELETE FROM ops.attempts")
        for missing in ([], [12]):
            with warehouse.session("postgres") as cursor:
                for number in missing:
                    (gone,) = drills.landed(cursor, "page_views", window(number).start)
                    drills.forget_window(cursor, "page_views", gone)
            run = airflow(DAG, window(11).start + timedelta(minutes=15))
            states = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
            assert str(run.state) == "failed", states
            assert states["notify" if missing else "check_health"] == "failed"
        assert rows("SELECT DISTINCT dataset FROM ops.attempts WHERE stage = 'load'") == [("page_views",)], (
            "all the same"
        )
        assert str(airflow(DAG, window(10).start + timedelta(minutes=15)).state) == "success"

    def test_page_views_wait_while_a_payment_is_to_land(self, airflow: RunDag) -> None:
        """Its batch is not closed: the window is due, and this run could not load it."""
        land_all(10, 11)
        late = "UPDATE billing.closed_batches SET closed_at = '2027-01-01' WHERE batch_start = '2026-10-31'"
        change(late, "simulator", "sources")
        assert str(airflow(DAG, FIRST + timedelta(minutes=15)).state) == "failed"
        assert (backlog(), backlog("page_views")) == ([12], [12])

    def test_a_refused_payment_holds_up_nobody_and_fails_the_run(self, airflow: RunDag, hook: Receiver) -> None:
        land_all(10, 11)
        change("UPDATE billing.payments SET method = 'barter' WHERE batch_start = '2026-10-31'", "simulator", "sources")
        assert str(airflow(DAG, FIRST + timedelta(minutes=15)).state) == "failed"
        assert (backlog(), backlog("page_views")) == ([], [])
        assert "payments: audit failed since 2026-10-31 12:00 UTC" in hook.titles
        assert rows("SELECT count(*) FROM ops.window_ledger WHERE dataset = 'payments'") == [(2,)]

    def test_a_partition_that_is_gone_is_reported_and_blocks_no_recovery(self, airflow: RunDag, hook: Receiver) -> None:
        land_all(10, 11)
        change(f"DROP TABLE {partition('payments', window(10))}")
        assert str(airflow(DAG, FIRST + timedelta(minutes=15)).state) == "success"
        assert (backlog(), backlog("page_views")) == ([], [])
        assert "ledger: platform unhealthy since 2026-10-31 12:00 UTC" in hook.titles
        land("payments", window(10))
        health.check("run", [])
        alerts.look()
        assert "over: ledger: platform unhealthy since 2026-10-31 12:00 UTC" in hook.titles

    def test_nothing_is_loaded_while_something_is_unwell(self, airflow: RunDag, hook: Receiver) -> None:
        change("ALTER ROLE billing_reader NOLOGIN")
        try:
            assert str(airflow(DAG, FIRST + timedelta(minutes=15)).state) == "failed"
        finally:
            change("ALTER ROLE billing_reader LOGIN")
        assert rows("SELECT count(*) FROM ops.attempts") == [(0,)]
        assert "billing: source unavailable since 2026-10-31 12:00 UTC" in hook.titles

    def test_a_source_that_goes_away_behind_the_health_checks_is_reported_and_waited_for(
        self, airflow: RunDag, hook: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        land_all(10, 11)
        check = health.check

        def check_and_go(run_id: str, connections: list[str]) -> list[health.Verdict]:
            verdicts = check(run_id, connections)
            change("ALTER ROLE web_reader NOLOGIN")
            return verdicts

        with monkeypatch.context() as world:
            world.setattr(health, "check", check_and_go)
            try:
                assert str(airflow(DAG, FIRST + timedelta(minutes=15)).state) == "failed"
            finally:
                change("ALTER ROLE web_reader LOGIN")
        assert (backlog(), backlog("page_views")) == ([], [12])
        away = "web: source unavailable since 2026-10-31 12:00 UTC"
        assert hook.titles.count(away) == 1 and f"over: {away}" not in hook.titles
        assert str(airflow(DAG, FIRST + timedelta(hours=6, minutes=15)).state) == "success"
        assert hook.titles.count(f"over: {away}") == 1
        assert backlog("page_views") == []


def test_how_long_the_rest_takes_leaves_out_when_nothing_was_loaded(later: Clock) -> None:
    alerts.look()
    for number in range(4):
        later(timedelta(minutes=10 * (number + 1)))
        land_all(number, datasets=["payments"])
    change("UPDATE ops.attempts SET started_at = ended_at - interval '10 minutes'")
    said = []
    for minutes in (40, 400):
        later(timedelta(minutes=minutes))
        with warehouse.session("analyst") as cursor:
            now = recovery_backlog.progress(cursor)
        assert now is not None and now.at_least is not None and now.at_most is not None
        assert float(now.windows_per_minute or 0) == 0.1
        assert now.at_least <= timedelta(minutes=10) * (2 * DUE - 4) <= now.at_most
        said.append(str(now))
    assert all("0.10 windows a minute" in line for line in said)
    assert "2-6 h left" in said[0]
