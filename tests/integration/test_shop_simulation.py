"""The shop lives as it should: the same by its seed, busy and quiet, with late commits and marks nobody forgets."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor
from shopping import there

from highwater.environment import settings
from highwater.store import warehouse
from simulation import shop

Change = Callable[[str], int]
EVENING = datetime(2026, 10, 30, 20, 0, tzinfo=UTC)
DIGEST = (
    "SELECT md5(string_agg(concat_ws('|', order_id, customer_id, status, amount, currency,"
    " extract(epoch FROM placed_at), extract(epoch FROM updated_at)), ',' ORDER BY order_id)) FROM shop.orders"
)
GOLDEN = "850d9a9ffb49a5802b4ee85fc3dbd793"
"""The shop that opened with 5,000 orders, at ``EVENING``; the same on Postgres 17 and 18."""


@pytest.fixture
def new_shop(small_shop: Change) -> Change:
    """A shop that has not opened."""
    small_shop("TRUNCATE shop.ticks, shop.orders, shop.deleted_orders RESTART IDENTITY")
    small_shop("TRUNCATE shop.deleted_orders")
    return small_shop


def value(cursor: Cursor, query: str) -> object:
    cursor.execute(query)
    found: object = warehouse.fetch_value(cursor)
    cursor.connection.rollback()
    return found


def test_the_same_ticks_make_the_same_orders_whether_played_one_by_one_or_at_once(
    new_shop: Change, simulator: Cursor
) -> None:
    assert shop.advance(EVENING) == 120
    assert value(simulator, DIGEST) == GOLDEN
    new_shop("TRUNCATE shop.ticks, shop.orders, shop.deleted_orders RESTART IDENTITY")
    for minutes in range(0, 20 * 60 + 1, 75):
        shop.advance(EVENING - timedelta(hours=20) + timedelta(minutes=minutes))
    assert value(simulator, DIGEST) == GOLDEN


def test_a_tick_that_was_played_is_not_played_again(new_shop: Change) -> None:
    shop.advance(EVENING)
    assert shop.advance(EVENING + timedelta(minutes=9)) == 0
    assert shop.advance(EVENING + timedelta(minutes=10)) == 1


def test_a_shop_that_was_off_for_a_week_was_closed_for_all_but_the_last_day(new_shop: Change) -> None:
    shop.advance(EVENING)
    assert shop.advance(EVENING + timedelta(days=7)) == shop.MOST_TICKS


def test_nights_are_quiet_evenings_busy_and_some_ticks_burst(simulator: Cursor) -> None:
    night = "SELECT max(shop.orders_in(t, 42)) FROM generate_series(12, 29) AS t WHERE shop.orders_in(t, 42) < 8"
    usual = (
        "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY shop.orders_in(d * 144 + t, 42))"
        " FROM generate_series(0, 9) AS d, generate_series({}, {}) AS t"
    )
    assert value(simulator, usual.format(12, 29)) == 0
    assert value(simulator, usual.format(114, 119)) == 14
    assert value(simulator, night) == 0
    bursts = "SELECT count(*) FROM generate_series(0, 1439) AS t WHERE shop.orders_in(t, 42) > 20"
    assert 20 < int(str(value(simulator, bursts))) < 60


def test_nothing_happens_in_the_future(new_shop: Change, simulator: Cursor) -> None:
    shop.advance(EVENING)
    latest = value(simulator, "SELECT greatest(max(placed_at), max(updated_at)) FROM shop.orders")
    assert EVENING - timedelta(minutes=20) < latest < EVENING  # type: ignore[operator]
    assert value(simulator, "SELECT count(*) FROM shop.deleted_orders") != 0


def test_a_part_of_each_tick_commits_late_and_is_open_meanwhile(new_shop: Change, simulator: Cursor) -> None:
    """While the late transaction is held, the prompt one is there already, though it began later."""
    shop.advance(EVENING)
    before = set(there())
    holding = threading.Thread(target=shop.advance, args=(EVENING + timedelta(minutes=10), timedelta(seconds=3)))
    holding.start()
    while (tick := value(simulator, "SELECT count(*) FROM shop.ticks")) != 121:
        assert tick == 120
    meanwhile = set(there())
    holding.join()
    after = set(there())
    assert before < meanwhile < after
    late, prompt = (
        value(simulator, f"SELECT max(changed_xid::text::bigint) FROM shop.orders WHERE order_id = {key}")
        for key in (max(after - meanwhile), max(meanwhile - before))
    )
    assert late < prompt  # type: ignore[operator]


def test_two_at_once_play_each_tick_once(new_shop: Change, simulator: Cursor) -> None:
    both = [threading.Thread(target=shop.advance, args=(EVENING,)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert value(simulator, DIGEST) == GOLDEN


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE shop.orders SET changed_xid = '1', updated_at = '2000-01-01' WHERE order_id = 1",
        "INSERT INTO shop.orders SELECT 900, 1, 'placed', 1, 'EUR', now(), '2000-01-01', '1'",
    ],
)
def test_no_writer_can_forge_the_marks(small_shop: Change, simulator: Cursor, statement: str) -> None:
    small_shop(statement)
    assert value(simulator, "SELECT count(*) FROM shop.orders WHERE updated_at < '2020-01-01'") == 0
    assert value(simulator, "SELECT min(changed_xid::text::bigint) > 1 FROM shop.orders") is True


def test_the_reader_reads_and_writes_nothing(small_shop: Change) -> None:
    for statement in ("DELETE FROM shop.orders", "SELECT shop.play(1, 1, true)", "DELETE FROM shop.deleted_orders"):
        with (
            pytest.raises(psycopg2.errors.InsufficientPrivilege),
            warehouse.session("shop_reader", settings.get().sources_database) as cursor,
        ):
            cursor.execute(statement)
