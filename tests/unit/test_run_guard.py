"""Which runs of Airflow are refused as they are made, and what is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from highwater.airflow import run_guard
from highwater.model import clock

NOON = datetime(2026, 10, 31, 12, tzinfo=UTC)
FIRST = datetime(2026, 10, 1, tzinfo=UTC)
DAG = "historical_sales_migration"


@pytest.fixture(autouse=True)
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(clock.SETTING, NOON.isoformat())


def refused(moment: datetime, *, start: datetime | None = FIRST, first: datetime | None = FIRST) -> str | None:
    return run_guard.refusal(moment, DAG, start, first, "daily_sales")


@pytest.mark.parametrize("moment", [FIRST, datetime(2026, 10, 5, 2, tzinfo=UTC), NOON, NOON + timedelta(seconds=30)])
def test_a_run_for_a_window_that_has_begun_may_be(moment: datetime) -> None:
    assert refused(moment) is None


def test_one_for_a_date_to_come_is_refused_and_says_what_it_would_do() -> None:
    assert refused(datetime(2027, 6, 1, tzinfo=UTC)) == (
        f"logical date 2027-06-01 00:00 UTC of {DAG} is in the future, it is 2026-10-31 12:00 UTC: the run would stay"
        " running until then and block those of the DAG; trigger one for a window that has ended"
    )


def test_one_before_the_first_window_is_refused_and_says_where_that_is_set() -> None:
    said = refused(FIRST - timedelta(seconds=1))
    assert said is not None
    assert "is before the first window of daily_sales, 2026-10-01 00:00 UTC: nothing would be loaded" in said
    assert said.endswith("to begin earlier, raise HIGHWATER_HISTORY_DAYS and start again")


def test_only_the_setting_that_says_where_a_dataset_begins_is_named() -> None:
    early = FIRST - timedelta(seconds=1)
    of_channels = run_guard.refusal(early, "multi_source_sync", FIRST, FIRST, "channel_sales")
    of_orders = run_guard.refusal(early, "incremental_data_processing", FIRST, FIRST, "orders")
    assert of_channels is not None and of_channels.endswith("raise HIGHWATER_CHANNEL_DAYS and start again")
    assert of_orders is not None and "HIGHWATER" not in of_orders
    assert of_orders.endswith("to begin earlier, change first_window of orders in its file of sql/datasets/")


def test_a_native_backfill_may_begin_with_the_first_window_and_not_before() -> None:
    assert run_guard.backfill_refusal(FIRST, DAG, FIRST, "daily_sales") is None
    assert run_guard.backfill_refusal(FIRST - timedelta(days=1), DAG, FIRST, "daily_sales") == (
        f"from 2026-09-30 00:00 UTC of {DAG} is before the first window of daily_sales, 2026-10-01 00:00 UTC: its runs"
        " would fail; begin the backfill there; to begin earlier, raise HIGHWATER_HISTORY_DAYS and start again"
    )


def test_one_that_is_to_wait_is_refused_whatever_it_is_for() -> None:
    now = clock.of_airflow()
    assert run_guard.refusal_to_wait(now, DAG) is None
    said = run_guard.refusal_to_wait(now + timedelta(days=365), DAG)
    assert said is not None
    assert said.startswith(f"a run of {DAG} that waits until ")
    assert said.endswith("keep gaps from being filled; trigger it when it is to run")


def test_of_a_dag_without_windows_its_own_start_counts() -> None:
    said = refused(datetime(2026, 9, 1, tzinfo=UTC), first=None)
    assert said is not None and said.endswith("is before its start, 2026-10-01 00:00 UTC: no task would run")
    assert refused(datetime(2026, 9, 1, tzinfo=UTC), start=None, first=None) is None
