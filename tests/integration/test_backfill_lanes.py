"""How the windows of a backfill are loaded: by lanes that may be killed, paused, stopped and begun again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from loading import day, known_source, land

from highwater.backfill import lanes, requests
from highwater.backfill.requests import Request
from highwater.environment import settings
from highwater.incidents import alerts
from highwater.loading.stages import Pipeline
from highwater.model.errors import ConfigurationError, NotOver
from highwater.quality import suites
from highwater.store import links, warehouse
from highwater.store.ledger import Run

pytestmark = pytest.mark.usefixtures("no_backfills")
DATASET = "daily_sales"
SALES = Pipeline(DATASET, "historical_sales_migration", "legacy", "daily_sales")
RunDag = Callable[..., Any]


@pytest.fixture
def no_backfills(empty_warehouse: None) -> Iterator[None]:
    """Nobody has asked for anything yet; so it is again at the end."""
    change("TRUNCATE control.backfills CASCADE")
    yield
    change("TRUNCATE control.backfills CASCADE")


@pytest.fixture
def known(platform: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source is a login of the simulation, as its connection in Airflow has it; pauses are short."""
    monkeypatch.setattr(links, "of_airflow", known_source)
    monkeypatch.setattr(lanes, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(lanes, "TURN", 0.01)


def change(statement: str, *values: Any, role: str = "postgres", database: str = "warehouse") -> None:
    with warehouse.session(role, getattr(settings.get(), f"{database}_database")) as cursor:
        cursor.execute(statement, values)


def spoil(till: int) -> None:
    """Give the second of October a till that the audit refuses, 99, or one that it takes."""
    change(
        "UPDATE legacy.sales SET till_no = %s WHERE business_date = '2026-10-02'",
        till,
        role="simulator",
        database="sources",
    )


def rows(query: str, *values: Any) -> list[tuple[Any, ...]]:
    with warehouse.session("analyst") as cursor:
        cursor.execute(query, values)
        return [tuple(row) for row in cursor.fetchall()]


def ask(first: int, last: int, **asked: Any) -> int:
    """Ask for days of October, the last included."""
    start = datetime(2026, 10, first, tzinfo=UTC)
    end = datetime(2026, 10, last, tzinfo=UTC) + timedelta(days=1)
    values = {"dataset": DATASET, "reason": "a test", "requested_by": "someone"} | asked
    with warehouse.session("operator") as cursor:
        return requests.request(cursor, Request(from_time=start, to_time=end, **values))


def begin(number: int, run_id: str = "run 1") -> Run:
    with warehouse.session("loader") as cursor:
        cursor.execute("SELECT control.begin_backfill(%s, %s)", (number, run_id))
    return Run(requests.DAG, run_id)


def end(number: int, run: Run) -> None:
    with warehouse.session("loader") as cursor:
        cursor.execute("SELECT control.end_backfill(%s, %s)", (number, run.run_id))


def now(number: int) -> dict[str, Any]:
    with warehouse.session("analyst") as cursor:
        return requests.progress(cursor, number)


def states(number: int) -> list[str]:
    with warehouse.session("analyst") as cursor:
        return [window["state"] for window in requests.windows(cursor, number)]


def verb(what: str, number: int) -> None:
    with warehouse.session("operator") as cursor:
        requests.change(cursor, what, number, "someone")


class Lane:
    """A lane's connection: it takes windows, says what became of them, and may die."""

    def __init__(self, number: int, run: Run) -> None:
        self.link = warehouse.connect("loader")
        self.link.autocommit = True
        self.number, self.run = number, run
        self.window_no: int | None = None
        self.window_range: Any = None

    def take(self) -> tuple[str, int | None]:
        """The verdict, and the day of the window."""
        with self.link.cursor() as cursor:
            cursor.execute("SELECT * FROM control.next_backfill_window(%s, %s)", (self.number, self.run.run_id))
            turn = warehouse.fetch(cursor)
        self.window_no, self.why = turn.window_no or self.window_no, turn.why
        self.window_range = turn.window_range or self.window_range
        return turn.verdict, turn.window_range and turn.window_range.lower.day

    def say(self, state: str, error: str | None = None) -> None:
        """What became of the window taken last; one that is to have landed lands first."""
        version = None
        if state == "landed":
            version = land(day(self.window_range.lower.date().isoformat())).version
        with self.link.cursor() as cursor:
            cursor.execute(
                "SELECT control.end_backfill_window(%s, %s, %s, %s)", (self.window_no, state, version, error)
            )

    def die(self) -> None:
        """As kill -9 would."""
        self.link.close()


class TestLanes:
    def test_no_window_is_in_two_lanes_and_no_more_are_in_work_than_may_be(self) -> None:
        number = ask(1, 5, max_active=2)
        run = begin(number)
        one, two, three = (Lane(number, run) for _ in range(3))
        assert [one.take(), two.take(), three.take()] == [("take", 1), ("take", 2), ("wait", None)]
        one.say("landed")
        assert three.take() == ("take", 3)
        assert states(number) == ["landed", "running", "running", "planned", "planned"]
        for lane in (one, two, three):
            lane.die()

    def test_the_window_of_a_lane_that_died_is_taken_again_before_the_next(self) -> None:
        number = ask(1, 3)
        run = begin(number)
        one, two = Lane(number, run), Lane(number, run)
        assert [one.take(), two.take()] == [("take", 1), ("take", 2)]
        one.die()
        three = Lane(number, run)
        assert three.take() == ("take", 1)
        two.die()
        three.die()

    def test_one_that_died_after_it_had_published_is_not_loaded_twice(self) -> None:
        number = ask(1, 2)
        run = begin(number)
        one = Lane(number, run)
        assert one.take() == ("take", 1)
        land(day("2026-10-01"))
        change("UPDATE ops.window_ledger SET run_id = %s, dag_id = %s", run.run_id, run.dag_id)
        one.die()
        two = Lane(number, run)
        assert two.take() == ("take", 2)
        assert states(number) == ["landed", "running"]
        two.die()

    def test_what_landed_meanwhile_is_skipped_with_its_reason_unless_all_was_asked_for(self) -> None:
        for which, taken, state in (("missing", 2, "skipped"), ("all", 1, "running")):
            change("TRUNCATE control.backfills CASCADE")
            change("DELETE FROM quarantine.rejected_rows; DELETE FROM ops.window_ledger")
            number = ask(1, 2, which=which)
            land(day("2026-10-01"), by=which)
            lane = Lane(number, begin(number))
            assert lane.take() == ("take", taken)
            assert states(number)[0] == state
            lane.die()

    def test_a_pause_a_cancel_and_another_run_end_the_lanes_and_windows_in_work_finish(self) -> None:
        number = ask(1, 4, max_active=3)
        run = begin(number)
        one, two = Lane(number, run), Lane(number, run)
        one.take()
        verb("pause", number)
        assert (two.take(), two.why) == (("end", None), "it is paused")
        one.say("landed")
        verb("resume", number)
        again = begin(number, "run 2")
        assert (one.take(), one.why) == (("end", None), "run 2 has begun it")
        three = Lane(number, again)
        assert three.take() == ("take", 2)
        verb("cancel", number)
        assert (three.take(), three.why) == (("end", None), "it is cancelled")
        three.say("landed")
        end(number, again)
        assert states(number) == ["landed", "landed", "cancelled", "cancelled"]
        assert now(number)["state"] == "cancelled"
        for lane in (one, two, three):
            lane.die()

    def test_a_cancelled_backfill_leaves_no_window_of_a_lane_that_died_running(self) -> None:
        number = ask(1, 3)
        lane = Lane(number, begin(number))
        lane.take()
        lane.die()
        verb("cancel", number)
        assert states(number) == ["cancelled"] * 3

    def test_a_condition_that_does_not_hold_pauses_it_until_it_does(self) -> None:
        change("INSERT INTO control.conditions (condition, description) VALUES ('a_test', 'of a test')")
        try:
            change("UPDATE control.catchup_policies SET conditions = '{a_test}' WHERE dataset = 'daily_sales'")
            change(
                "INSERT INTO control.condition_states (condition, dataset, holds, since)"
                " VALUES ('a_test', 'daily_sales', FALSE, ops.clock())"
            )
            number = ask(1, 3)
            lane = Lane(number, begin(number))
            assert lane.take() == ("end", None)
            assert now(number)["state"] == "paused"
            assert "condition a_test does not hold since" in now(number)["note"]
            with warehouse.session("loader") as cursor:
                assert requests.waiting(cursor) == []
            change("UPDATE control.condition_states SET holds = TRUE WHERE condition = 'a_test'")
            with warehouse.session("loader") as cursor:
                ((run_id, conf),) = requests.waiting(cursor)
            assert (run_id, conf["backfill_id"]) == (f"backfill_{number}_2", number)
            assert Lane(number, begin(number, run_id)).take() == ("take", 1)
        finally:
            change("UPDATE control.catchup_policies SET conditions = '{}' WHERE dataset = 'daily_sales'")
            change("DELETE FROM control.conditions WHERE condition = 'a_test'")

    def test_catch_up_that_is_off_pauses_what_the_policy_asked_for_and_not_what_a_person_did(self) -> None:
        change("UPDATE control.catchup_policies SET enabled = FALSE WHERE dataset = 'daily_sales'")
        try:
            mine, policys = ask(1, 3), ask(4, 6, via="policy")
            assert Lane(mine, begin(mine)).take() == ("take", 1)
            assert Lane(policys, begin(policys)).take() == ("end", None)
            assert now(policys)["state"] == "paused"
        finally:
            change("UPDATE control.catchup_policies SET enabled = TRUE WHERE dataset = 'daily_sales'")
        with warehouse.session("loader") as cursor:
            assert [conf["backfill_id"] for _, conf in requests.waiting(cursor)] == [policys]

    def test_lanes_that_all_died_leave_it_stopped_with_the_way_on(self) -> None:
        number = ask(1, 3)
        run = begin(number)
        lane = Lane(number, run)
        lane.take()
        lane.die()
        end(number, run)
        assert (now(number)["state"], states(number)) == ("stopped", ["planned"] * 3)
        assert f"highwater backfill resume {number}" in now(number)["note"]


@pytest.mark.usefixtures("known")
class TestLoading:
    def test_a_lane_loads_all_of_them_and_one_that_fails_does_not_end_it(self) -> None:
        spoil(99)
        try:
            number = ask(1, 3)
            run = begin(number)
            assert lanes.work(number, SALES, run)
            end(number, run)
            assert states(number) == ["landed", "failed", "landed"]
            assert now(number)["state"] == "failed"
            landed = rows("SELECT extract(DAY FROM lower(window_range))::int, run_id FROM ops.window_ledger ORDER BY 1")
            assert landed == [(1, "run 1"), (3, "run 1")]
            ((state, reason),) = rows(
                "SELECT state, reason FROM ops.window_status"
                " WHERE dataset = 'daily_sales' AND window_start = '2026-10-02'"
            )
            assert state == "failed" and "expect_column_values_to_be_between" in reason
        finally:
            spoil(1)
        verb("resume", number)
        again = begin(number, "run 2")
        assert lanes.work(number, SALES, again)
        end(number, again)
        assert (now(number)["state"], states(number)) == ("done", ["landed"] * 3)

    @pytest.mark.parametrize("broken", ["a column that is not there", "no JSON", "no file"])
    def test_a_broken_suite_is_named_by_the_windows_their_attempts_and_the_breaker(
        self, broken: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        folder = Path(shutil.copytree(suites.FOLDER, tmp_path / suites.FOLDER.name))
        suite = folder / "daily_sales.json"
        match broken:
            case "no file":
                suite.unlink()
            case "no JSON":
                suite.write_text("{")
            case _:
                suite.write_text(suite.read_text().replace('"column": "', '"column": "not_', 1))
        monkeypatch.setattr(suites, "FOLDER", folder)
        number = ask(1, 5, max_active=1)
        run = begin(number)
        assert lanes.work(number, SALES, run)
        end(number, run)
        assert states(number) == ["failed"] * 3 + ["planned"] * 2
        ((note,),) = rows("SELECT note FROM control.backfills")
        assert "expectations/daily_sales.json" in note and note.startswith("paused: daily_sales is stopped")
        named = "SELECT count(*) FROM ops.attempts WHERE error LIKE %s"
        assert rows(named, "%expectations/daily_sales.json%") == [(3,)]
        alerts.look()
        assert ("dataset stopped",) in rows("SELECT kind FROM ops.incidents WHERE subject = 'daily_sales'")

    def test_on_failure_stop_begins_no_other(self) -> None:
        spoil(99)
        try:
            number = ask(1, 3, on_failure="stop")
            assert lanes.work(number, SALES, begin(number))
        finally:
            spoil(1)
        assert (now(number)["state"], states(number)) == ("stopped", ["landed", "failed", "planned"])
        assert "stopped at the window from 2026-10-02 00:00" in now(number)["note"]

    def test_a_source_that_is_away_is_tried_again_and_then_has_failed(self) -> None:
        change("ALTER ROLE legacy_reader NOLOGIN")
        try:
            number = ask(1, 1)
            assert lanes.work(number, SALES, begin(number))
        finally:
            change("ALTER ROLE legacy_reader LOGIN")
        assert states(number) == ["failed"]
        assert rows("SELECT state, error_kind FROM ops.attempts ORDER BY attempt_id") == [
            ("retrying", "source unavailable")
        ] * (lanes.TRIES - 1) + [("failed", "source unavailable")]

    def test_a_window_that_a_clock_put_into_the_future_is_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        number, refusals = ask(1, 1), [NotOver("2026-10-01 ends in the future")]
        load = lanes.load

        def once_by_a_clock_that_is_back(*given: Any) -> Any:
            if refusals:
                raise refusals.pop()
            return load(*given)

        monkeypatch.setattr(lanes, "load", once_by_a_clock_that_is_back)
        assert lanes.work(number, SALES, begin(number))
        assert states(number) == ["landed"]

    def test_a_lane_gives_its_slot_to_another_backfill_that_waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lanes, "SHIFT", 0.0)
        number, other = ask(1, 1), ask(5, 5)
        run = begin(number)
        assert not lanes.work(number, SALES, run)
        others = begin(other)
        verb("cancel", other)
        assert not lanes.work(number, SALES, run), "lanes of the cancelled one wait to end"
        end(other, others)
        assert lanes.work(number, SALES, run)
        assert states(number) == ["landed"]


@pytest.mark.usefixtures("airflow")
class TestThePipeline:
    @pytest.mark.parametrize(
        ("dataset", "connection"),
        [("daily_sales", "legacy"), ("payments", "billing"), ("partner_sales", "partner"), ("channel_sales", "")],
    )
    def test_it_is_the_one_in_the_file_of_the_dag_that_owns_the_dataset(self, dataset: str, connection: str) -> None:
        with warehouse.session("analyst") as cursor:
            found = lanes.find_pipeline(cursor, dataset, settings.ROOT / "dags")
        assert (found.dataset, found.connection) == (dataset, connection)

    def test_a_dataset_without_one_is_refused_with_the_way_out(self, tmp_path: Path) -> None:
        with warehouse.session("analyst") as cursor, pytest.raises(ConfigurationError) as refused:
            lanes.find_pipeline(cursor, DATASET, tmp_path)
        assert "historical_sales_migration.py in the DAGs folder" in str(refused.value)
        assert "SALES = Pipeline(dataset='daily_sales'" in str(refused.value)

    def test_a_file_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "historical_sales_migration.py").write_text("import nothing_of_that_name\n")
        with warehouse.session("analyst") as cursor, pytest.raises(ConfigurationError) as refused:
            lanes.find_pipeline(cursor, DATASET, tmp_path)
        assert str(refused.value).startswith("historical_sales_migration.py in the DAGs folder cannot be imported:")


