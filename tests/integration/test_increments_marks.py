"""Every change at the source is marked, by any session or statement; where that is not sure, the run is a full one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from shopping import compare, here, land, plan, rule, there, value

from highwater.environment import settings
from highwater.store import warehouse

Change = Callable[[str], int]
ALWAYS = "ALTER TABLE shop.orders ENABLE ALWAYS TRIGGER mark_change, ENABLE ALWAYS TRIGGER mark_truncation"


def bootstrap_again() -> None:
    """What every start does with the shop."""
    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        warehouse.run_file(cursor, "sources/20_shop.sql")


@pytest.fixture
def marked_shop(small_shop: Change) -> Iterator[Change]:
    """The small shop, whose triggers are put right at the end."""
    yield small_shop
    bootstrap_again()


def in_replica_mode(statement: str) -> None:
    """As a subscription applies changes, or a restore brings rows."""
    with warehouse.session("postgres", settings.get().sources_database) as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(statement)


def test_changes_in_replica_mode_are_loaded(marked_shop: Change) -> None:
    land()
    in_replica_mode("UPDATE shop.orders SET amount = amount + 1 WHERE order_id > 100")
    in_replica_mode("DELETE FROM shop.orders WHERE order_id = 299")
    in_replica_mode("INSERT INTO shop.orders SELECT (shop.new_order(4000, now(), 1)).*")
    merged = land("b")
    assert (merged.mode, merged.rows_inserted, merged.rows_updated, merged.rows_deleted) == ("incremental", 1, 199, 1)
    assert here() == there()


def test_a_table_truncated_in_replica_mode_is_one_of_deletions(marked_shop: Change) -> None:
    land()
    in_replica_mode("TRUNCATE shop.orders")
    assert land("b", accept=True).rows_deleted == 300
    assert here() == {}
    assert len([row for row in here(deleted=True).values() if row[-1]]) == 300


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("ALTER TABLE shop.orders DISABLE TRIGGER mark_change", "trigger mark_change of shop.orders is disabled"),
        (
            "ALTER TABLE shop.orders DISABLE TRIGGER mark_truncation",
            "trigger mark_truncation of shop.orders is disabled",
        ),
        ("ALTER TABLE shop.orders ENABLE TRIGGER mark_change", "is off for replicated and restored rows"),
        ("ALTER TABLE shop.orders ENABLE REPLICA TRIGGER mark_change", "is off but for replicated rows"),
        ("DROP TRIGGER mark_change ON shop.orders", "is missing"),
    ],
    ids=["disabled", "truncation", "not always", "replica", "dropped"],
)
def test_while_a_trigger_is_not_as_it_must_be_every_run_is_full_and_says_how_to_put_it_right(
    marked_shop: Change, statement: str, said: str
) -> None:
    land()
    marked_shop(statement)
    marked_shop("UPDATE shop.orders SET amount = 999 WHERE order_id = 5")
    for name in "bc":
        planned = plan()
        assert planned.mode == "full"
        assert "changes at the source may be unmarked: trigger" in planned.reason
        assert said in planned.reason and "ENABLE ALWAYS TRIGGER" in planned.reason
        land(name)
        assert here() == there()
    bootstrap_again()
    assert "a trigger that marks changes at the source was altered since the checkpoint" in plan().reason
    land("d")
    assert plan().mode == "incremental"
    assert compare().keys == ()


def test_what_changed_while_a_trigger_was_off_is_loaded_once_it_is_on_again(marked_shop: Change) -> None:
    """As after pg_restore --data-only --disable-triggers, or a hand that puts many rows right."""
    land()
    marked_shop("ALTER TABLE shop.orders DISABLE TRIGGER USER")
    marked_shop("UPDATE shop.orders SET amount = 999 WHERE order_id = 5")
    marked_shop("DELETE FROM shop.orders WHERE order_id = 6")
    marked_shop(ALWAYS)
    assert "a trigger that marks changes at the source was altered since" in plan().reason
    land("b")
    assert here() == there()
    assert plan().mode == "incremental"


def test_a_start_does_not_touch_triggers_that_are_right_and_puts_an_older_shops_right(marked_shop: Change) -> None:
    land()
    bootstrap_again()
    assert plan().mode == "incremental"
    marked_shop("ALTER TABLE shop.orders ENABLE TRIGGER mark_change, ENABLE TRIGGER mark_truncation")
    bootstrap_again()
    assert "was altered since" in plan().reason


def test_by_updated_at_nothing_is_promised_of_triggers(marked_shop: Change) -> None:
    rule("strategy = 'updated_at'")
    marked_shop("ALTER TABLE shop.orders DISABLE TRIGGER mark_truncation")
    land()
    assert plan().mode == "incremental"
    assert value("SELECT promise FROM ops.checkpoint_status").startswith("deletions, and changes that commit more than")
