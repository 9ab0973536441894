"""Sessions of the warehouse: those within `keeping_links` take over the connections of those before them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import psycopg2
import pytest
from waiting import wait_until

from highwater.model.windows import Window
from highwater.store import ledger, warehouse
from highwater.store.ledger import Run

DAY = Window(datetime(2026, 10, 24, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC))
pytestmark = pytest.mark.usefixtures("empty_warehouse")


def backend() -> int:
    """The process of the server that a session of its own talks to."""
    with warehouse.session("loader") as cursor:
        return backend_of(cursor)


def backend_of(cursor: psycopg2.extensions.cursor) -> int:
    cursor.execute("SELECT pg_backend_pid()")
    return int(warehouse.fetch_value(cursor))


def is_gone(process: int) -> bool:
    """Whether the server has that process no more."""
    with warehouse.session("postgres") as cursor:
        cursor.execute("SELECT FROM pg_stat_activity WHERE pid = %s", (process,))
        return cursor.fetchone() is None


def live_attempts() -> int:
    with warehouse.session("analyst") as cursor:
        cursor.execute("SELECT count(*) FROM ops.live_attempts")
        return int(warehouse.fetch_value(cursor))


def test_one_after_the_other_they_share_a_connection_and_leave_none(platform: Path) -> None:
    with warehouse.keeping_links():
        first = backend()
        assert backend() == first
        with warehouse.keeping_links():
            assert backend() == first
        with warehouse.session("analyst") as other:
            assert backend_of(other) != first
    assert backend() != first
    wait_until("the kept connection is closed", lambda: is_gone(first), 30)


def test_one_within_the_other_has_its_own() -> None:
    with warehouse.keeping_links(), warehouse.session("loader") as outer:
        assert backend() != backend_of(outer)


def test_what_was_not_committed_is_not_handed_on() -> None:
    with warehouse.keeping_links():
        with pytest.raises(ZeroDivisionError), warehouse.session("loader") as cursor:
            cursor.execute(
                "SELECT ops.new_set(dataset, '[2026-10-05,2026-10-06)', 'half', 'half') FROM control.datasets"
                " WHERE dataset = 'orders'"
            )
            raise ZeroDivisionError
        with warehouse.session("loader") as cursor:
            cursor.execute("SELECT count(*) FROM ops.staging_sets WHERE dag_id = 'half'")
            assert warehouse.fetch_value(cursor) == 0


def test_what_a_session_made_for_itself_is_not_handed_on() -> None:
    with warehouse.keeping_links():
        for _once_again in range(2):
            with warehouse.session("loader") as cursor:
                cursor.execute("SELECT current_setting('statement_timeout')")
                assert warehouse.fetch_value(cursor) == "0"
                cursor.execute("SET statement_timeout = '1min'")
                cursor.execute("CREATE TEMPORARY VIEW mine AS SELECT 1 AS one")


def test_one_that_broke_is_not_handed_on() -> None:
    with warehouse.keeping_links():
        with pytest.raises(psycopg2.Error), warehouse.session("loader") as cursor:
            with warehouse.session("postgres") as admin:
                admin.execute("SELECT pg_terminate_backend(%s, 5000)", (backend_of(cursor),))
            cursor.execute("SELECT 1")
        assert backend()


def test_the_clock_of_a_session_is_that_of_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with warehouse.keeping_links():
        first = backend()
        monkeypatch.setenv("HIGHWATER_NOW", "2026-11-01T12:00:00+00:00")
        with warehouse.session("loader") as cursor:
            assert backend_of(cursor) != first
            cursor.execute("SELECT ops.clock()")
            assert warehouse.fetch_value(cursor) == datetime(2026, 11, 1, 12, tzinfo=UTC)


def test_an_attempt_gives_up_its_claim_when_it_ends_though_its_connection_stays() -> None:
    with warehouse.keeping_links():
        with ledger.attempt("daily_sales", DAY, "extract", Run("d", "r")):
            assert live_attempts() == 1
        assert live_attempts() == 0


def test_the_server_takes_a_minute_at_most_to_let_go_of_a_machine_that_is_gone() -> None:
    with warehouse.session("loader") as cursor:
        cursor.execute(
            "SELECT current_setting('tcp_keepalives_idle')::int"
            " + current_setting('tcp_keepalives_interval')::int * current_setting('tcp_keepalives_count')::int"
        )
        assert 0 < warehouse.fetch_value(cursor) <= 60