FORM: dict[str, Any] = {
    "dataset": DATASET, "first_day": "2026-10-01", "last_day": "2026-10-03", "reason": "a test",
    "excluded_dates": ["2026-10-02"],
}  # fmt: skip


class TestTheDag:
    """Real tasks, one after the other, each run by `dag.test`."""

    def test_what_the_form_asks_for_lands(self, airflow: RunDag) -> None:
        assert str(airflow(requests.DAG, None, **FORM).state) == "success"
        ((number, via, state),) = rows("SELECT backfill_id, via, state FROM control.backfills")
        assert (via, state, states(number)) == ("form", "done", ["landed", "skipped", "landed"])
        assert rows("SELECT DISTINCT dag_id FROM ops.window_ledger") == [(requests.DAG,)]

    def test_the_days_of_all_sources_together_are_made_from_what_landed(
        self, airflow: RunDag, three_sources: None
    ) -> None:
        assert str(airflow("multi_source_sync", datetime(2026, 10, 28, tzinfo=UTC)).state) == "success"
        ((version,),) = rows("SELECT version FROM ops.window_ledger WHERE dataset = 'channel_sales'")
        form = FORM | {
            "dataset": "channel_sales", "first_day": "2026-10-28", "last_day": "2026-10-28", "which": "all",
            "excluded_dates": None,
        }  # fmt: skip
        assert str(airflow(requests.DAG, None, **form).state) == "success"
        assert rows("SELECT version, dag_id FROM ops.window_ledger WHERE dataset = 'channel_sales'") == [
            (version + 1, requests.DAG)
        ]
