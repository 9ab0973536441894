"""Loading by changes: data, checkpoint and ledger together, from whatever the last checkpoint did not see."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection
from shopping import HOUR, compare, here, identify, land, merge, plan, prepare, process, rule, run, there, value

from highwater.environment import settings
from highwater.loading.changes import increments
from highwater.model.errors import DataRejected
from highwater.model.windows import Window
from highwater.store import checkpoints, publish, warehouse
from highwater.store import status as statuses
from highwater.store.checkpoints import Merged
from highwater.store.publish import Staged
from simulation import shop

Change = Callable[[str], int]
NEW = (
    "INSERT INTO shop.orders (customer_id, status, amount, currency, placed_at)"
    " VALUES (1, 'placed', 9.50, 'CHF', '2026-10-31 11:00+00')"
)


@pytest.fixture
def slow_writer(small_shop: Change) -> Iterator[Connection]:
    """A connection to the shop whose transaction the test commits late."""
    with closing(warehouse.connect("simulator", settings.get().sources_database)) as link:
        yield link


def counts(merged: Merged) -> tuple[str, int, int, int]:
    return merged.mode, merged.rows_inserted, merged.rows_updated, merged.rows_deleted


def test_the_first_run_takes_everything_and_the_next_one_only_what_changed(small_shop: Change) -> None:
    assert counts(land()) == ("full", 300, 0, 0)
    small_shop("UPDATE shop.orders SET status = 'shipped' WHERE order_id IN (5, 6)")
    small_shop("DELETE FROM shop.orders WHERE order_id = 7")
    small_shop(NEW)
    changes = prepare()
    assert changes.rows == 4
    assert [(h["inserts"], h["updates"], h["deletes"]) for h in changes.by_hour] == [(1, 2, 1)]
    assert counts(merge(changes, "b")) == ("incremental", 1, 2, 1)
    assert here() == there()
    assert here(deleted=True)[7][-1] is not None
    assert counts(land("c")) == ("incremental", 0, 0, 0)
    assert value("SELECT live_rows FROM ops.checkpoints") == 300


def test_rows_are_those_that_are_there_however_often_they_were_read(small_shop: Change) -> None:
    small_shop("UPDATE shop.orders SET amount = -1 WHERE order_id = 11")
    for name in "ab":
        assert land(name, asked="a test").mode == "full"
    small_shop("UPDATE shop.orders SET status = 'shipped' WHERE order_id IN (5, 6)")
    land("c")
    with warehouse.session("analyst") as cursor:
        (orders,) = [one for one in statuses.read(cursor) if one.dataset == "orders"]
    assert orders.rows_published == value("SELECT count(*) FROM sales.orders") == 299
    assert orders.rows_quarantined == 1


def test_windows_follow_each_other_without_gap_or_overlap(small_shop: Change) -> None:
    for name in "abc":
        land(name)
    assert value("SELECT count(*) FROM ops.window_ledger") == 3
    assert value("SELECT range_agg(window_range)::text FROM ops.window_ledger").count("[") == 1
    assert value("SELECT max(upper(window_range)) FROM ops.window_ledger") == value(
        "SELECT watermark FROM ops.checkpoints"
    )


def test_a_transaction_that_commits_after_two_runs_is_taken_by_the_third(
    small_shop: Change, slow_writer: Connection
) -> None:
    land()
    with slow_writer.cursor() as cursor:
        cursor.execute("UPDATE shop.orders SET status = 'cancelled' WHERE order_id = 1")
        cursor.execute("DELETE FROM shop.orders WHERE order_id = 2")
        cursor.execute(NEW)
    small_shop("UPDATE shop.orders SET amount = 77 WHERE order_id = 3")
    assert counts(land("b")) == ("incremental", 0, 1, 0)
    assert counts(land("c")) == ("incremental", 0, 0, 0)
    slow_writer.commit()
    assert counts(land("d")) == ("incremental", 1, 1, 1)
    assert here() == there()


def test_by_updated_at_the_overlap_decides_whether_a_late_commit_is_seen_and_the_full_run_repairs_it(
    small_shop: Change, slow_writer: Connection
) -> None:
    rule("strategy = 'updated_at', overlap = '0'")
    land()
    with slow_writer.cursor() as cursor:
        cursor.execute("SET LOCAL shop.now = '2026-10-31 11:50+00'")
        cursor.execute("UPDATE shop.orders SET amount = 55 WHERE order_id = 1")
    slow_writer.commit()
    small_shop("DELETE FROM shop.orders WHERE order_id = 2")
    assert plan().mode == "incremental"
    assert land("b").rows_updated == 0
    rule("overlap = '15 minutes'")
    assert land("c").rows_updated == 1
    assert set(here()) - set(there()) == {2}
    assert counts(land("d", asked="a person")) == ("full", 0, 0, 1)
    assert here() == there()


def test_an_order_placed_again_under_its_number_is_there_again(small_shop: Change) -> None:
    land()
    small_shop("DELETE FROM shop.orders WHERE order_id = 9")
    land("b")
    small_shop(NEW.replace("(customer_id", "(order_id, customer_id").replace("(1, 'placed'", "(9, 1, 'placed'"))
    assert counts(land("c")) == ("incremental", 1, 0, 0)
    assert here() == there()
    assert value("SELECT live_rows FROM ops.checkpoints") == 300


@pytest.mark.parametrize(
    ("statement", "mode"),
    [
        ("UPDATE shop.orders SET order_id = 9000 WHERE order_id = 4", "incremental"),
        # marked as well, but of a rewritten table nobody knows that
        ("TRUNCATE shop.orders", "full"),
    ],
)
def test_a_changed_number_and_a_truncated_table_are_deletions(small_shop: Change, statement: str, mode: str) -> None:
    land()
    small_shop(statement)
    assert land("b", accept=True).mode == mode
    assert here() == there()


def test_a_full_run_deletes_what_vanished_and_a_second_one_changes_nothing(small_shop: Change) -> None:
    land()
    small_shop("DELETE FROM shop.orders WHERE order_id <= 3")
    small_shop("DELETE FROM shop.deleted_orders WHERE order_id = 1")
    small_shop("UPDATE shop.orders SET amount = 1000 WHERE order_id = 10")
    assert counts(land("b", asked="a person")) == ("full", 0, 1, 3)
    before = here(deleted=True)
    assert set(before) - set(here()) == {1, 2, 3}
    assert counts(land("c", asked="a person")) == ("full", 0, 0, 0)
    assert here(deleted=True) == before


def test_a_refused_order_stays_as_it_was_published_until_it_is_fixed(small_shop: Change) -> None:
    land()
    small_shop("UPDATE shop.orders SET amount = -1 WHERE order_id = 11")
    land("b")
    assert here()[11][3] == 11
    assert value("SELECT key || ' ' || reason FROM quarantine.refused_keys") == '["11"] amount not positive'
    assert (compare().keys, compare().refused) == ((), 1)
    assert counts(land("c", asked="a person")) == ("full", 0, 0, 0)
    small_shop("UPDATE shop.orders SET amount = 12 WHERE order_id = 11")
    land("d")
    assert value("SELECT count(*) FROM quarantine.refused_keys") == 0
    assert here() == there()


def test_a_refused_order_that_is_deleted_is_gone(small_shop: Change) -> None:
    land()
    small_shop("UPDATE shop.orders SET currency = 'XXX' WHERE order_id = 11")
    small_shop("DELETE FROM shop.orders WHERE order_id = 11")
    assert counts(land("b")) == ("incremental", 0, 0, 1)
    assert here() == there()


def test_a_second_try_of_a_merge_finds_it_done(small_shop: Change) -> None:
    changes = prepare()
    first = checkpoints.merge("orders", changes, run())
    again = checkpoints.merge("orders", changes, run())
    assert again == replace(first, outcome="already landed")
    assert value("SELECT revision FROM ops.checkpoints") == 1


def test_of_two_runs_at_once_one_moves_the_checkpoint_and_nothing_is_lost(small_shop: Change) -> None:
    land()
    small_shop("UPDATE shop.orders SET amount = 500 WHERE order_id <= 20")
    sets = [process(identify(by="0"), "0")]
    small_shop("UPDATE shop.orders SET amount = 501 WHERE order_id <= 10")
    sets.append(process(identify(by="1"), "1"))
    start = threading.Barrier(2)
    outcomes: list[str] = []

    def merge(number: int) -> None:
        start.wait()
        try:
            outcomes.append(checkpoints.merge("orders", sets[number], run(str(number))).outcome)
        except DataRejected as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=merge, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("merged") == 1
    (other,) = [outcome for outcome in outcomes if outcome != "merged"]
    assert "the checkpoint of orders has moved from revision 1 to 2 (by run " in other
    assert "nothing is merged" in other
    land("c")
    assert here() == there()


def test_a_run_whose_checkpoint_has_moved_learns_it_before_it_reads(small_shop: Change) -> None:
    land()
    planned = plan()
    land("b")
    with pytest.raises(DataRejected, match="was moved since this run began, by run b: the next run loads"):
        identify(planned)


def test_rows_that_changed_while_the_audit_refuses_land_after_the_fix(small_shop: Change) -> None:
    land()
    before = value("SELECT to_jsonb(c) FROM ops.checkpoints AS c")
    small_shop("UPDATE shop.orders SET status = 'placed' WHERE order_id = 30")
    small_shop("UPDATE shop.orders SET amount = 444 WHERE order_id = 31")
    with pytest.raises(DataRejected, match=r"is not published: .*never back.*listed by: SELECT"):
        land("b")
    small_shop(NEW)
    small_shop("DELETE FROM shop.orders WHERE order_id = 32")
    with pytest.raises(DataRejected, match="never back"):
        land("c")
    assert value("SELECT to_jsonb(c) FROM ops.checkpoints AS c") == before
    assert value("SELECT count(*) FROM ops.window_ledger") == 1
    assert len(here()) == 300
    small_shop("UPDATE shop.orders SET status = 'shipped' WHERE order_id = 30")
    assert counts(land("d")) == ("incremental", 1, 2, 1)
    assert here() == there()


def test_twenty_four_missed_hours_are_one_run_and_end_as_twenty_four_runs_would(
    small_shop: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shop's day is played twice, once with a run after every hour, once with a single run at its end."""
    start = datetime(2026, 10, 30, tzinfo=UTC)
    ends = {}
    for name, every in (("hourly", 1), ("once", 24)):
        with warehouse.session("postgres") as cursor:
            cursor.execute("TRUNCATE ops.window_ledger, ops.checkpoints, sales.orders, quarantine.refused_keys CASCADE")
        small_shop("TRUNCATE shop.ticks, shop.orders, shop.deleted_orders RESTART IDENTITY")
        for hour in range(0, 25):
            now = start + timedelta(hours=hour, minutes=2)
            shop.advance(now)
            if hour % every == 0:
                monkeypatch.setenv("HIGHWATER_NOW", now.isoformat())
                land(f"{name} {hour}")
        ends[name] = here(deleted=True)
        assert value("SELECT count(*) FROM ops.window_ledger") == 1 + 24 // every
    assert ends["once"] == ends["hourly"]
    assert {row[0] for row in ends["once"].values() if row[-1]}, "the day has deletions"
    hours = [Window(start + timedelta(hours=n), start + timedelta(hours=n + 1)) for n in range(25)]
    assert [increments.is_covered("orders", hour) for hour in hours] == [True] * 24 + [False]
    assert value("SELECT count(*) FROM ops.window_status WHERE dataset = 'orders' AND state = 'landed'") == 24
    assert value("SELECT count(*) FROM ops.gaps WHERE dataset = 'orders'") == 0


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO sales.orders SELECT * FROM sales.orders",
        "DELETE FROM sales.orders",
        "UPDATE ops.checkpoints SET watermark = now()",
        "DELETE FROM ops.checkpoint_history",
        "UPDATE control.sources SET max_changes = 1",
        "DELETE FROM quarantine.refused_keys",
    ],
)
@pytest.mark.parametrize("role", ["loader", "analyst"])
def test_the_database_refuses_every_other_way_to_write(small_shop: Change, role: str, statement: str) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege), warehouse.session(role) as cursor:
        cursor.execute(statement)


def test_a_dataset_of_watermarks_has_no_window_that_could_be_published(small_shop: Change) -> None:
    changes = prepare()
    staged = Staged(changes.name, changes.rows, 0, changes.snapshot)
    with pytest.raises(DataRejected, match="is not a window of orders"):
        publish.publish_window("orders", HOUR, staged, run())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda c: replace(c, name="set_0"), "staging set set_0 does not exist"),
        (lambda c: replace(c, mode="incremental"), "only a full run can make one"),
        (lambda c: replace(c, window_start=c.window_start + timedelta(hours=1)), "the next window of orders begins at"),
    ],
)
def test_what_does_not_add_up_merges_nothing(small_shop: Change, spoil: object, said: str) -> None:
    changes = prepare()
    with pytest.raises(DataRejected, match=said):
        checkpoints.merge("orders", spoil(changes), run())  # type: ignore[operator]
    assert here() == {}
    assert value("SELECT count(*) FROM ops.checkpoints") == 0
