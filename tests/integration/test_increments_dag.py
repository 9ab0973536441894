"""The DAGs of the shop, run by real Airflow: an hour, covered hours, what is asked for, what closes its incident."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg2.extensions import cursor as Cursor
from shopping import here, there, value

from highwater.environment import settings
from highwater.store import warehouse

Change = Callable[[str], int]
RunDag = Callable[..., Any]
DAG = "incremental_data_processing"
TEN = datetime(2026, 10, 31, 10, tzinfo=UTC)
STAGES = ["determine_mode", "identify_changes", "process_changes", "update_checkpoint", "validate_consistency"]


def attempts(cursor: Cursor) -> list[Any]:
    cursor.execute("SELECT stage, state, error, ended_at - started_at AS took FROM ops.attempts ORDER BY attempt_id")
    found = warehouse.fetch_all(cursor)
    cursor.connection.rollback()
    return found


def test_an_hour_lands_through_five_tasks_and_those_it_covers_end_at_once(
    airflow: RunDag, small_shop: Change, analyst: Cursor, caplog: pytest.LogCaptureFixture
) -> None:
    run = airflow(DAG, TEN)
    assert str(run.state) == "success"
    assert [a.stage for a in attempts(analyst)] == STAGES
    assert here() == there()
    assert value("SELECT mode || ': ' || mode_reason FROM ops.processing_summary") == "full: there is no checkpoint"
    assert value("SELECT attempts FROM ops.processing_summary") == 1
    for hour in (9, 8, 7):
        covered = airflow(DAG, TEN.replace(hour=hour))
        assert str(covered.state) == "success"
        states = {ti.task_id: str(ti.state) for ti in covered.get_task_instances()}
        assert states == {"determine_mode": "success"} | dict.fromkeys(STAGES[1:], "skipped")
    later = attempts(analyst)[5:]
    assert [a.stage for a in later] == ["determine_mode"] * 3
    assert max(a.took for a in later) < timedelta(seconds=1)
    assert value("SELECT count(*) FROM ops.window_ledger") == 1


def test_a_full_run_can_be_asked_for_even_where_the_hour_is_covered(airflow: RunDag, small_shop: Change) -> None:
    airflow(DAG, TEN)
    run = airflow(DAG, TEN.replace(hour=9), mode="full")
    assert str(run.state) == "success"
    assert value("SELECT reason FROM ops.checkpoints") == f"asked for by run {run.run_id}"


def test_a_run_without_a_logical_date_takes_what_changed(airflow: RunDag, small_shop: Change) -> None:
    airflow(DAG, TEN)
    small_shop("UPDATE shop.orders SET amount = 5 WHERE order_id = 1")
    assert str(airflow(DAG, None).state) == "success"
    assert here() == there()


def test_what_a_limit_stopped_is_loaded_by_a_run_that_accepts_it(
    airflow: RunDag, small_shop: Change, analyst: Cursor
) -> None:
    airflow(DAG, TEN)
    small_shop("DELETE FROM shop.orders WHERE order_id > 10")
    assert str(airflow(DAG, TEN.replace(hour=12)).state) == "failed"
    assert len(here()) == 300
    assert "290 of the 300 live rows of orders would be deleted" in attempts(analyst)[-1].error
    assert str(airflow(DAG, TEN.replace(hour=12), accept=True).state) == "success"
    assert here() == there()
    assert value("SELECT count(*) FROM pg_tables WHERE schemaname = 'staging'") == 0, "sets of failed runs are cleared"


def test_a_difference_fails_the_run_and_the_next_one_repairs_it(
    airflow: RunDag, small_shop: Change, analyst: Cursor, admin: Cursor
) -> None:
    airflow(DAG, TEN)
    admin.execute("UPDATE sales.orders SET amount = 7.77 WHERE order_id = 42")
    admin.connection.commit()
    assert str(airflow(DAG, TEN.replace(hour=12)).state) == "failed"
    failed = attempts(analyst)[-1]
    assert failed.stage == "validate_consistency"
    assert "1 keys: 42. The next run will be a full one" in failed.error
    assert str(airflow(DAG, TEN.replace(hour=13)).state) == "success"
    assert value("SELECT reason FROM ops.checkpoints") == "source and target differ in 1 keys, among them 42"
    assert here() == there()


def test_a_source_that_is_away_is_named(airflow: RunDag, small_shop: Change, analyst: Cursor, admin: Cursor) -> None:
    admin.execute("ALTER ROLE shop_reader NOLOGIN")
    admin.connection.commit()
    try:
        assert str(airflow(DAG, TEN).state) == "failed"
    finally:
        admin.execute("ALTER ROLE shop_reader LOGIN")
        admin.connection.commit()
    assert attempts(analyst)[-1].error.startswith("source 'shop' is unavailable")


def test_it_begins_a_day_before_the_anchor_and_its_policy_says_which_hours_get_a_run(airflow: RunDag) -> None:
    from airflow.dag_processing.dagbag import DagBag

    dag = DagBag(dag_folder=settings.ROOT / f"dags/{DAG}.py").dags[DAG]
    assert dag.start_date == datetime(2026, 10, 30, tzinfo=UTC)
    timetable: Any = dag.timetable
    assert (dag.catchup, timetable.dataset) == (True, "orders")


def test_the_simulated_sources_move_on(airflow: RunDag, small_shop: Change, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMULATION_LATE_COMMIT_SECONDS", "0")
    settings.get.cache_clear()
    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        cursor.execute("DELETE FROM store.sales WHERE sold_at >= '2026-10-30' AND sold_at < '2026-10-31'")
        cursor.execute("DELETE FROM store.closed_days WHERE day = '2026-10-30'")
    try:
        assert str(airflow("simulated_sources", TEN).state) == "success"
    finally:
        monkeypatch.undo()
        settings.get.cache_clear()
    assert len(there()) > 300
    with warehouse.session("store_reader", settings.get().sources_database) as cursor:
        cursor.execute("SELECT count(*) AS days FROM store.closed_days WHERE day = '2026-10-30'")
        assert warehouse.fetch_value(cursor) == 1
