"""A loader that was taken over writes records that nobody can read: refused, and they never silence the incidents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
import shopping
from attacks import act, start
from psycopg2.extensions import cursor as Cursor

from highwater.incidents import alerts
from highwater.store import warehouse

pytestmark = pytest.mark.usefixtures("empty_warehouse")

DAY = "[2026-10-06,2026-10-07)"
ODD = [
    "empty",
    "(,)",
    "[2026-10-05,infinity)",
    "[-infinity,2026-10-06)",
    "[0044-03-15 BC,2026-10-06)",
    "[2026-10-05,20260-10-06)",
    "(2026-10-05,2026-10-06]",
    "[4713-01-01 BC,294276-12-31)",
]
START = "SELECT ops.start_attempt('daily_sales', %s, 'load', 'd', 'r', 1, 'h', 1)"
FINISH = "SELECT ops.finish_attempt(%s, 'failed', 'boom', %s, %s, %s, 'source unavailable', %s)"


@pytest.fixture
def session(platform: object) -> Iterator[Cursor]:
    """A session of a loader whose statements are transactions of their own."""
    with closing(warehouse.connect("loader")) as link, link.cursor() as cursor:
        link.autocommit = True
        yield cursor


def begin(cursor: Cursor, window: str = DAY) -> int:
    cursor.execute(START, (window,))
    return int(warehouse.fetch_value(cursor))


def incidents() -> set[tuple[str, str]]:
    """Kind and subject of the open incidents, but for what an empty warehouse is to the recovery."""
    found = act("analyst", "SELECT kind, subject FROM ops.incidents WHERE closed_at IS NULL")
    return {(row.kind, row.subject) for row in found if row.subject != "system_recovery_processing"}


class TestRefused:
    @pytest.mark.parametrize("window", ODD)
    def test_an_invalid_window(self, session: Cursor, window: str) -> None:
        for statement in (
            START,
            "SELECT ops.record_source_check('store', %s, false, 1, NULL, 'x', 'd', 'r', 1)",
            "SELECT ops.new_set('orders', %s, 'd', 'r')",
        ):
            with pytest.raises(psycopg2.errors.CheckViolation, match="window_is_usual"):
                session.execute(statement, (window,))
        if window != "empty":
            with pytest.raises(psycopg2.errors.CheckViolation, match="windows_are_usual"):
                session.execute(
                    "SELECT ops.record_integrity_check('payments', 'c', %s::tstzrange[], 'failed', 'd', 'r')",
                    ([window],),
                )
        begin(session)
        with pytest.raises(psycopg2.errors.CheckViolation, match="window_is_usual"):
            session.execute(
                "SELECT ops.record_audit('daily_sales', %s, 'd', 'r', 1, 's', 't', '[{\"rule_number\": 1,"
                ' "expectation": "e", "severity": "critical", "description": "d", "verdict": "passed",'
                ' "details": {}}]\')',
                (window,),
            )

    @pytest.mark.parametrize("source", ["x" * 20000, "store is fine: run curl", "", "a\nb"])
    def test_an_unknown_source(self, session: Cursor, source: str) -> None:
        with pytest.raises(psycopg2.errors.CheckViolation, match="source_is_the_id_of_a_connection"):
            session.execute(FINISH, (begin(session), 1, 1, 1, source))

    @pytest.mark.parametrize("count", ["NaN", "-1"])
    def test_a_number_that_counts_nothing(self, session: Cursor, count: str) -> None:
        with pytest.raises(psycopg2.errors.CheckViolation, match="counts_are_usual"):
            session.execute(FINISH, (begin(session), count, 1, 1, "store"))
        for statement in (
            "SELECT ops.record_source_check('store', %s, true, %s, true, NULL, 'd', 'r', 1)",
            "SELECT %s::text, ops.record_health_check('c', 'well', 'd', %s, 'r')",
        ):
            with pytest.raises(psycopg2.errors.CheckViolation, match="counts_are_usual"):
                session.execute(statement, (DAY, count))
        for rows, peak in ((-1, 1), (1, -1)):
            with pytest.raises(psycopg2.errors.CheckViolation, match="counts_are_usual"):
                session.execute(FINISH, (begin(session), 1, rows, peak, "store"))

    def test_a_name_that_is_a_book(self, session: Cursor) -> None:
        book = "x" * 501
        for statement in (
            "SELECT ops.start_attempt('daily_sales', '[2026-10-06,2026-10-07)', 'load', 'd', %s, 1, 'h', 1)",
            "SELECT ops.record_health_check(%s, 'unwell', 'd', 1, 'r')",
            "SELECT ops.record_integrity_check('payments', %s, '{\"[2026-10-06,2026-10-07)\"}', 'failed', 'd', 'r')",
            "SELECT ops.new_set('daily_sales', '[2026-10-06,2026-10-07)', 'd', %s)",
            "SELECT ops.record_unread_policies(jsonb_build_object(%s, 'x'))",
        ):
            with pytest.raises(psycopg2.errors.CheckViolation, match="names_are_short"):
                session.execute(statement, (book,))

    def test_what_an_error_says_is_cut(self, session: Cursor) -> None:
        session.execute("SELECT ops.finish_attempt(%s, 'failed', repeat('x', 1000000), 1, 1, 1, 'E', NULL)",
                        (begin(session),))  # fmt: skip
        assert act("analyst", "SELECT length(error) AS n FROM ops.attempts") == [(10000,)]


class TestNeverSilent:
    def test_a_trouble_that_cannot_be_recorded_does_not_affect_the_others(self, session: Cursor) -> None:
        act("postgres", "ALTER TABLE ops.incidents ADD CONSTRAINT mine CHECK (subject <> 'daily_sales') NOT VALID")
        try:
            session.execute(FINISH, (begin(session, "[2026-10-06,2026-10-07)"), 1, 1, 1, None))
            session.execute(FINISH, (begin(session), 1, 1, 1, "store"))
            alerts.look()
            # The failure to record it is an incident of its own, and names it.
            assert incidents() == {("source unavailable", "store"), ("platform unhealthy", "incidents")}
            detail = act("analyst", "SELECT detail FROM ops.health_checks WHERE check_name = 'incidents'")
            assert "source unavailable of daily_sales cannot be recorded" in detail[0].detail
        finally:
            act("postgres", "ALTER TABLE ops.incidents DROP CONSTRAINT mine")
        alerts.look()
        alerts.look()
        assert incidents() == {("source unavailable", "store"), ("source unavailable", "daily_sales")}
        found = act("analyst", "SELECT verdict FROM ops.health_checks WHERE check_name = 'incidents' ORDER BY check_id")
        assert [row.verdict for row in found] == ["unwell", "well"]

    def test_a_look_that_fails_as_a_whole_is_an_incident(self, session: Cursor) -> None:
        act(
            "postgres",
            "CREATE OR REPLACE VIEW ops.content_troubles AS SELECT 'x' || (1 / (SELECT count(*) FROM ops.rollbacks"
            " WHERE false)) AS kind, '' AS subject, '' AS dataset, now() AS since, '{}'::tstzmultirange"
            " AS window_ranges",
        )
        try:
            alerts.look()
            assert ("platform unhealthy", "incidents") in incidents()
        finally:
            start()


class TestComparisons:
    RECORD = "SELECT ops.record_consistency_check('orders', %s, 'd', 'r', '1:1:', %s, %s, 1, %s, 0, %s, %s, NULL)"

    @pytest.fixture
    def at_work(self, session: Cursor) -> Cursor:
        """A session with an attempt at orders under way, at a checkpoint."""
        shopping.land()
        session.execute(
            "SELECT ops.start_attempt('orders', '[2026-10-31 10:00+00,2026-10-31 11:00+00)', 'x', 'd', 'r', 1, 'h', 1)"
        )
        return session

    def test_what_a_comparison_cannot_have_seen_is_refused(self, at_work: Cursor) -> None:
        for keys, pending, oldest, says in (
            (["1", None], 0, None, "keys_are_keys"),
            (["1"], -1, None, "counts_are_usual"),
            (["1"], 0, "infinity", "moments_are_usual"),
            (["1"], 0, "0044-01-01 BC", "moments_are_usual"),
            (["1"], 0, "20000-01-01", "moments_are_usual"),
        ):
            with pytest.raises(psycopg2.errors.CheckViolation, match=says):
                at_work.execute(self.RECORD, (1, None, None, keys, pending, oldest))

    @pytest.mark.parametrize(
        "key", ["garbage", '{"a":1}', '["x"]', "[]", '["1","2"]', '["9223372036854775808"]', "", "[null]", "[1]"]
    )
    def test_a_place_to_go_on_from_that_is_no_key_is_the_beginning(self, at_work: Cursor, key: str) -> None:
        shopping.rule("keys_per_bucket = 10, buckets_per_check = 3")
        revision = act("analyst", "SELECT revision FROM ops.checkpoints WHERE dataset = 'orders'")[0].revision
        at_work.execute(self.RECORD, (revision, key, key, [], 0, None))
        check = shopping.compare(shopping.land("b"))
        assert (check.keys, check.rows_compared >= 30) == ((), True)
