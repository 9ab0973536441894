"""Decision, read and comparison are about one state of the source, which is replaced or rewritten between them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from shopping import compare, here, identify, land, plan, rule, there, value
from waiting import wait_until

from highwater.environment import settings
from highwater.model.errors import DataRejected, SourceMoved
from highwater.store import warehouse

Change = Callable[[str], int]
NEW_TABLE = """
CREATE TABLE shop.orders_new (LIKE shop.orders INCLUDING ALL);
INSERT INTO shop.orders_new SELECT order_id, customer_id, 'paid', amount, currency, placed_at, updated_at, '1'::xid8
FROM shop.orders WHERE order_id <= 290;
ALTER TABLE shop.orders RENAME TO orders_old;
ALTER TABLE shop.orders_new RENAME TO orders;
CREATE TRIGGER mark_change BEFORE INSERT OR UPDATE OR DELETE ON shop.orders
FOR EACH ROW EXECUTE FUNCTION shop.mark_change();
CREATE TRIGGER mark_truncation BEFORE TRUNCATE ON shop.orders FOR EACH STATEMENT EXECUTE FUNCTION shop.mark_change();
ALTER TABLE shop.orders ENABLE ALWAYS TRIGGER mark_change, ENABLE ALWAYS TRIGGER mark_truncation;
GRANT SELECT ON shop.orders TO shop_reader;
"""
REWRITES = {
    "unlogged": "ALTER TABLE shop.orders SET UNLOGGED",
    "retyped": "ALTER TABLE shop.orders ALTER COLUMN amount TYPE numeric(12, 2) USING amount + 1",
    "truncated": "TRUNCATE shop.orders;"
    " INSERT INTO shop.orders (order_id, customer_id, status, amount, currency, placed_at)"
    " SELECT n, n, 'paid', n, 'EUR', '2026-10-30 12:00+00' FROM generate_series(1, 250) AS n",
    "replaced": NEW_TABLE,
}


@pytest.fixture
def moving_shop(small_shop: Change) -> Iterator[Change]:
    """The small shop, whose table of orders is put back at the end if a test replaced it."""
    yield small_shop
    small_shop(
        "DO $$ BEGIN IF to_regclass('shop.orders_old') IS NOT NULL THEN"
        " DROP TABLE shop.orders; ALTER TABLE shop.orders_old RENAME TO orders; END IF; END $$"
    )
    small_shop("ALTER TABLE shop.orders SET LOGGED")


def in_the_way(statements: str, work: Callable[[], Any]) -> Any:
    """What work comes to, or the error it ends in, that waits for a table while the statements change it."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(work())
        except Exception as error:
            result.append(error)

    database = settings.get().sources_database
    with closing(warehouse.connect("simulator", database)) as link, link.cursor() as cursor:
        cursor.execute(statements)
        thread = threading.Thread(target=run)
        thread.start()

        def waits() -> bool:
            with warehouse.session("postgres", database) as admin:
                admin.execute(
                    "SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity USING (pid)"
                    " WHERE usename = 'shop_reader' AND NOT l.granted"
                )
                return bool(warehouse.fetch_value(admin)) or bool(result)

        wait_until("the reader to wait for the table", waits, seconds=30)
        link.commit()
    thread.join()
    return result[0]


def test_a_source_that_is_replaced_after_the_plan_is_not_read_by_it(moving_shop: Change) -> None:
    rule("on_replaced_source = 'stop'")
    land()
    moving_shop("UPDATE shop.orders SET status = 'shipped' WHERE order_id > 250")
    land("b")
    moving_shop("UPDATE shop.orders SET status = 'delivered' WHERE order_id = 251")
    planned, before = plan(), here()
    assert planned.mode == "incremental"
    moving_shop(NEW_TABLE)
    with pytest.raises(DataRejected, match=r"changed since this run was planned: .*table is .*nothing was loaded"):
        identify(planned)
    assert (here(), value("SELECT count(*) FROM ops.window_ledger")) == (before, 2)
    with pytest.raises(DataRejected, match=r"control\.sources\.on_replaced_source says stop"):
        plan()
    assert land("c", accept=True).mode == "full"
    assert here() == there()


@pytest.mark.parametrize("asked", [None, "a person"], ids=["incremental", "full"])
@pytest.mark.parametrize("rewrite", REWRITES)
def test_a_table_that_is_rewritten_while_a_read_waits_for_it_is_not_taken_for_an_empty_one(
    moving_shop: Change, rewrite: str, asked: str | None
) -> None:
    land()
    moving_shop("UPDATE shop.orders SET status = 'shipped' WHERE order_id BETWEEN 200 AND 260")
    planned = plan(asked=asked)
    came = in_the_way(REWRITES[rewrite], lambda: identify(planned))
    assert isinstance(came, SourceMoved), came
    assert "was rewritten, truncated or replaced while it was read" in str(came)
    assert value("SELECT count(*) FROM pg_tables WHERE schemaname = 'staging'") == 0
    with pytest.raises(DataRejected, match="the source changed since this run was planned"):
        identify(planned)
    assert land("b").mode == "full"
    assert here() == there()
    assert compare().keys == ()


def test_what_a_rewrite_changed_without_a_mark_is_loaded(moving_shop: Change) -> None:
    land()
    moving_shop(REWRITES["retyped"])
    assert "a table of the source was rewritten or truncated since the checkpoint" in plan().reason
    land("b")
    assert here() == there()
    assert plan().mode == "incremental"


def test_deletions_that_nobody_remembers_are_found(moving_shop: Change) -> None:
    """The shop's record of deletions is emptied before it is read."""
    land()
    moving_shop("DELETE FROM shop.orders WHERE order_id = 7")
    moving_shop("TRUNCATE shop.deleted_orders")
    assert land("b").mode == "full"
    assert here() == there()


def test_a_comparison_with_another_source_than_the_checkpoints_is_refused(moving_shop: Change) -> None:
    merged = land()
    moving_shop(NEW_TABLE)
    for since in (None, merged):
        with pytest.raises(DataRejected, match=r"not the checkpoint's: table is .*nothing was compared"):
            compare(since)
    assert value("SELECT count(*) FROM ops.consistency_checks") == 0


@pytest.mark.parametrize("rewrite", ["unlogged", "truncated"])
def test_a_comparison_under_which_a_table_is_rewritten_is_done_again(moving_shop: Change, rewrite: str) -> None:
    land()
    came = in_the_way(REWRITES[rewrite], compare)
    assert isinstance(came, SourceMoved), came
    assert value("SELECT count(*) FROM ops.consistency_checks") == 0
    assert len(compare().keys) == 0
