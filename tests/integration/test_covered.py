"""Runs that nobody asked for ask the ledger first: what has landed is covered, what a rule skips stays skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import channels
import pytest
from loading import day, land, run
from psycopg2.extensions import cursor as Cursor

from highwater.loading import derived_table
from highwater.store import ledger, publish, warehouse
from simulation import drills

pytestmark = pytest.mark.usefixtures("empty_warehouse")
RunDag = Callable[..., Any]
DAG = "historical_sales_migration"
NIGHT = datetime(2026, 10, 5, 2, tzinfo=UTC)
DAY = "2026-10-05"


@pytest.fixture
def cleared() -> list[int]:
    """How often the runs of `scheduled` were cleared."""
    return [0]


@pytest.fixture
def scheduled(airflow: RunDag, cleared: list[int], monkeypatch: pytest.MonkeyPatch) -> Iterator[RunDag]:
    """Runs a DAG as the scheduler would have made the run."""
    from airflow.models import dagrun

    make = dagrun.get_or_create_dagrun

    def as_scheduled(*, session: Any, **given: Any) -> Any:
        made = make(session=session, **given)
        made.run_type, made.clear_number = "scheduled", cleared[0]
        session.commit()
        return made

    monkeypatch.setattr(dagrun, "get_or_create_dagrun", as_scheduled)
    yield airflow


def states(done: Any) -> dict[str, str]:
    return {ti.task_id: str(ti.state) for ti in done.get_task_instances()}


def shown(done: Any, task_id: str) -> Any:
    """Why there was nothing to do, as Airflow's UI shows it."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        found = session.query(XComModel).filter_by(dag_id=done.dag_id, run_id=done.run_id, task_id=task_id)
        return {each.key: XComModel.deserialize_value(each) for each in found}.get("why there is nothing to do")


def stages(cursor: Cursor) -> list[str]:
    cursor.connection.rollback()
    cursor.execute("SELECT stage FROM ops.attempts ORDER BY attempt_id")
    return [row[0] for row in cursor.fetchall()]


def version(of: str = DAY) -> int:
    with warehouse.session("analyst") as cursor:
        return ledger.version(cursor, "daily_sales", day(of))


def test_a_scheduled_run_of_a_window_that_landed_ends_at_once_and_says_by_whom(
    scheduled: RunDag, analyst: Cursor, caplog: pytest.LogCaptureFixture
) -> None:
    land(day(DAY), by="of a backfill")
    done = scheduled(DAG, NIGHT)
    assert str(done.state) == "success"
    assert {state for name, state in states(done).items() if name != "validate_availability"} == {"skipped"}
    assert (stages(analyst), version()) == (["validate_availability"], 1)
    assert "covered: landed version 1 by run run of a backfill" in caplog.text
    assert shown(done, "validate_availability") == "covered: landed version 1 by run run of a backfill"


def test_one_whose_window_has_not_landed_loads_it(scheduled: RunDag) -> None:
    scheduled(DAG, NIGHT)
    assert version() == 1


def test_what_a_person_asks_for_is_loaded_again(airflow: RunDag, scheduled: RunDag, cleared: list[int]) -> None:
    land(day(DAY))
    cleared[0] = 1
    scheduled(DAG, NIGHT)
    assert version() == 2


def test_a_run_that_is_triggered_by_hand_loads_again(airflow: RunDag) -> None:
    land(day(DAY))
    airflow(DAG, NIGHT)
    assert version() == 2


def test_a_window_that_a_rule_skips_stays_skipped(scheduled: RunDag, analyst: Cursor) -> None:
    publish.skip_window("daily_sales", day(DAY), "closed", "the archive has lost it", run())
    done = scheduled(DAG, NIGHT)
    assert (str(done.state), version(), stages(analyst)) == ("success", 0, [])
    analyst.execute("SELECT state, reason FROM ops.window_status WHERE window_start = '2026-10-05'")
    assert tuple(warehouse.fetch(analyst)) == ("skipped", "closed: the archive has lost it")


@pytest.mark.usefixtures("three_sources")
@pytest.mark.slow
def test_a_scheduled_run_of_a_day_that_was_brought_together_ends_in_one_task_unless_something_is_left(
    scheduled: RunDag, cleared: list[int]
) -> None:
    today = channels.day("2026-10-30")
    first = scheduled("multi_source_sync", today.start).run_id
    made = channels.rows("SELECT * FROM ops.window_ledger ORDER BY dataset, window_range")
    done = scheduled("multi_source_sync", today.start)
    assert {name for name, state in states(done).items() if state != "skipped"} == {"ask_ledger"}
    said = f"covered: landed version 1 by run {first}"
    assert (str(done.state), shown(done, "ask_ledger")) == ("success", said)
    assert channels.rows("SELECT * FROM ops.window_ledger ORDER BY dataset, window_range") == made
    with warehouse.session("postgres") as cursor:
        drills.forget_window(cursor, "store_sales", drills.landed(cursor, "store_sales", today.start)[0])
    done = scheduled("multi_source_sync", today.start)
    assert set(states(done).values()) == {"success"}, "a window of the store was missing"
    assert today in channels.landed(channels.STORE)
    cleared[0] = 1
    done = scheduled("multi_source_sync", today.start)
    assert set(states(done).values()) == {"success"}, "someone asked"


def test_a_day_that_was_brought_together_is_made_again_only_when_someone_asks_or_its_sources_changed(
    three_sources: None,
) -> None:
    today = channels.day("2026-10-30")
    channels.load(channels.STORE, today)
    channels.bring_together(today, publish=True)

    def is_made(*, again: bool) -> bool:
        with warehouse.session("loader") as cursor:
            return today in derived_table.days(cursor, channels.CHANNELS, today, again=again)

    assert (is_made(again=True), is_made(again=False)) == (True, False)
    channels.load(channels.PARTNER, today)
    assert is_made(again=False)
