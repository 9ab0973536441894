"""A skip is a remark about one window of the grid that has not landed: no range hides what is missing."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from loading import day, land, run
from psycopg2.extensions import cursor as Cursor
from waiting import wait_until

from highwater.model.errors import DataRejected
from highwater.model.windows import Window
from highwater.setup import bootstrap
from highwater.store import publish, warehouse

pytestmark = pytest.mark.usefixtures("empty_warehouse")
SKIP = "SELECT ops.skip_window(%s, %s, 'a rule', 'a reason', 'd', 'r')"
MISSING = "SELECT windows_missing, windows_skipped FROM ops.window_totals WHERE dataset = %s"


@pytest.mark.parametrize(("rule", "reason"), [("", "r"), (" ", "r"), ("r", " "), ("r", "x" * 1001), ("x" * 1001, "r")])
def test_a_skip_says_by_which_rule_and_why(loader: Cursor, rule: str, reason: str) -> None:
    with pytest.raises(psycopg2.DatabaseError, match="needs a rule and a reason of 1 to 1000 characters"):
        loader.execute(
            "SELECT ops.skip_window('daily_sales', '[2026-10-05 00:00+00, 2026-10-06 00:00+00)', %s, %s, 'd', 'r')",
            (rule, reason),
        )


def test_the_answer_of_a_source_is_cut(analyst: Cursor) -> None:
    assert publish.skip_window("daily_sales", day("2026-10-05"), "a rule", "x" * 5000, run())
    analyst.execute("SELECT reason FROM ops.skipped_windows")
    assert warehouse.fetch_value(analyst) == "x" * 1000


@pytest.mark.parametrize(
    ("dataset", "window", "code"),
    [
        ("payments", "[2026-10-01, 2027-12-31)", "HW002"),
        ("payments", "[2026-10-28 00:00+00, 2026-10-28 00:17+00)", "HW002"),
        ("payments", "[2026-10-28 00:00+00, 2026-10-28 12:00+00)", "HW002"),
        ("payments", "[2026-10-28 03:00+00, 2026-10-28 09:00+00)", "HW002"),
        ("payments", "[2026-10-28 00:00+00, 2026-10-28 06:00+00]", "HW002"),
        ("payments", "(2026-10-28 00:00+00, 2026-10-28 06:00+00)", "HW002"),
        ("payments", "[2026-10-27 18:00+00, 2026-10-28 00:00+00)", "HW002"),
        ("payments", "[2026-10-28 00:00+00,)", "HW002"),
        ("payments", "(,)", "HW002"),
        ("payments", "[2026-10-28 00:00+00, infinity)", "HW002"),
        ("payments", "[-infinity, infinity)", "HW002"),
        ("payments", "empty", "HW002"),
        ("payments", None, "HW002"),
        # On the grid, but in the future, under way, or ended and not due for another quarter of an hour.
        ("payments", "[2026-12-01 00:00+00, 2026-12-01 06:00+00)", "HW002"),
        ("payments", "[2026-10-31 12:00+00, 2026-10-31 18:00+00)", "HW002"),
        ("payments", "[2026-10-31 06:00+00, 2026-10-31 12:00+00)", "HW002"),
        ("daily_sales", "[2026-10-31, 2026-11-01)", "HW002"),
        ("supplier_settlements", "[2026-10-26, 2026-11-02)", "HW002"),
        ("orders", "[2026-10-30 00:00+00, 2026-10-30 01:00+00)", "HW002"),
        ("nobody", "[2026-10-28 00:00+00, 2026-10-28 06:00+00)", "HW001"),
    ],
)
def test_what_is_no_window_of_the_grid_is_refused_and_hides_nothing(
    loader: Cursor, dataset: str, window: str | None, code: str
) -> None:
    loader.execute(MISSING, (dataset,))
    before = loader.fetchall()
    loader.execute("SAVEPOINT before")
    with pytest.raises(psycopg2.Error) as refused:
        loader.execute(SKIP, (dataset, window))
    assert refused.value.pgcode == code
    loader.execute("ROLLBACK TO before")
    loader.execute(MISSING, (dataset,))
    assert loader.fetchall() == before


def test_one_window_of_the_grid_is_taken_and_taken_back(loader: Cursor) -> None:
    window = day("2026-10-05")
    assert publish.skip_window("daily_sales", window, "a rule", "a reason", run())
    loader.execute(MISSING, ("daily_sales",))
    assert tuple(warehouse.fetch(loader)) == (29, 1)
    loader.connection.commit()
    publish.forget_skip("daily_sales", window)
    loader.execute(MISSING, ("daily_sales",))
    assert tuple(warehouse.fetch(loader)) == (30, 0)


def test_a_landed_window_stays(analyst: Cursor) -> None:
    land(day("2026-10-05"))
    assert not publish.skip_window("daily_sales", day("2026-10-05"), "a rule", "a reason", run())
    analyst.execute("SELECT count(*) FROM ops.skipped_windows")
    assert warehouse.fetch_value(analyst) == 0


def test_none_lies_over_a_part_that_landed_on_another_grid(admin: Cursor) -> None:
    admin.execute(
        "INSERT INTO ops.window_ledger VALUES ('daily_sales', '[2026-10-05 06:00+00, 2026-10-05 12:00+00)', 1, 0, 0,"
        " 0, 0, 'x', NULL, 's', 'd', 'r', ops.clock())"
    )
    admin.connection.commit()
    with pytest.raises(DataRejected, match=r"cannot be skipped: .* has landed and overlaps it"):
        publish.skip_window("daily_sales", day("2026-10-05"), "a rule", "a reason", run())


def test_one_that_lands_while_it_is_skipped_is_not_skipped(admin: Cursor, analyst: Cursor) -> None:
    """Who publishes holds the dataset's row until the window is in the ledger."""
    admin.execute("SELECT FROM control.datasets WHERE dataset = 'daily_sales' FOR NO KEY UPDATE")
    admin.execute(
        "INSERT INTO ops.window_ledger VALUES ('daily_sales', '[2026-10-05, 2026-10-06)', 1, 0, 0, 0, 0, 'x', NULL,"
        " 's', 'd', 'r', ops.clock())"
    )
    answers: list[bool] = []
    skipping = threading.Thread(
        target=lambda: answers.append(publish.skip_window("daily_sales", day("2026-10-05"), "a rule", "x", run()))
    )
    skipping.start()

    def waits() -> object:
        with warehouse.session("postgres") as cursor:
            cursor.execute("SELECT FROM pg_stat_activity WHERE usename = 'loader' AND wait_event_type = 'Lock'")
            return cursor.fetchone()

    wait_until("the skip waits for who publishes", lambda: waits() is not None or not skipping.is_alive())
    admin.connection.commit()
    skipping.join()
    assert answers == [False]
    analyst.execute("SELECT count(*) FROM ops.skipped_windows")
    assert warehouse.fetch_value(analyst) == 0


