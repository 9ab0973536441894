"""What the published table holds is written down with the checkpoint, kept up by every merge, and can be verified."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor
from shopping import HOUR, ORDERS, compare, here, identify, land, plan, prepare, run, there, value

from highwater.loading import staging
from highwater.loading.changes import increments
from highwater.model.errors import AuditFailed, DataRejected
from highwater.store import checkpoints, ledger, warehouse
from highwater.store.ledger import Run

Change = Callable[[str], int]
Tamper = Callable[[str], None]


@pytest.fixture
def tamper(admin: Cursor) -> Tamper:
    """Changes the warehouse behind everybody's back."""

    def change(statement: str) -> None:
        admin.execute(statement)
        admin.connection.commit()

    return change


@pytest.fixture
def changed_table(small_shop: Change, tamper: Tamper) -> Iterator[Tamper]:
    """Like tamper, for columns of the published table, which are put back at the end."""
    yield tamper
    tamper(
        "ALTER TABLE sales.orders DROP COLUMN IF EXISTS note, DROP COLUMN IF EXISTS cents,"
        " ALTER order_id DROP IDENTITY IF EXISTS"
    )


def merge_unaudited(asked: str | None = None) -> None:
    """Everything up to the merge but the audit, which refuses a published table of other columns."""
    changes = identify(plan(asked=asked))
    with warehouse.session("loader") as cursor:
        staging.clean(cursor, ORDERS.folder, changes.name, changes.window)
    checkpoints.merge("orders", changes, run())


def verified(role: str = "analyst") -> Any:
    with warehouse.session(role) as cursor:
        cursor.execute("SELECT * FROM ops.verify_merged('orders')")
        return warehouse.fetch(cursor)


def assert_true_to_the_checkpoint() -> None:
    found = verified()
    assert (found.rows_found, found.hash_found) == (found.rows_expected, found.hash_expected)
    assert found.hash_found is not None
    with warehouse.session("postgres") as cursor:
        cursor.execute("SELECT * FROM ops.table_content('sales.orders')")
        content = warehouse.fetch(cursor)
    assert (found.rows_found, found.hash_found) == (content.row_count, content.content_hash)
    assert value("SELECT live_rows FROM ops.checkpoints") == len(here())


def test_the_content_follows_every_kind_of_change(small_shop: Change) -> None:
    chance = random.Random(11)
    statements = [
        "UPDATE shop.orders SET amount = amount + 1 WHERE order_id % {n} = 0",
        "DELETE FROM shop.orders WHERE order_id % 40 = {n}",
        "INSERT INTO shop.orders (order_id, customer_id, status, amount, currency, placed_at)"
        " SELECT k, 1, 'paid', 5, 'EUR', '2026-10-30' FROM generate_series(1, 320) AS k"
        " WHERE k % 3 = {n} % 3 AND k NOT IN (SELECT order_id FROM shop.orders)",
        "UPDATE shop.orders SET amount = -1 WHERE order_id % 50 = {n}",
        "UPDATE shop.orders SET order_id = order_id + 5000 WHERE order_id % 60 = {n} AND order_id < 5000",
    ]
    land()
    assert_true_to_the_checkpoint()
    for number in range(8):
        for statement in chance.sample(statements, 2):
            small_shop(statement.format(n=chance.randint(1, 30)))
        land(str(number), asked="a person" if number % 4 == 3 else None, accept=True)
        assert_true_to_the_checkpoint()
    assert compare().keys == ()


def test_an_empty_table_has_the_content_of_one(small_shop: Change) -> None:
    small_shop("TRUNCATE shop.orders")
    small_shop("TRUNCATE shop.deleted_orders")
    land()
    assert verified().rows_expected == 0
    assert_true_to_the_checkpoint()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sales.orders SET amount = amount + 1 WHERE order_id = 17",
        "UPDATE sales.orders SET deleted_at = now() WHERE order_id = 17",
        "DELETE FROM sales.orders WHERE order_id = 17",
        "INSERT INTO sales.orders SELECT 9000, customer_id, status, amount, currency, placed_at, updated_at, deleted_at"
        " FROM sales.orders WHERE order_id = 17",
        "UPDATE sales.orders AS o SET amount = p.amount FROM sales.orders AS p WHERE p.order_id = 35 - o.order_id",
    ],
)
@pytest.mark.parametrize("role", ["analyst", "loader", "operator"])
def test_what_was_changed_behind_the_ledger_is_found(
    small_shop: Change, tamper: Tamper, statement: str, role: str
) -> None:
    land()
    tamper(statement)
    found = verified(role)
    assert found.hash_found != found.hash_expected
    small_shop("UPDATE shop.orders SET amount = 1000 WHERE order_id = 200")
    land("b")
    assert verified(role).hash_found != verified(role).hash_expected, "a later merge does not cover it up"


def test_nobody_else_may_verify(small_shop: Change) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege), warehouse.session("analyst") as cursor:
        cursor.execute("SELECT ops.merged_content('sales.orders', '{order_id}')")


def test_an_unknown_dataset_is_named(small_shop: Change) -> None:
    with pytest.raises(psycopg2.Error, match=r'"nothing" is not a dataset that is .*; expected one of orders'):
        value("SELECT ops.verify_merged('nothing')")


