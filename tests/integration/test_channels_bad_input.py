"""What bad input from a source gets: named and kept, nothing half-published, and the others go on."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import channels
import pytest
from channels import PARTNER, STORE, SUPPLIER, change, day, instead, rows, rule, run, value

from highwater.environment import settings
from highwater.loading import source_sync
from highwater.model.errors import ConfigurationError, DataRejected, SourceIncomplete, SourceSlow, SourceUnavailable

pytestmark = pytest.mark.usefixtures("three_sources")
TODAY, BEFORE = day("2026-10-30"), day("2026-10-29")


def nothing_landed() -> bool:
    """Neither the ledger nor staging nor a published table holds anything."""
    return bool(
        value("SELECT count(*) FROM ops.window_ledger") == 0
        and value("SELECT count(*) FROM pg_tables WHERE schemaname = 'staging'") == 0
        and value("SELECT count(*) FROM sales.store_sales") == 0
    )


def last_check(source: str) -> tuple[object, ...]:
    """Reachable, complete and error of the newest check."""
    found = rows(
        "SELECT reachable, complete, error FROM ops.source_checks WHERE source = %s ORDER BY check_id DESC LIMIT 1",
        source,
    )
    return tuple(found[0])


def test_a_partner_that_is_down_for_the_whole_run_costs_the_day_with_a_recorded_reason() -> None:
    with channels.away("partner"):
        seen = channels.check(PARTNER, TODAY)
        assert source_sync.skip_if_unavailable(PARTNER, TODAY, seen, run())
    assert (seen.found, seen.reachable) == ("away", False)
    assert "not permitted to log in" in str(seen.error)
    ((skipped,),) = rows("SELECT rule || ': ' || reason FROM ops.skipped_windows WHERE dataset = 'partner_sales'")
    assert skipped == f"source away: {seen.error}"
    assert nothing_landed()


def test_a_source_slower_than_its_statement_timeout_is_given_up_after_it_and_not_asked_again() -> None:
    rule("partner", "statement_timeout = '1 second'")
    with instead("partner.orders", "*, pg_sleep(30)::text AS slept"):
        seen = channels.check(PARTNER, TODAY)
        assert source_sync.skip_if_unavailable(PARTNER, TODAY, seen, run())
    assert (seen.found, seen.reachable, seen.complete) == ("slow", True, False)
    assert "source 'partner' is too slow: a statement exceeded its time limit" in str(seen.error)
    assert value("SELECT count(*) FROM ops.source_checks") == 1
    assert value("SELECT rule FROM ops.skipped_windows WHERE dataset = 'partner_sales'") == "source slow"


def test_a_source_that_turns_slow_under_the_load_ends_it_at_once_and_is_kept_as_a_bad_check() -> None:
    rule("store", "statement_timeout = '1 second'")
    with instead("store.sales", "*, pg_sleep(30)::text AS slept"):
        assert channels.check(STORE, TODAY).found == "good"
        with pytest.raises(SourceSlow) as slow:
            channels.load(STORE, TODAY)
    assert slow.value.is_final, "a retry in the same run would cost the timeout again"
    assert last_check("store")[:2] == (True, False)
    assert value("SELECT state FROM ops.attempts") == "failed"
    assert nothing_landed()


@pytest.fixture
def silent_store() -> Iterator[None]:
    """The store's connection leads to a server that takes calls and never says a word."""
    file = settings.get().secrets / "connections.json"
    before, mode = file.read_text(), file.stat().st_mode
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        known = json.loads(before)
        known["store"] |= {"port": server.getsockname()[1], "extra": {"connect_timeout": 2}}
        file.chmod(0o600)
        file.write_text(json.dumps(known))
        yield
    file.write_text(before)
    file.chmod(mode)


def test_a_source_that_hangs_costs_its_timeout_once_a_run(silent_store: None) -> None:
    seen = channels.check(STORE, TODAY)
    assert (seen.found, seen.reachable) == ("slow", False)
    assert "source 'store' is too slow" in str(seen.error) and "timeout expired" in str(seen.error)
    assert source_sync.skip_if_unavailable(STORE, TODAY, seen, run())
    assert value("SELECT count(*) FROM ops.source_checks") == 1, "the load did not call again"
    assert value("SELECT count(*) FROM ops.skipped_windows") == 0, "the store's day is missing, and caught up on later"


def test_a_day_that_comes_empty_is_not_published() -> None:
    change("DELETE FROM store.sales WHERE sold_at >= '2026-10-29' AND sold_at < '2026-10-30'")
    with pytest.raises(DataRejected, match=r"store_sales 2026-10-29 is not published.*every row of the source"):
        channels.load(STORE, TODAY)
    assert list(channels.landed(STORE)) == [day("2026-10-28"), TODAY], "the other days land all the same"


def test_a_day_that_the_store_says_was_empty_is_not_believed() -> None:
    change("DELETE FROM store.sales WHERE sold_at >= '2026-10-30'")
    change("UPDATE store.closed_days SET sales = 0 WHERE day = '2026-10-30'")
    with pytest.raises(DataRejected, match="a day without a sale was not delivered"):
        channels.load(STORE, TODAY)