def test_what_an_older_warehouse_took_for_a_skip_is_taken_back_and_named_at_the_next_start(
    admin: Cursor, analyst: Cursor, caplog: pytest.LogCaptureFixture
) -> None:
    land(day("2026-10-07"))
    good = Window(datetime(2026, 10, 9, tzinfo=UTC), datetime(2026, 10, 9, tzinfo=UTC) + timedelta(days=1))
    publish.skip_window("daily_sales", good, "a rule", "a reason", run())
    for window in (
        "[2026-10-01, 2027-12-31)",
        "[2026-10-05 00:00+00, 2026-10-05 00:17+00)",
        "[2026-10-07, 2026-10-08)",
        "[2026-11-07, 2026-11-08)",
    ):
        admin.execute(
            "INSERT INTO ops.skipped_windows (dataset, window_range, rule, reason)"
            " VALUES ('daily_sales', %s, 'old', 'x')",
            (window,),
        )
    admin.connection.commit()
    with caplog.at_level(logging.WARNING):
        bootstrap.run()
    assert caplog.text.count('its skip by the rule "old" is deleted') == 4
    analyst.execute("SELECT lower(window_range)::date::text FROM ops.skipped_windows")
    assert [row[0] for row in analyst.fetchall()] == ["2026-10-09"]
    analyst.execute(MISSING, ("daily_sales",))
    assert tuple(warehouse.fetch(analyst)) == (28, 1)
    analyst.execute("SELECT sum(windows) FROM ops.gaps WHERE dataset = 'daily_sales'")
    assert warehouse.fetch_value(analyst) == 28
