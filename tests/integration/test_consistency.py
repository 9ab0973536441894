"""Source against target as of a checkpoint: what differs is named, what only changed since is not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from psycopg2.extensions import cursor as Cursor
from shopping import compare, here, land, plan, rule, there, value

from highwater.model.errors import ConfigurationError
from highwater.store import checkpoints, warehouse
from highwater.store.checkpoints import Merged

Change = Callable[[str], int]
Tamper = Callable[[str], None]
NOON = datetime(2026, 10, 31, 12, tzinfo=UTC)


@pytest.fixture
def tamper(admin: Cursor) -> Tamper:
    """Changes the published table behind everybody's back."""

    def change(statement: str) -> None:
        admin.execute(statement)
        admin.connection.commit()

    return change


@pytest.fixture
def merged(small_shop: Change) -> Merged:
    """Everything has landed; buckets hold ten keys, and a run compares three times as many rows of each side."""
    rule("keys_per_bucket = 10, buckets_per_check = 3")
    return land()


def test_changes_since_the_checkpoint_make_no_difference(small_shop: Change, merged: Merged) -> None:
    small_shop("UPDATE shop.orders SET amount = 1000 WHERE order_id < 40")
    small_shop("DELETE FROM shop.orders WHERE order_id BETWEEN 40 AND 45")
    small_shop("INSERT INTO shop.orders SELECT (shop.new_order(5000, now(), 1)).*")
    check = compare()
    assert (check.keys, check.pending) == ((), 39 + 6 + 1)
    assert check.oldest_pending is not None
    assert check.rows_compared == 300 - 39 - 6


def test_a_change_that_waits_for_longer_than_the_limit_is_reported(small_shop: Change, merged: Merged) -> None:
    small_shop("SET shop.now = '2026-10-31 09:00+00'; UPDATE shop.orders SET amount = 1000 WHERE order_id = 1")
    small_shop("SET shop.now = '2026-10-31 11:00+00'; UPDATE shop.orders SET amount = 1000 WHERE order_id = 2")
    check = compare()
    assert check.newest_pending == NOON - timedelta(hours=1)
    with warehouse.session("loader") as cursor:
        limit = checkpoints.max_lag(cursor, "orders")
    assert check.overdue(NOON, limit) == timedelta(hours=3)
    assert check.overdue(NOON, timedelta(hours=3)) is None
    assert check.overdue(NOON, None) is None


@pytest.mark.parametrize(
    ("statement", "keys"),
    [
        ("UPDATE sales.orders SET amount = amount + 1 WHERE order_id IN (17, 203)", ("17", "203")),
        ("DELETE FROM sales.orders WHERE order_id = 55", ("55",)),
        ("UPDATE sales.orders SET deleted_at = now() WHERE order_id = 56", ("56",)),
        (
            "INSERT INTO sales.orders SELECT 9000, customer_id, status, amount, currency, placed_at, updated_at, NULL"
            " FROM sales.orders WHERE order_id = 1",
            ("9000",),
        ),
    ],
    ids=["other content", "missing", "taken for deleted", "too many"],
)
def test_a_difference_is_named_by_its_key_and_the_next_run_is_full_and_repairs_it(
    merged: Merged, tamper: Tamper, statement: str, keys: tuple[str, ...]
) -> None:
    tamper(statement)
    check = compare()
    assert check.keys == keys
    assert f"differ in {len(keys)} keys: {', '.join(keys)}" in check.sentence()
    planned = plan()
    assert (planned.mode, f"among them {keys[0]}" in planned.reason) == ("full", True)
    land("b")
    assert compare().keys == ()
    assert here() == there()
    assert plan().mode == "incremental"


def test_runs_go_round_the_rows(merged: Merged, tamper: Tamper) -> None:
    """Of 300 orders a run compares 30: ten runs, an eleventh finds no others."""
    tamper("UPDATE sales.orders SET amount = 1 WHERE order_id = 165")
    seen = []
    for number in range(12):
        check = compare(land(str(number)) if number == 0 else incremental(merged))
        seen.append((check.next_after_source, check.rows_compared, check.keys))
        assert check.next_after_source == check.next_after_target
    ends = [f'["{last}"]' for last in range(30, 301, 30)]
    assert [turn[0] for turn in seen] == [*ends, None, ends[0]]
    assert [turn[1] for turn in seen] == [30] * 10 + [0, 30]
    assert [turn[0] for turn in seen if turn[2] == ("165",)] == ['["180"]']


def incremental(merged: Merged) -> Merged:
    """As if an incremental run had found nothing."""
    snapshot = value("SELECT source_snapshot::text FROM ops.checkpoints")
    return Merged("merged", 0, 0, 0, "incremental", snapshot, merged.base_watermark)


def test_what_a_run_brought_is_compared_wherever_it_lies(small_shop: Change, merged: Merged, tamper: Tamper) -> None:
    small_shop("UPDATE shop.orders SET amount = 1000 WHERE order_id = 250")
    brought = land("b")
    tamper("UPDATE sales.orders SET amount = 999 WHERE order_id IN (250, 251)")
    check = compare(brought)
    assert (check.next_after_source, check.keys) == ('["30"]', ("250",))


def test_many_differences_are_named_up_to_a_hundred(merged: Merged, tamper: Tamper) -> None:
    rule("keys_per_bucket = 100")
    tamper("UPDATE sales.orders SET amount = 0.01")
    check = compare()
    assert check.keys == tuple(str(key) for key in range(1, 101))


def test_by_updated_at_a_deletion_shows_and_the_next_run_is_full(small_shop: Change, merged: Merged) -> None:
    rule("strategy = 'updated_at'")
    land("b")
    small_shop("DELETE FROM shop.orders WHERE order_id = 5")
    assert land("c").rows_deleted == 0
    assert compare().keys == ("5",)
    assert plan().mode == "full"
    assert land("d").rows_deleted == 1
    assert compare().keys == ()


def test_without_a_checkpoint_there_is_nothing_to_compare_at(small_shop: Change) -> None:
    with pytest.raises(ConfigurationError, match="orders has no checkpoint to compare at: a full run makes one"):
        compare()
