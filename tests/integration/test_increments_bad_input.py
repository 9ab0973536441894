"""What is wrong with a checkpoint or a source is named, and its rule applied before anything is published."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor
from shopping import compare, here, identify, land, merge, plan, prepare, rule, there, value

from highwater.environment import settings
from highwater.model.errors import ConfigurationError, DataRejected
from highwater.store import warehouse
from simulation import extension

Change = Callable[[str], int]
RunDag = Callable[..., Any]
DAG = "incremental_data_processing"
NOON = datetime(2026, 10, 31, 12, tzinfo=UTC)


def test_a_checkpoint_that_was_moved_by_hand_is_named_recorded_and_fixed(small_shop: Change, admin: Cursor) -> None:
    land()
    small_shop("UPDATE shop.orders SET amount = 321 WHERE order_id = 1")
    skipped = plan()
    assert skipped.mode == "incremental"
    admin.execute("SELECT pg_current_snapshot()::text AS snapshot")
    admin.execute(
        "UPDATE ops.checkpoints SET source_snapshot = %s, updated_by = 'someone', reason = 'in a hurry'",
        (warehouse.fetch_value(admin),),
    )
    admin.connection.commit()
    planned = plan()
    assert planned.mode == "full"
    assert "the checkpoint was tampered with" in planned.reason
    land("b")
    assert here() == there()
    assert (
        value("SELECT login || ' ' || (state ->> 'updated_by') FROM ops.checkpoint_history WHERE revision = 2")
        == "postgres someone"
    )


def test_a_deleted_checkpoint_is_a_full_run_that_changes_nothing(small_shop: Change, admin: Cursor) -> None:
    land()
    admin.execute("DELETE FROM ops.checkpoints")
    admin.connection.commit()
    merged = land("b")
    assert (merged.mode, merged.rows_inserted, merged.rows_updated, merged.rows_deleted) == ("full", 0, 0, 0)
    assert value("SELECT change FROM ops.checkpoint_history ORDER BY recorded_at OFFSET 1 LIMIT 1") == "delete"


def test_a_checkpoint_ahead_of_the_source_is_named(small_shop: Change, admin: Cursor) -> None:
    """As after a restore of the source's disk: the transactions the checkpoint has seen are not there."""
    land()
    for table in ("ops.checkpoints", "ops.window_ledger"):
        admin.execute(f"UPDATE {table} SET source_snapshot = '99999999:99999999:'")
    admin.connection.commit()
    planned = plan()
    assert planned.mode == "full"
    assert "ahead of the source, which was restored from an older state: the checkpoint is at transaction 99999999" in (
        planned.reason
    )
    rule("on_replaced_source = 'stop'")
    with pytest.raises(DataRejected, match=r"control\.sources\.on_replaced_source says stop"):
        plan()
    land("b", accept=True)
    assert here() == there()


@pytest.fixture
def backup(small_shop: Change, simulator: Cursor, admin: Cursor) -> Iterator[Callable[[], None]]:
    """A backup of the whole database of the sources is taken; call it to restore that in its place."""
    database = settings.get().sources_database
    names = {"live": sql.Identifier(database), "copy": sql.Identifier(f"{database}_copy")}
    simulator.connection.close()

    def administer(*statements: str) -> None:
        admin.connection.rollback()
        admin.connection.autocommit = True
        for statement in statements:
            admin.execute(sql.SQL(statement).format(**names))

    administer("CREATE DATABASE {copy} TEMPLATE {live} OWNER simulator")

    def restore() -> None:
        administer("DROP DATABASE {live} WITH (FORCE)", "ALTER DATABASE {copy} RENAME TO {live}")
        for role in ("simulator", *extension.READERS):
            administer(f"GRANT CONNECT ON DATABASE {{live}} TO {role}")
        administer("REVOKE ALL ON DATABASE {live} FROM PUBLIC")

    yield restore
    administer("DROP DATABASE IF EXISTS {copy} WITH (FORCE)")


def test_a_source_restored_from_a_backup_is_loaded_in_full_and_what_it_lost_is_deleted(
    small_shop: Change, backup: Callable[[], None]
) -> None:
    land()
    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        cursor.execute("UPDATE shop.orders SET status = 'delivered' WHERE order_id = 1")
        cursor.execute("DELETE FROM shop.orders WHERE order_id = 2")
        cursor.execute("INSERT INTO shop.orders SELECT (shop.new_order(4000, now(), 1)).*")
    land("b")
    backup()
    planned = plan()
    assert planned.mode == "full"
    assert "the source is not the checkpoint's: database is" in planned.reason
    merged = land("c")
    assert (merged.rows_inserted, merged.rows_updated, merged.rows_deleted) == (1, 1, 1)
    assert here() == there()


def test_a_source_restored_between_plan_and_read_is_not_read_by_the_plan(
    small_shop: Change, backup: Callable[[], None]
) -> None:
    land()
    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        cursor.execute("UPDATE shop.orders SET status = 'delivered' WHERE order_id <= 50")
    land("b")
    rule("on_replaced_source = 'stop'")
    planned = plan()
    assert planned.mode == "incremental"
    backup()
    with pytest.raises(DataRejected, match=r"the source changed since this run was planned: database is"):
        identify(planned)
    with pytest.raises(DataRejected, match="on_replaced_source says stop"):
        plan()
    assert land("c", accept=True).rows_updated == 50
    assert here() == there()


def test_an_added_column_is_a_full_run_and_no_more(small_shop: Change) -> None:
    land()
    small_shop("ALTER TABLE shop.orders ADD COLUMN note text")
    try:
        assert plan().reason == "the source's columns changed: note (text) added"
        merged = land("b")
        assert (merged.mode, merged.rows_updated) == ("full", 0)
        assert plan().mode == "incremental"
    finally:
        small_shop("ALTER TABLE shop.orders DROP COLUMN note")


