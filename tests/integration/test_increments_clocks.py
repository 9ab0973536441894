"""A clock that is ahead, the source's or the platform's, and a loader that forges: no window ends in the future."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from shopping import HOUR, ORDERS, compare, here, hours, land, prepare, run, there, value

from highwater.incidents import alerts
from highwater.loading.changes import increments
from highwater.model.errors import DataRejected
from highwater.store import checkpoints, warehouse

Change = Callable[[str], int]
NOON = datetime(2026, 10, 31, 12, tzinfo=UTC)
THREE_DAYS = timedelta(days=3)
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def source_ahead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The source's clock is three days ahead."""
    folder = tmp_path / "sql"
    shutil.copytree(warehouse.SQL, folder)
    state = folder / ORDERS.folder / "source_state.sql"
    said = "coalesce(%(now)s::timestamptz, now()) AS moment"
    assert said in state.read_text()
    state.write_text(state.read_text().replace(said, said.replace(" AS", " + '3 days'::interval AS")))
    monkeypatch.setattr(warehouse, "SQL", folder)


def covered(count: int = 80) -> int:
    """How many of the hours from noon on count as covered."""
    return sum(increments.is_covered("orders", hour) for hour in hours(count, NOON))


def test_a_source_whose_clock_is_ahead_marks_no_future_hour_as_landed(small_shop: Change, source_ahead: None) -> None:
    land()
    small_shop("UPDATE shop.orders SET amount = 1000 WHERE order_id <= 50")
    land("b")
    assert value("SELECT max(upper(window_range)) FROM ops.window_ledger") <= NOON + MICROSECOND
    assert value("SELECT watermark FROM ops.checkpoints") <= NOON + MICROSECOND
    assert covered() == 0
    assert increments.is_covered("orders", HOUR)
    assert here() == there()


def test_a_change_that_waits_is_as_old_as_it_is_whatever_the_sources_clock_says(
    small_shop: Change, source_ahead: None
) -> None:
    land()
    small_shop("SET shop.now = '2026-11-03 09:00+00'; UPDATE shop.orders SET amount = 1000 WHERE order_id = 1")
    check = compare()
    assert check.oldest_pending == NOON - timedelta(hours=3)
    assert check.overdue(NOON, timedelta(hours=2)) == timedelta(hours=3)


def test_hours_that_landed_while_the_platforms_clock_was_ahead_are_loaded_once_it_is_right(
    small_shop: Change, later: Callable[[timedelta], None]
) -> None:
    later(THREE_DAYS)
    land()
    later(timedelta(0))
    small_shop("UPDATE shop.orders SET amount = 1000 WHERE order_id <= 50")
    assert covered() == 0
    assert not increments.is_covered("orders", HOUR)
    land("b")
    assert here() == there()
    assert value("SELECT max(upper(window_range)) FROM ops.window_ledger") == NOON + THREE_DAYS + MICROSECOND


def test_a_window_that_was_made_while_a_clock_was_ahead_is_not_merged(
    small_shop: Change, later: Callable[[timedelta], None]
) -> None:
    land()
    later(THREE_DAYS)
    changes = prepare()
    later(timedelta(0))
    with pytest.raises(DataRejected, match=r"ends in the future: expected an end up to 2026-10-31 12:00:00"):
        checkpoints.merge("orders", changes, run())
    assert value("SELECT max(upper(window_range)) FROM ops.window_ledger") == NOON


def test_time_going_on_covers_the_hours_that_are_over(small_shop: Change, later: Callable[[timedelta], None]) -> None:
    land()
    later(timedelta(hours=2, minutes=5))
    land("b")
    assert [increments.is_covered("orders", hour) for hour in hours(4, NOON)] == [True, True, False, False]


OTHER = {"server": "1", "table": 1}


@pytest.mark.parametrize(
    ("forged", "said"),
    [
        ({"window_end": datetime(2099, 1, 1, tzinfo=UTC)}, "ends in the future"),
        ({"window_end": NOON + timedelta(seconds=1)}, "ends in the future"),
        ({"window_start": NOON - timedelta(hours=1)}, "the next window of orders begins at"),
        ({"mode": "reset"}, "invalid mode reset of changes of orders: expected full or incremental"),
        ({"mode": None}, "invalid mode null"),
        ({"identity": {}}, "do not name their source"),
        ({"identity": None}, "do not name their source"),
        ({"snapshot": None}, "do not name their source"),
        ({"identity": OTHER}, "from another source, or an older state of it: nothing is merged"),
        ({"snapshot": "3:3:"}, "from another source, or an older state of it: nothing is merged"),
    ],
    ids=lambda given: str(given)[:40],
)
def test_a_forged_merge_is_refused(small_shop: Change, forged: dict[str, Any], said: str) -> None:
    land()
    small_shop("UPDATE shop.orders SET amount = 1000 WHERE order_id <= 50")
    changes = prepare()
    assert changes.mode == "incremental"
    before = here()
    with pytest.raises(DataRejected, match=said):
        checkpoints.merge("orders", replace(changes, **forged), run())
    assert (here(), value("SELECT count(*) FROM ops.window_ledger")) == (before, 1)
    assert checkpoints.merge("orders", changes, run()).outcome == "merged"


def test_what_a_clock_that_was_ahead_has_left_in_the_ledger_makes_nothing_fresh(empty_warehouse: None) -> None:
    """As an older warehouse has it: the newest window ends in the future, and its load is dated there."""
    with warehouse.session("postgres") as cursor:
        for first, last, landed in (
            (NOON - 2 * THREE_DAYS, NOON - THREE_DAYS, NOON - THREE_DAYS),
            (NOON - THREE_DAYS, NOON + THREE_DAYS, NOON + THREE_DAYS),
        ):
            cursor.execute(
                "INSERT INTO ops.window_ledger VALUES ('orders', tstzrange(%s, %s), 1, 0, 0, 0, 0, 'x', NULL, 's', 'd',"
                " 'r', %s)",
                (first, last, landed),
            )
    assert value("SELECT landed_until FROM ops.freshness WHERE dataset = 'orders'") == NOON - THREE_DAYS
    assert value("SELECT is_stale FROM ops.freshness WHERE dataset = 'orders'")
    alerts.look()
    found = "SELECT subject FROM ops.incidents WHERE kind = 'freshness exceeded' AND closed_at IS NULL"
    assert value(found) == "orders"