def test_a_column_that_comes_or_goes_is_no_difference(small_shop: Change, changed_table: Tamper) -> None:
    land()
    changed_table("ALTER TABLE sales.orders ADD COLUMN note text")
    found = verified()
    assert found.hash_found == found.hash_expected
    small_shop("UPDATE shop.orders SET amount = 1000 WHERE order_id <= 20")
    merge_unaudited()
    found = verified()
    assert found.hash_found == found.hash_expected
    assert "note" in value("SELECT hashed_columns FROM ops.checkpoints"), "hashed from the next merge on"
    changed_table("UPDATE sales.orders SET note = 'forged' WHERE order_id = 200")
    assert verified().hash_found != found.hash_expected
    merge_unaudited("a person")
    assert "note" in value("SELECT hashed_columns FROM ops.checkpoints")
    assert_true_to_the_checkpoint()
    changed_table("ALTER TABLE sales.orders DROP COLUMN note")
    merge_unaudited()
    assert_true_to_the_checkpoint()


def test_a_column_that_comes_makes_no_change_behind_the_ledger_right(small_shop: Change, changed_table: Tamper) -> None:
    land()
    changed_table("UPDATE sales.orders SET amount = 7 WHERE order_id = 200")
    changed_table("ALTER TABLE sales.orders ADD COLUMN note text")
    small_shop("UPDATE shop.orders SET amount = 1000 WHERE order_id <= 20")
    merge_unaudited()
    found = verified()
    assert found.hash_found != found.hash_expected
    assert "note" not in value("SELECT hashed_columns FROM ops.checkpoints")


def test_generated_columns_and_numbers_that_are_always_generated_are_merged(
    small_shop: Change, changed_table: Tamper
) -> None:
    changed_table(
        "ALTER TABLE sales.orders ADD COLUMN cents bigint GENERATED ALWAYS AS ((amount * 100)::bigint) STORED,"
        " ALTER order_id ADD GENERATED ALWAYS AS IDENTITY"
    )
    merge_unaudited()
    small_shop("UPDATE shop.orders SET amount = 12.34 WHERE order_id = 5")
    small_shop("DELETE FROM shop.orders WHERE order_id = 6")
    merge_unaudited()
    assert here() == there()
    assert value("SELECT cents FROM sales.orders WHERE order_id = 5") == 1234
    assert_true_to_the_checkpoint()


def test_a_checkpoint_of_an_older_release_learns_its_content_from_the_next_full_run(
    small_shop: Change, tamper: Tamper
) -> None:
    land()
    tamper("UPDATE ops.checkpoints SET published_rows = NULL, hash_sums = NULL, hashed_columns = NULL")
    for name in "bc":
        found = verified()
        assert (found.rows_expected, found.hash_expected, found.rows_found) == (None, None, 300)
        small_shop("UPDATE shop.orders SET amount = amount + 1 WHERE order_id < 9")
        assert land(name).mode == "incremental"
    assert value("SELECT live_rows FROM ops.checkpoints") == 300
    land("d", asked="a person")
    assert_true_to_the_checkpoint()


def test_a_reset_forgets_how_far_and_not_what(small_shop: Change) -> None:
    land()
    checkpoints.reset("orders", "ada", "a try")
    assert_true_to_the_checkpoint()


def test_a_set_that_has_landed_does_not_count_as_landed_where_its_rows_are_gone(
    small_shop: Change, tamper: Tamper
) -> None:
    changes = prepare()
    checkpoints.merge("orders", changes, run())
    assert checkpoints.merge("orders", changes, run()).outcome == "already landed"
    tamper("DELETE FROM sales.orders WHERE order_id <= 20")
    with pytest.raises(
        DataRejected, match=r"has landed, but sales\.orders does not hold what it left: 280 rows where 300"
    ):
        checkpoints.merge("orders", changes, run())
    land("b", asked="a person")
    assert here() == there()


@pytest.mark.parametrize("role", ["analyst", "loader", "operator"])
@pytest.mark.parametrize(
    "function", ["pg_advisory_lock(1)", "pg_advisory_xact_lock(1)", "pg_try_advisory_lock_shared(1, 2)"]
)
def test_nobody_takes_the_locks_of_the_server_by_advisory_locks(role: str, function: str) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege), warehouse.session(role) as cursor:
        cursor.execute(f"SELECT {function}")


def staged() -> set[str]:
    with warehouse.session("postgres") as cursor:
        cursor.execute("SELECT tablename::text FROM pg_tables WHERE schemaname = 'staging'")
        return {row[0] for row in cursor.fetchall()}


def fail(number: int) -> tuple[str, str]:
    """A run whose audit fails; returns its set and what was said."""
    changes = identify(plan())
    mine = Run("incremental_data_processing", f"run {number}")
    with pytest.raises(AuditFailed) as caught, ledger.attempt("orders", HOUR, "process_changes", mine):
        increments.process(ORDERS, changes, mine)
    return changes.name, str(caught.value)


def test_of_audits_that_fail_again_and_again_the_newest_set_is_kept_for_inspection(small_shop: Change) -> None:
    land()
    # The end of its run: until then it may still want its set.
    compare()
    small_shop("UPDATE shop.orders SET status = 'placed' WHERE order_id = 30")
    for number in range(3):
        name, said = fail(number)
        assert staged() == {f"{name}_{part}" for part in ("raw", "clean", "rejected", "copies")}
        listed = re.search(r"listed by: (SELECT .*)", said)
        assert listed, said
        assert value(listed[1].split("; ")[0]) is not None
    small_shop("UPDATE shop.orders SET status = 'shipped' WHERE order_id = 30")
    land("b")
    assert staged() == set()
