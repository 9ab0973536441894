"""A backup of the sources that is put back: rows and transactions of then, in new tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import shopping
from psycopg2.extensions import cursor as Cursor

from chaos import backup, datasets, invariants
from chaos.backup import Backup
from chaos.invariants import Stretch
from highwater.environment import settings
from highwater.model import clock
from highwater.store import warehouse
from simulation import batches, channels, sales

Change = Callable[[str], int]
MARKS = """
SELECT
    (SELECT jsonb_object_agg(order_id, changed_xid::text) FROM shop.orders) AS transactions,
    (SELECT oid FROM pg_database WHERE datname = current_database()) AS database,
    'shop.orders'::regclass::oid AS table_oid,
    pg_relation_filenode('shop.orders') AS file,
    pg_current_snapshot() AS snapshot,
    (SELECT datacl::text FROM pg_database WHERE datname = current_database()) AS rights
"""
NEWER = (
    "UPDATE shop.orders SET amount = amount + 1 WHERE order_id = 1",
    "DELETE FROM shop.orders WHERE order_id = 2",
    "INSERT INTO shop.orders (customer_id, status, amount, currency, placed_at)"
    " VALUES (1, 'placed', 5, 'EUR', '2026-10-31 10:00+00')",
)


@pytest.fixture
def kept(small_shop: Change, scratch: Callable[[str], Path]) -> Backup:
    """A backup of a shop that has changed since: one order has, one is gone, and one has come."""
    made = backup.take(scratch("backup"))
    for statement in NEWER:
        small_shop(statement)
    return made


def marks() -> Any:
    """Which rows, tables and database there are, as a reader of the shop sees them."""
    with closing(warehouse.connect("shop_reader", settings.get().sources_database)) as link, link.cursor() as cursor:
        cursor.execute(MARKS)
        return warehouse.fetch(cursor)


def test_a_schema_that_is_put_back_has_the_rows_of_then_in_new_tables(small_shop: Change, kept: Backup) -> None:
    before = marks()
    kept.restore_schema("shop")
    after = marks()
    assert set(after.transactions) == set(map(str, range(1, 301)))
    assert set(after.transactions.items()) - set(before.transactions.items()) == {
        (number, after.transactions["3"]) for number in ("1", "2")
    }
    assert after.database == before.database
    assert after.table_oid != before.table_oid
    assert after.file != before.file
    assert small_shop("UPDATE shop.orders SET amount = 9 WHERE order_id = 4") == 1
    assert marks().transactions["4"] != after.transactions["4"], "its triggers are back too"


@pytest.fixture
def whole(kept: Backup) -> Iterator[Backup]:
    """The same; afterwards the sources other than the shop are brought up to date."""
    yield kept
    for source in (sales, batches, channels):
        source.advance(clock.now())


def test_a_database_that_is_put_back_is_another_one_by_the_same_name_and_rights(whole: Backup) -> None:
    before = marks()
    with closing(warehouse.connect("shop_reader", settings.get().sources_database)) as link, link.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM shop.orders")
        whole.prepare_database()
        cursor.execute("SELECT count(*) FROM shop.orders")
        whole.swap_database()
        with pytest.raises(psycopg2.OperationalError):
            cursor.execute("SELECT count(*) FROM shop.orders")
    after = marks()
    assert len(after.transactions) == 300
    assert after.database != before.database
    assert after.table_oid != before.table_oid
    assert after.rights == before.rights
    with warehouse.session("postgres") as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datname ~ %s", (settings.get().sources_database,))
        assert cursor.fetchall() == [(settings.get().sources_database,)]


def test_orders_that_a_restored_shop_knows_nothing_of_must_be_published_as_deleted(
    small_shop: Change, kept: Backup, admin: Cursor
) -> None:
    shopping.land()
    kept.restore_schema("shop")
    assert datasets.differing_orders() == (300, 3)
    assert datasets.differing_orders(kept.taken_at) == (300, 3), "it is published, and not as deleted"
    assert "3 of 300 orders differ" in invariants.same_content(admin, Stretch(restored_to=kept.taken_at)).wrong[-1]
    shopping.land("b")
    assert datasets.differing_orders(kept.taken_at) == (300, 0)
    assert datasets.differing_orders() == (300, 1), "without a restore a deleted order leaves a trace in the shop"