def test_a_day_the_store_has_not_closed_is_asked_for_again_and_never_published_short() -> None:
    change("UPDATE store.closed_days SET closed_at = '2026-11-05' WHERE day = '2026-10-30'")
    assert channels.check(STORE, TODAY).found == "incomplete"
    with pytest.raises(SourceIncomplete, match="the day closes at 2026-11-05 00:00:00 UTC"):
        channels.load(STORE, TODAY)
    assert TODAY not in channels.landed(STORE)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("short", "1 of its 80 orders are not there"),
        ("missing", "the source does not list this window yet"),
    ],
)
def test_a_partners_day_that_comes_short_or_not_at_all_is_skipped_with_the_reason(kind: str, reason: str) -> None:
    change("DELETE FROM partner.orders WHERE order_id = (SELECT max(order_id) FROM partner.orders)")
    if kind == "missing":
        change("DELETE FROM partner.closed_days WHERE day = '2026-10-30'")
    assert channels.check(PARTNER, TODAY).found == "incomplete"
    channels.load(PARTNER, TODAY)
    (skipped,) = rows("SELECT rule, reason FROM ops.skipped_windows WHERE dataset = 'partner_sales'")
    assert skipped.rule == "incomplete"
    assert reason in skipped.reason
    assert channels.landed(PARTNER) == {}


def test_a_source_with_another_schema_is_named_by_the_check_and_nothing_is_loaded() -> None:
    change("ALTER TABLE store.sales RENAME COLUMN amount TO total")
    try:
        seen = channels.check(STORE, TODAY)
        with pytest.raises(ConfigurationError, match=r'store_sales is not loaded.*column "amount" does not exist'):
            source_sync.skip_if_unavailable(STORE, TODAY, seen, run())
    finally:
        change("ALTER TABLE store.sales RENAME COLUMN total TO amount")
    assert (seen.found, seen.reachable, seen.complete) == ("misfit", True, False)
    assert nothing_landed()


def test_a_value_of_another_type_refuses_its_day_alone() -> None:
    with instead(
        "store.sales",
        "sale_id, sold_at, store_code, product_code, quantity, partner_order_id,"
        " CASE WHEN sold_at >= '2026-10-30' THEN 'free' ELSE amount::text END AS amount",
    ), pytest.raises(DataRejected, match="source 'store' has a value that does not fit"):  # fmt: skip
        channels.load(STORE, TODAY)
    assert list(channels.landed(STORE)) == [day("2026-10-28"), BEFORE]


def test_a_connection_closed_in_the_middle_of_the_stream_leaves_nothing_and_is_kept_as_a_bad_check() -> None:
    change(
        "CREATE FUNCTION store.die(n bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN IF n % 16777216 = 333"
        " THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN n; END $$"
    )
    columns = "store.die(sale_id) AS sale_id, sold_at, store_code, product_code, quantity, amount, partner_order_id"
    with instead("store.sales", columns), pytest.raises(SourceUnavailable) as broken:
        channels.load(STORE, TODAY)
    change("DROP FUNCTION store.die")
    assert not broken.value.is_final, "Airflow tries again"
    assert last_check("store")[:2] == (False, False)
    assert nothing_landed()


def test_a_partner_that_is_back_with_duplicates_of_old_days_changes_nothing() -> None:
    rule("partner", "reliability_checks = 1")
    channels.check(PARTNER, BEFORE)
    channels.load(PARTNER, BEFORE)
    counts = "version, content_hash, rows_published, rows_deduplicated"
    query = f"SELECT {counts} FROM ops.window_ledger WHERE dataset = 'partner_sales' AND window_range @> %s"
    (before,) = rows(query, BEFORE.start)
    again = change(
        "INSERT INTO partner.orders SELECT order_id, ordered_at, product_code, quantity, amount, now()"
        " FROM partner.orders WHERE ordered_at >= '2026-10-29' AND ordered_at < '2026-10-30' AND order_id % 3 = 0"
    )
    channels.load(PARTNER, TODAY)
    assert rows(query, BEFORE.start) == [before], "a run for another day does not touch it"
    channels.load(PARTNER, BEFORE, by="b")
    (after,) = rows(query, BEFORE.start)
    assert tuple(after) == (2, before.content_hash, before.rows_published, before.rows_deduplicated + again)
    assert again > 20


def test_orders_that_come_again_with_other_values_go_to_quarantine() -> None:
    change(
        "INSERT INTO partner.orders SELECT order_id, ordered_at, product_code, quantity, amount + 1, now()"
        " FROM partner.orders WHERE order_id = (SELECT max(order_id) FROM partner.orders)"
    )
    channels.load(PARTNER, TODAY)
    assert value("SELECT count(*) FROM quarantine.rejected_rows WHERE reason = 'copies of one order differ'") == 2


def test_a_week_that_is_due_and_did_not_come_is_missing_not_skipped() -> None:
    change("UPDATE supplier.deliveries SET delivered_at = '2026-11-20'")
    channels.load(SUPPLIER, day("2026-10-26"))
    assert channels.check(SUPPLIER, TODAY).found == "incomplete"
    channels.load(SUPPLIER, TODAY)
    states = rows("SELECT state, reason FROM ops.window_status WHERE dataset = 'supplier_settlements' ORDER BY 1")
    assert [row.state for row in states] == ["missing", "not due"]
    assert rows("SELECT FROM ops.skipped_windows") == []
    assert "the source does not list this window yet" in states[0].reason


def test_a_corrected_week_replaces_the_one_that_landed() -> None:
    channels.load(SUPPLIER, TODAY)
    change("INSERT INTO supplier.deliveries SELECT week, 2, delivered_at + interval '1 hour', settlements"
           " FROM supplier.deliveries WHERE week = '2026-10-19'")  # fmt: skip
    change("INSERT INTO supplier.settlements SELECT week, 2, settlement_id, settled_on, product_code, quantity,"
           " amount + 0.01 FROM supplier.settlements WHERE week = '2026-10-19'")  # fmt: skip
    channels.load(SUPPLIER, TODAY)
    channels.load(SUPPLIER, TODAY)
    (week,) = rows("SELECT version, source_snapshot FROM ops.window_ledger WHERE dataset = 'supplier_settlements'")
    assert tuple(week) == (2, "delivery 2")
