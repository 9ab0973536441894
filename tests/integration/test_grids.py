"""The grid of a dataset whose windows have landed does not move below them; what no grid can be is refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from batches import land as land_batch
from batches import window
from loading import day, land
from psycopg2.extensions import cursor as Cursor

from highwater.environment import settings
from highwater.model import clock
from highwater.model.errors import ConfigurationError
from highwater.setup import bootstrap
from highwater.store import warehouse
from simulation import sales

pytestmark = pytest.mark.usefixtures("empty_warehouse")
Start = Callable[..., None]


def rows(query: str) -> list[tuple[Any, ...]]:
    with warehouse.session("analyst") as cursor:
        cursor.execute(query)
        return [tuple(row) for row in cursor.fetchall()]


GRIDS = "SELECT dataset, first_window, step, grid FROM control.datasets ORDER BY dataset"
EVERYTHING = (
    GRIDS,
    "SELECT anchor FROM control.platform",
    "SELECT dataset, window_range, version FROM ops.window_ledger ORDER BY 1, 2",
)


def state() -> list[list[tuple[Any, ...]]]:
    return [rows(query) for query in EVERYTHING]


@pytest.fixture
def start(platform: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts the platform with these settings; behind the test all is as it was made first."""

    def again(**given: str) -> None:
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        settings.get.cache_clear()
        bootstrap.run()

    yield again
    monkeypatch.undo()
    settings.get.cache_clear()
    with warehouse.session("postgres") as cursor:
        cursor.execute("TRUNCATE ops.window_ledger, ops.checkpoints CASCADE")
    bootstrap.run()


class TestAStart:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (
                {"HIGHWATER_ANCHOR": "2026-11-15"},
                "the grid of daily_sales cannot change from fixed windows of 24:00:00 from 2026-10-01 00:00 on to fixed"
                " windows of 24:00:00 from 2026-10-16 00:00 on: 2 landed windows would be off the grid, the first"
                " one from 2026-10-05 00:00; this follows from HIGHWATER_ANCHOR=2026-11-15 (it was 2026-10-31),"
                " HIGHWATER_HISTORY_DAYS=30",
            ),
            ({"HIGHWATER_HISTORY_DAYS": "10"}, "from 2026-10-21 00:00 on: 2 landed windows"),
        ],
    )
    def test_with_settings_that_would_move_it_stops_before_anything_is_changed(
        self, start: Start, given: dict[str, str], said: str
    ) -> None:
        land(day("2026-10-05"))
        land(day("2026-10-06"))
        before = state()
        with pytest.raises(ConfigurationError) as refused:
            start(**given)
        assert said in str(refused.value)
        assert "restore the one that was changed; nothing was changed" in str(refused.value)
        assert state() == before

    def test_the_channels_do_not_move_either(self, start: Start, admin: Cursor) -> None:
        admin.execute(
            "INSERT INTO ops.window_ledger VALUES ('store_sales', '[2026-10-17, 2026-10-18)', 1, 0, 0, 0, 0, 'x', NULL,"
            " 's', 'd', 'r', ops.clock())"
        )
        admin.connection.commit()
        before = state()
        with pytest.raises(ConfigurationError, match=r"the grid of store_sales .*HIGHWATER_CHANNEL_DAYS=7"):
            start(HIGHWATER_CHANNEL_DAYS="7")
        assert state() == before

    def test_a_longer_history_becomes_due_and_what_landed_stays(self, start: Start) -> None:
        land(day("2026-10-05"))
        due = "SELECT windows_due, windows_landed FROM ops.window_totals WHERE dataset = 'daily_sales'"
        ((before, _),) = rows(due)
        try:
            start(HIGHWATER_HISTORY_DAYS="31")
            assert rows(due) == [(before + 1, 1)]
        finally:
            with warehouse.session("simulator", settings.get().sources_database) as cursor:
                cursor.execute("DROP TABLE IF EXISTS legacy.sales_20260930")
                cursor.execute("DELETE FROM legacy.closed_days WHERE business_date = '2026-09-30'")

    def test_before_anything_landed_it_moves_with_the_settings(self, start: Start) -> None:
        start(HIGHWATER_HISTORY_DAYS="10")
        first = "SELECT first_window::date::text FROM control.datasets WHERE dataset = 'daily_sales'"
        assert rows(first) == [("2026-10-21",)]

    def test_a_zone_in_the_environment_moves_nothing(self, start: Start) -> None:
        land(day("2026-10-05"))
        before = state()
        start(PGTZ="Asia/Tokyo", TZ="America/New_York")
        assert state() == before
        assert os.environ["PGTZ"] == "Asia/Tokyo"
        assert clock.now().utcoffset() is not None
        assert sales.advance(clock.now()) == []


