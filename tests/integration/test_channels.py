"""The DAG of the three sources, run by real Airflow: a day, one without a source, and one that is held back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import channels
import pytest
from channels import CHANNELS, PARTNER, STORE, SUPPLIER, change, day, rows, value

from highwater.store import warehouse
from simulation import channels as simulation_channels

pytestmark = pytest.mark.usefixtures("three_sources")
RunDag = Callable[..., Any]
DAG = "multi_source_sync"
TODAY, BEFORE = day("2026-10-30"), day("2026-10-29")
STAGES = ["extract", "transform", "audit", "load", "summarise"]


def states(run: Any) -> dict[str, str]:
    return {ti.task_id: str(ti.state) for ti in run.get_task_instances()}


def flags(of: str = "2026-10-30") -> tuple[Any, ...]:
    """What the rows of a synchronised day rest on: store, partner, supplier."""
    (found,) = rows(
        "SELECT DISTINCT rests_on_store, rests_on_partner, rests_on_supplier FROM sales.channel_sales"
        " WHERE sold_at::date = %s",
        of,
    )
    return tuple(found)


def test_a_day_lands_from_each_source_by_its_rule_and_comes_together(airflow: RunDag) -> None:
    run = airflow(DAG, TODAY.start)
    assert str(run.state) == "success"
    assert list(channels.landed(STORE)) == [day("2026-10-28"), BEFORE, TODAY], "the store catches up on all"
    assert list(channels.landed(PARTNER)) == [TODAY], "the partner is not reliable yet"
    ((week, delivery),) = channels.landed(SUPPLIER).items()
    assert (week.start, delivery) == (datetime(2026, 10, 19, tzinfo=UTC), "delivery 1")
    assert rows("SELECT FROM ops.skipped_windows") == [], "the week under way is not due, and no rule leaves it out"
    stages = rows("SELECT stage, state FROM ops.attempts WHERE dataset = 'store_sales' ORDER BY attempt_id")
    assert [tuple(row) for row in stages] == [(stage, "succeeded") for stage in STAGES * 3]
    assert value("SELECT count(*) FROM pg_tables WHERE schemaname = 'staging'") == 0
    sales = 400
    counted = sales + simulation_channels.partner_orders(sales) - simulation_channels.fulfilled(sales)
    assert value("SELECT rows_published FROM ops.window_ledger WHERE dataset = 'channel_sales' AND lower(window_range)"
                 " = %s", TODAY.start) == counted  # fmt: skip
    assert flags() == (True, True, False)
    assert flags("2026-10-29") == (True, False, False)


def test_a_source_that_is_away_blocks_neither_the_others_nor_the_day_which_is_made_again_once_it_is_back(
    airflow: RunDag,
) -> None:
    with channels.away("store"):
        run = airflow(DAG, TODAY.start)
    assert str(run.state) == "success"
    assert states(run)["check_store"] == "success"
    assert states(run)["sync_store"] == "skipped"
    assert channels.landed(STORE) == {}
    missing = "SELECT reason FROM ops.window_status WHERE dataset = 'store_sales' AND window_start = %s"
    assert value(missing, TODAY.start).startswith("source 'store' is unavailable")
    assert channels.landed(SUPPLIER)
    assert flags() == (False, True, False)
    incident = "SELECT closed_at IS NOT NULL FROM ops.incidents WHERE kind = 'source unavailable' AND subject = 'store'"
    assert value(incident) is False
    airflow(DAG, TODAY.start)
    assert value(incident) is True
    assert flags() == (True, True, False)
    assert flags("2026-10-29") == (True, False, False)
    assert value("SELECT count(*) FROM ops.gaps WHERE dataset IN ('store_sales', 'channel_sales')") == 0


def test_a_run_loads_past_days_only_as_the_policies_want_them(airflow: RunDag) -> None:
    """Each dataset has its own: one day is closed for the store, catch-up is off for the table made of it; then not."""
    switch = "UPDATE control.catchup_policies SET enabled = {} WHERE dataset = 'channel_sales'"
    close = "INSERT INTO control.closed_days VALUES ('{}', '{}', 'stocktaking')"
    reopen = "DELETE FROM control.closed_days"
    first = day("2026-10-28")
    try:
        with warehouse.session("operator") as cursor:
            cursor.execute(switch.format("false"))
            cursor.execute(close.format("2026-10-29", "store_sales"))
        airflow(DAG, TODAY.start)
        assert (set(channels.landed(STORE)), set(channels.landed(CHANNELS))) == ({first, TODAY}, {TODAY})
        with warehouse.session("operator") as cursor:
            cursor.execute(switch.format("true"))
            cursor.execute(reopen)
            cursor.execute(close.format("2026-10-28", "channel_sales"))
        airflow(DAG, TODAY.start)
        assert (set(channels.landed(STORE)), set(channels.landed(CHANNELS))) == (
            {first, BEFORE, TODAY},
            {BEFORE, TODAY},
        )
    finally:
        with warehouse.session("operator") as cursor:
            cursor.execute(switch.format("true"))
            cursor.execute(reopen)


def test_a_day_that_breaks_a_critical_comparison_keeps_its_former_version(airflow: RunDag) -> None:
    """A store hands an order of the partner over a second time."""
    airflow(DAG, TODAY.start)
    before = rows("SELECT version, content_hash FROM ops.window_ledger WHERE dataset = 'channel_sales'")
    change(
        "INSERT INTO store.sales SELECT sale_id + 100000, sold_at, store_code, product_code, quantity, amount,"
        " partner_order_id FROM store.sales WHERE partner_order_id IS NOT NULL AND sold_at >= '2026-10-30' LIMIT 1"
    )
    change("UPDATE store.closed_days SET sales = sales + 1 WHERE day = '2026-10-30'")
    run = airflow(DAG, TODAY.start)
    assert str(run.state) == "failed"
    assert states(run)["validate_cross_source"] == "success"
    assert states(run)["publish_channel_sales"] == "failed"
    assert rows("SELECT version, content_hash FROM ops.window_ledger WHERE dataset = 'channel_sales'") == before
    reason = value(
        "SELECT reason FROM ops.window_status WHERE dataset = 'channel_sales' AND window_start = %s", TODAY.start
    )
    assert "version 1 is kept; the latest reload failed in validate_cross_source" in reason
    assert '{"handovers": 41, "orders_handed_over": 40}' in reason


def test_loads_share_a_pool_and_looks_do_not_wait_for_it(airflow: RunDag) -> None:
    from airflow.dag_processing.dagbag import DagBag

    from highwater.environment import settings

    dag = DagBag(dag_folder=settings.ROOT / f"dags/{DAG}.py").dags[DAG]
    assert {task.task_id for task in dag.tasks if task.pool == "loading"} == {
        "sync_store",
        "sync_partner",
        "sync_supplier",
    }
    assert (dag.catchup, dag.max_active_runs) == (True, 1)
    assert dag.start_date == datetime(2026, 10, 31, tzinfo=UTC) - timedelta(days=14)
    assert dag.get_task("synchronise").trigger_rule == "all_done"
    assert CHANNELS.suite == "cross_source"


def test_a_run_by_hand_for_a_day_that_someone_holds_fails_and_says_who(
    airflow: RunDag, capsys: pytest.CaptureFixture[str]
) -> None:
    airflow(DAG, TODAY.start)
    with warehouse.session("postgres") as cursor:
        cursor.execute(
            "INSERT INTO ops.rollbacks (dataset, window_range, from_version, from_run_id, from_content_hash,"
            " to_version, to_run_id, content_hash, as_version, rolled_back_by, reason)"
            " SELECT dataset, window_range, version, run_id,"
            " content_hash, version, run_id, content_hash, version, 'ada', 'the till was wrong' FROM ops.window_ledger"
            " WHERE dataset = 'channel_sales' AND lower(window_range) = %s RETURNING rollback_id",
            (TODAY.start,),
        )
        rollback = warehouse.fetch_value(cursor)
        cursor.execute(
            "UPDATE ops.window_ledger SET staged_as = 'rollback ' || %s WHERE dataset = 'channel_sales'"
            " AND lower(window_range) = %s",
            (rollback, TODAY.start),
        )
        cursor.execute("SELECT ops.hold_window(%s)", (rollback,))
    try:
        capsys.readouterr()
        assert str(airflow(DAG, TODAY.start).state) == "failed"
        said = capsys.readouterr().out
        assert "is held, rolled back to version 1 by ada" in said and "scripts/highwater release channel_sales" in said
    finally:
        with warehouse.session("postgres") as cursor:
            cursor.execute("DELETE FROM ops.rollbacks WHERE rollback_id = %s", (rollback,))