def test_a_dropped_column_stops_the_run_and_is_named(airflow: RunDag, small_shop: Change) -> None:
    land()
    before = here(deleted=True)
    small_shop("ALTER TABLE shop.orders RENAME COLUMN currency TO money")
    try:
        assert str(airflow(DAG, NOON).state) == "failed"
    finally:
        small_shop("ALTER TABLE shop.orders RENAME COLUMN money TO currency")
    assert value("SELECT stage FROM ops.attempts WHERE state = 'failed'") == "identify_changes"
    error = value("SELECT error FROM ops.attempts WHERE state = 'failed'")
    assert error.startswith("sql/incremental_data_processing/xid_")
    assert ' is refused: column "currency" does not exist' in error
    assert (here(deleted=True), value("SELECT revision FROM ops.checkpoints")) == (before, 1)


def test_a_retyped_column_that_does_not_fit_stops_the_run_and_is_named(small_shop: Change) -> None:
    land()
    for table in ("orders", "deleted_orders"):
        small_shop(f"ALTER TABLE shop.{table} ALTER COLUMN amount TYPE text")
    try:
        planned = plan()
        assert (planned.mode, planned.reason) == (
            "full",
            "the source's columns changed: amount is text, was numeric(12,2)",
        )
        with pytest.raises(ConfigurationError, match=r"clean\.sql, line \d+ is refused: operator does not exist: text"):
            prepare(planned)
    finally:
        for table in ("orders", "deleted_orders"):
            small_shop(f"ALTER TABLE shop.{table} ALTER COLUMN amount TYPE numeric(12, 2) USING amount::numeric")
    assert value("SELECT revision FROM ops.checkpoints") == 1


@pytest.mark.parametrize("answer", ["full", "accept", "stop"])
def test_a_change_set_larger_than_the_limit_falls_under_its_rule(small_shop: Change, answer: str) -> None:
    land()
    rule(f"max_changes = 5, on_large_change_set = '{answer}'")
    small_shop("UPDATE shop.orders SET amount = 9 WHERE order_id <= 5")
    assert land("b").mode == "incremental"
    small_shop("UPDATE shop.orders SET amount = 8 WHERE order_id <= 6")
    if answer == "stop":
        with pytest.raises(
            DataRejected, match=r"more than 5 rows changed at the source; .*on_large_change_set says stop"
        ):
            plan()
        assert len([row for row in here().values() if row[3] == 8]) == 1
    assert land("c", accept=answer == "stop").mode == ("full" if answer == "full" else "incremental")
    assert here() == there()


@pytest.mark.parametrize("asked", [None, "a person"], ids=["incremental", "full"])
def test_a_deletion_of_most_rows_is_not_merged_unless_accepted(small_shop: Change, asked: str | None) -> None:
    land()
    small_shop("DELETE FROM shop.orders WHERE order_id > 100")
    with pytest.raises(
        DataRejected, match="200 of the 300 live rows of orders would be deleted, more than the share of"
    ):
        land("b", asked=asked)
    assert len(here()) == 300
    assert value("SELECT revision FROM ops.checkpoints") == 1
    assert land("c", asked=asked, accept=True).rows_deleted == 200
    assert here() == there()


def test_a_rule_can_accept_deletions_of_any_size(small_shop: Change) -> None:
    land()
    rule("on_mass_delete = 'accept'")
    small_shop("DELETE FROM shop.orders")
    assert land("b").rows_deleted == 300


def test_a_full_run_wanted_in_control_is_taken_once(small_shop: Change) -> None:
    land()
    rule("full_run_wanted = 'ada: the shop moved'")
    assert (plan().mode, plan().reason) == ("full", "control.sources requests it: ada: the shop moved")
    assert land("b").mode == "full"
    assert plan().mode == "incremental"


@pytest.mark.parametrize("before", [None, "ada: the shop moved"])
def test_one_that_is_wanted_while_a_full_run_is_under_way_is_still_to_come(
    small_shop: Change, before: str | None
) -> None:
    land()
    if before:
        rule(f"full_run_wanted = '{before}'")
    read = prepare(plan(asked="nightly"))
    rule("full_run_wanted = 'ada: corrected by hand at 12:00'")
    assert merge(read).mode == "full"
    assert plan().reason == "control.sources requests it: ada: corrected by hand at 12:00"


@pytest.mark.parametrize(
    ("assignment", "constraint"),
    [
        ("strategy = 'guess'", "strategy_is_xid_updated_at_or_windows"),
        ("overlap = '-1 hour'", "overlap_is_not_negative"),
        ("max_deleted_share = 1.5", "max_deleted_share_is_a_share"),
        ("on_mass_delete = 'full'", "on_mass_delete_is_stop_or_accept"),
        ("keys_per_bucket = 0", "buckets_are_positive"),
    ],
)
def test_a_setting_out_of_bounds_is_refused_by_name(small_shop: Change, assignment: str, constraint: str) -> None:
    with pytest.raises(Exception, match=constraint):
        rule(assignment)


def test_a_reset_leads_to_a_full_run_that_changes_nothing(small_shop: Change) -> None:
    from highwater.store import checkpoints

    land()
    checkpoints.reset("orders", "ada", "the shop's server was moved")
    planned = plan()
    assert planned.reason == "the checkpoint was reset by ada: the shop's server was moved"
    changes = identify(planned)
    assert changes.rows == 300
    merged = land("b")
    assert (merged.mode, merged.rows_inserted, merged.rows_updated, merged.rows_deleted) == ("full", 0, 0, 0)
    assert compare().keys == ()