class TestAnybody:
    @pytest.mark.parametrize(
        "change",
        [
            "first_window = '2026-10-06 00:00+00'",
            "first_window = '2026-10-01 06:00+00'",
            "first_window = '2026-09-30 23:00+00'",
            "step = '12 hours'",
            "step = '2 days'",
        ],
    )
    def test_the_reset_is_refused_and_nothing_moves(self, admin: Cursor, change: str) -> None:
        land(day("2026-10-05"))
        with pytest.raises(psycopg2.Error, match="1 landed windows would be off the grid") as refused:
            admin.execute(f"UPDATE control.datasets SET {change} WHERE dataset = 'daily_sales'")
        assert refused.value.pgcode == "HW011"

    def test_one_that_begins_earlier_on_the_same_points_is_taken(self, admin: Cursor) -> None:
        land(day("2026-10-05"))
        admin.execute("UPDATE control.datasets SET first_window = '2026-01-01 00:00+00' WHERE dataset = 'daily_sales'")
        admin.execute("SELECT windows_landed FROM ops.window_totals WHERE dataset = 'daily_sales'")
        assert warehouse.fetch_value(admin) == 1

    def test_one_that_begins_later_than_nothing_that_landed_is_taken(self, admin: Cursor) -> None:
        land_batch("payments", window(5))
        admin.execute("UPDATE control.datasets SET first_window = '2026-10-29 06:00+00' WHERE dataset = 'payments'")
        admin.execute("SELECT windows_landed FROM ops.window_totals WHERE dataset = 'payments'")
        assert warehouse.fetch_value(admin) == 1

    def test_a_window_of_a_grid_before_blocks_nothing(self, admin: Cursor) -> None:
        admin.execute(
            "INSERT INTO ops.window_ledger VALUES ('daily_sales', '[2026-10-05 06:00+00, 2026-10-05 12:00+00)', 1, 0,"
            " 0, 0, 0, 'x', NULL, 's', 'd', 'r', ops.clock())"
        )
        admin.execute("UPDATE control.datasets SET first_window = '2026-10-02 00:00+00' WHERE dataset = 'daily_sales'")

    def test_one_that_runs_by_watermark_becomes_none_of_windows(self, admin: Cursor) -> None:
        admin.execute(
            "INSERT INTO ops.window_ledger VALUES ('orders', '[2026-10-30 00:00+00, 2026-10-30 01:17+00)', 1, 0, 0, 0,"
            " 0, 'x', NULL, 's', 'd', 'r', ops.clock())"
        )
        for change in ("grid = 'fixed'", "first_window = '2026-10-30 06:00+00'"):
            admin.execute("SAVEPOINT before")
            with pytest.raises(psycopg2.Error, match="the grid of orders cannot change"):
                admin.execute(f"UPDATE control.datasets SET {change} WHERE dataset = 'orders'")
            admin.execute("ROLLBACK TO before")


ADD = "INSERT INTO control.datasets (dataset, dag_id, published_table, first_window, step, due_after, max_lag)"
FITS = {
    "published_table": "sales.mine",
    "first_window": "2026-10-01 00:00+00",
    "step": "1 day",
    "due_after": "0",
    "max_lag": None,
}
LONG = "t" * 63


@pytest.mark.parametrize(
    ("flaw", "rule"),
    [
        ({"published_table": f"sales.{LONG}t"}, "schema_and_table_have_at_most_63_bytes_each"),
        ({"published_table": f"{LONG}t.mine"}, "schema_and_table_have_at_most_63_bytes_each"),
        ({"published_table": "sales.daily_sales"}, "one_published_table_one_dataset"),
        ({"first_window": "infinity"}, "first_window_is_between_1900_and_2999"),
        ({"first_window": "-infinity"}, "first_window_is_between_1900_and_2999"),
        ({"first_window": "0044-03-15 BC"}, "first_window_is_between_1900_and_2999"),
        ({"first_window": "294276-12-31"}, "first_window_is_between_1900_and_2999"),
        ({"step": "infinity"}, "step_is_"),
        ({"step": "-infinity"}, "step_is_"),
        ({"step": "0.5 seconds"}, "step_is_whole_seconds_up_to_36600_days"),
        ({"step": "90.25 seconds"}, "step_is_whole_seconds_up_to_36600_days"),
        ({"step": "40000 days"}, "step_is_whole_seconds_up_to_36600_days"),
        ({"step": "0"}, "step_is_positive"),
        ({"step": "1 month"}, "step_is_no_month"),
        ({"due_after": "infinity"}, "due_after_is_at_most_36600_days"),
        ({"max_lag": "infinity"}, "max_lag_is_positive_and_at_most_36600_days"),
        ({"max_lag": "-1 hour"}, "max_lag_is_positive_and_at_most_36600_days"),
    ],
)
def test_what_no_dataset_can_be_is_refused_by_a_rule_that_says_so(
    admin: Cursor, flaw: dict[str, str], rule: str
) -> None:
    with pytest.raises(psycopg2.Error, match=rule):
        admin.execute(f"{ADD} VALUES ('mine', 'x', %s, %s, %s, %s, %s)", tuple((FITS | flaw).values()))


@pytest.mark.parametrize("fits", [{"step": "1 second"}, {"step": "30 seconds"}, {"published_table": f"{LONG}.{LONG}"}])
def test_a_second_is_a_step_and_63_bytes_are_a_name(admin: Cursor, fits: dict[str, str]) -> None:
    admin.execute(f"{ADD} VALUES ('mine', 'x', %s, %s, %s, %s, %s)", tuple((FITS | fits).values()))
    admin.execute("SELECT count(*) FROM ops.window_totals")
    assert warehouse.fetch_value(admin) > 1
