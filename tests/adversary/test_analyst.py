"""An analyst reads, and neither changes nor holds up anything."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import batches
import pytest
from attacks import act, refused, start
from psycopg2.extensions import cursor as Cursor
from waiting import wait_until

from highwater.backfill import requests
from highwater.backfill.requests import Request
from highwater.environment import settings
from highwater.incidents import alerts
from highwater.model import clock
from highwater.model.windows import Window
from highwater.store import ledger, publish, warehouse
from highwater.store.ledger import Run
from simulation import outages, shop

pytestmark = pytest.mark.usefixtures("empty_warehouse")

DAY = Window(datetime(2026, 10, 24, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC))
RUN = Run("d", "r")


@pytest.fixture
def grabbing(platform: object) -> Iterator[Cursor]:
    """A session of an analyst that has taken every advisory lock that was ever known to decide something."""
    with closing(warehouse.connect("analyst")) as link, link.cursor() as cursor:
        for number in (18807, 18808, 18809):
            cursor.execute("SELECT pg_advisory_lock(%s, n) FROM generate_series(0, 500) AS n", (number,))
        cursor.execute("SELECT pg_advisory_lock(18807, coalesce(max(attempt_id), 0) + n)"
                       " FROM ops.attempts, generate_series(1, 500) AS n GROUP BY n")  # fmt: skip
        cursor.execute("SELECT pg_advisory_lock(18810, hashtext(dataset)) FROM control.datasets")
        cursor.execute("SELECT pg_advisory_lock(hashtextextended('check of ' || source, 0)) FROM control.known_sources")
        link.commit()
        yield cursor


@pytest.mark.usefixtures("grabbing")
class TestHoldsNothingUp:
    def test_attempts_begin_and_are_alive_and_no_other_is(self) -> None:
        live = "SELECT attempt_id FROM ops.live_attempts"
        with ledger.attempt("daily_sales", DAY, "extract", RUN):
            (mine,) = act("analyst", "SELECT max(attempt_id) FROM ops.attempts")
            assert act("analyst", live) == [tuple(mine)]
        assert act("analyst", live) == []
        assert act("analyst", "SELECT state FROM ops.attempts WHERE attempt_id = %s", mine) == [("succeeded",)]

    def test_a_source_is_checked(self) -> None:
        checked = "SELECT ops.record_source_check('store', %s, true, 1, true, NULL, 'd', 'r', 1)"
        act("loader", checked, (ledger.as_range(DAY),))

    def test_incidents_are_looked_for_and_the_outbox_is_sent_by_one(self) -> None:
        alerts.look()
        with closing(warehouse.connect("loader")) as first, first.cursor() as one:
            first.autocommit = True
            one.execute("SELECT ops.take_lease('outbox')")
            assert warehouse.fetch_value(one) is True
            assert act("loader", "SELECT ops.take_lease('outbox')") == [(False,)]
            act("loader", "SELECT ops.drop_lease('outbox')")
            assert act("loader", "SELECT ops.take_lease('outbox')") == [(False,)], "it is not another's to give back"
            one.execute("SELECT ops.drop_lease('outbox')")
            assert act("loader", "SELECT ops.take_lease('outbox')") == [(True,)]

    def test_a_backfill_is_asked_for_and_its_windows_are_taken(self) -> None:
        with warehouse.session("operator") as cursor:
            number = requests.request(
                cursor, Request("daily_sales", DAY.start, DAY.end, reason="to see", requested_by="kim")
            )
        act("loader", "SELECT control.begin_backfill(%s, 'r')", (number,))
        taken = act("loader", "SELECT verdict FROM control.next_backfill_window(%s, 'r')", (number,))
        assert taken == [("take",)]

    def test_a_window_is_published(self) -> None:
        window = batches.window(0)
        with ledger.attempt("payments", window, "load", RUN):
            publish.publish_window("payments", window, batches.stage("payments", window), RUN)


class TestFakesNothing:
    def test_a_claim_that_is_seen_cannot_be_lived_on_by_another(self) -> None:
        with closing(warehouse.connect("loader")) as link, link.cursor() as cursor:
            link.autocommit = True
            start = "SELECT ops.start_attempt('daily_sales', %s, 'extract', 'd', 'r', 1, 'h', 1)"
            cursor.execute(start, (ledger.as_range(DAY),))
            attempt = warehouse.fetch_value(cursor)
            (claim,) = act("analyst", "SELECT claim FROM ops.attempts WHERE attempt_id = %s", (attempt,))
        with closing(warehouse.connect("analyst")) as other, other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(18807, %s)", tuple(claim))
            assert act("analyst", "SELECT FROM ops.live_attempts") == []

    @pytest.mark.parametrize(
        "call",
        [
            "ops.start_attempt('daily_sales', '[2026-10-05,2026-10-06)', 'load', 'x', 'y', 1, 'h', 1)",
            "ops.finish_attempt(1, 'succeeded', NULL, 1, 1, 1, NULL, NULL)",
            "ops.take_claim()",
            "ops.take_turn('incidents')",
            "ops.take_lease('outbox')",
            "ops.record_audit('daily_sales', '[2026-10-05,2026-10-06)', 'd', 'r', 1, 's', 't', '[]')",
            "ops.skip_window('daily_sales', '[2026-10-05,2026-10-06)', 'a', 'b', 'c', 'd')",
            "ops.prune_versions()",
            "control.cancel_backfill(1)",
        ],
    )
    def test_it_calls_nothing_that_changes_anything(self, call: str) -> None:
        refused("analyst", f"SELECT {call}", says="permission denied for function")

    def test_it_makes_nothing(self) -> None:
        for statement in (
            "CREATE TABLE public.mine ()",
            "CREATE SCHEMA mine",
            "CREATE TEMPORARY TABLE mine ()",
            "CREATE FUNCTION public.now() RETURNS int LANGUAGE sql RETURN 1",
            "SELECT lo_create(0)",
            "SELECT lo_from_bytea(0, 'x')",
            "ALTER DATABASE warehouse SET search_path = public",
            "SET ROLE publisher",
            "SET SESSION AUTHORIZATION loader",
            "SET session_replication_role = replica",
        ):
            refused("analyst", statement)

    @pytest.mark.parametrize("mode", ["ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "ACCESS EXCLUSIVE"])
    @pytest.mark.parametrize("table", ["ops.attempts", "ops.window_ledger", "control.datasets", "sales.daily_sales"])
    def test_it_locks_no_table_that_others_work_in(self, table: str, mode: str) -> None:
        refused("analyst", f"LOCK TABLE {table} IN {mode} MODE")

    def test_it_locks_no_row_that_says_whose_turn_it_is(self) -> None:
        for table in ("ops.turns", "ops.leases", "setup.turn", "control.datasets", "control.backfills"):
            refused("analyst", f"SELECT FROM {table} FOR SHARE")


def test_no_reader_holds_the_simulation_up(platform: object) -> None:
    with closing(warehouse.connect("shop_reader", settings.get().sources_database)) as link, link.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(oid::integer, n) FROM pg_class, generate_series(0, 3) AS n"
                       " WHERE relname IN ('orders', 'outages', 'sales', 'payments', 'page_views')")  # fmt: skip
        shop.advance(clock.now())
        with outages.turn():
            pass


def test_two_turns_of_the_simulation_exclude_each_other(platform: object) -> None:
    came = threading.Event()

    def second() -> None:
        with outages.turn():
            came.set()

    thread = threading.Thread(target=second)
    with outages.turn():
        thread.start()
        waits = "SELECT pid FROM pg_locks WHERE relation = 'simulation.outages'::regclass AND NOT granted"
        wait_until("the second to wait", lambda: act("postgres", waits, database=settings.get().sources_database), 30)
        assert not came.is_set()
    thread.join()
    assert came.is_set()


def test_a_right_that_was_taken_from_it_is_not_given_back_by_a_start_or_a_reload(empty_warehouse: None) -> None:
    act("postgres", "REVOKE SELECT ON sales.payments FROM analyst")
    try:
        window = batches.window(0)
        with ledger.attempt("payments", window, "load", RUN):
            publish.publish_window("payments", window, batches.stage("payments", window), RUN)
        start()
        refused("analyst", "SELECT count(*) FROM sales.payments")
    finally:
        act("postgres", "GRANT SELECT ON sales.payments TO analyst")
