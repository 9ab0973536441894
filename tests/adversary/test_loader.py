"""A loader that was taken over forges no record of its work: attempts, audits, summaries, the time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import psycopg2
import pytest
from attacks import act, refused
from psycopg2.extensions import cursor as Cursor
from waiting import wait_until

from highwater.model.windows import Window
from highwater.store import ledger, warehouse
from highwater.store.ledger import Run

pytestmark = pytest.mark.usefixtures("empty_warehouse")

DAY = Window(datetime(2026, 10, 24, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC))
START = "SELECT ops.start_attempt('daily_sales', %s, 'load', 'd', 'r', 1, 'h', 1)"
FINISH = "SELECT ops.finish_attempt(%s, %s, NULL, 1, 999999, 1, NULL, NULL)"
AUDIT = (
    "SELECT ops.record_audit('daily_sales', %s, 'd', 'r', 1, 'daily_sales', 't', '[{\"rule_number\": 1,"
    ' "expectation": "e", "severity": "critical", "description": "d", "verdict": "passed", "details": {}}]\')'
)


@pytest.fixture
def session(platform: object) -> Iterator[Cursor]:
    """A session of a loader whose statements are transactions of their own."""
    with closing(warehouse.connect("loader")) as link, link.cursor() as cursor:
        link.autocommit = True
        yield cursor


def begin(cursor: Cursor) -> int:
    """Open an attempt; returns its number."""
    cursor.execute(START, (ledger.as_range(DAY),))
    return int(warehouse.fetch_value(cursor))


def its_session_is_gone() -> None:
    """A server ends a session some time after its user has disconnected."""
    wait_until("no attempt to be alive", lambda: act("analyst", "SELECT FROM ops.live_attempts") == [])


class TestAttempts:
    @pytest.mark.parametrize("state", ["succeeded", "failed", "lost", "running"])
    def test_only_the_session_that_opened_one_ends_it(self, session: Cursor, state: str) -> None:
        mine = begin(session)
        refused("loader", FINISH, (mine, state), says=f"attempt {mine} belongs to another session")
        assert act("analyst", "SELECT state, row_count FROM ops.attempts") == [("running", None)]
        session.execute(FINISH, (mine, "succeeded"))
        assert act("analyst", "SELECT state, row_count FROM ops.attempts") == [("succeeded", 999999)]

    def test_one_that_died_is_lost_and_ends_no_more(self, session: Cursor) -> None:
        with closing(warehouse.connect("loader")) as link, link, link.cursor() as cursor:
            dead = begin(cursor)
        its_session_is_gone()
        begin(session)
        for state in ("succeeded", "running"):
            refused("loader", FINISH, (dead, state))
        assert act("analyst", "SELECT state FROM ops.attempts WHERE attempt_id = %s", (dead,)) == [("lost",)]

    def test_one_of_another_session_is_not_kept_alive(self) -> None:
        with closing(warehouse.connect("loader")) as link, link, link.cursor() as cursor:
            dead = begin(cursor)
        its_session_is_gone()
        with closing(warehouse.connect("loader")) as link, link.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(18807, claim) FROM ops.attempts WHERE attempt_id = %s", (dead,))
            assert act("analyst", "SELECT attempt_id FROM ops.live_attempts") == []

    @pytest.mark.parametrize("change", ["UPDATE ops.attempts SET claim = 1", "DELETE FROM ops.attempts",
                                        "INSERT INTO ops.leases VALUES ('outbox', 1, 1)",
                                        "SELECT ops.take_claim()", "SELECT ops.take_turn('incidents')",
                                        "SELECT FROM ops.turns FOR SHARE"])  # fmt: skip
    def test_claims_and_turns_are_taken_by_the_functions_alone(self, change: str) -> None:
        refused("loader", change)


class TestRecords:
    def test_an_audit_is_stored_only_while_its_run_is_at_work(self, session: Cursor) -> None:
        window = (ledger.as_range(DAY),)
        refused("loader", AUDIT, window, says="run r of d has no attempt at daily_sales under way")
        mine = begin(session)
        assert act("loader", AUDIT, window) == [(1,)]
        session.execute(FINISH, (mine, "succeeded"))
        refused("loader", AUDIT, window, says="has no attempt at daily_sales under way")

    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO ops.validation_results (dataset) VALUES ('daily_sales')",
            "UPDATE ops.validation_results SET verdict = 'passed'",
            "UPDATE ops.processing_summary SET rows_published = 1",
            "INSERT INTO ops.processing_summary (dataset) VALUES ('daily_sales')",
            "INSERT INTO ops.consistency_checks (dataset) VALUES ('orders')",
            "INSERT INTO ops.health_checks (check_name) VALUES ('x')",
            "INSERT INTO ops.integrity_checks (dataset) VALUES ('payments')",
            "INSERT INTO ops.source_checks (source) VALUES ('store')",
            "UPDATE control.sources SET on_mass_delete = 'accept'",
            "UPDATE control.catchup_policies SET enabled = false",
            "DELETE FROM control.catchup_policy_history",
        ],
    )
    def test_none_is_written_by_hand(self, statement: str) -> None:
        refused("loader", statement)

    def test_a_comparison_is_stored_only_while_its_run_is_at_work(self) -> None:
        refused(
            "loader",
            "SELECT ops.record_consistency_check('orders', 1, 'd', 'r', '1:1:', NULL, NULL, 1, '{}', 0, 0, NULL, NULL)",
            says="no attempt at orders under way",
        )

    def test_a_summary_tells_what_ledger_and_attempts_know(self) -> None:
        window = (ledger.as_range(DAY),)
        assert act("loader", "SELECT version FROM ops.summarise('daily_sales', %s, 'd', 'r')", window) == []


def test_an_attempt_of_the_engine_is_its_sessions_own() -> None:
    with ledger.attempt("daily_sales", DAY, "load", Run("d", "r")):
        (row,) = act("analyst", "SELECT a.backend_pid, s.usename FROM ops.attempts AS a"
                                " JOIN pg_stat_activity AS s ON s.pid = a.backend_pid")  # fmt: skip
        assert row.usename == "loader"


DECISIONS = [
    "ops.acknowledge_incident(1, 'kim', 'seen')",
    "ops.reset_checkpoint('orders', 'kim', 'to see')",
    "ops.accept_shrink('daily_sales', '[2026-10-05,2026-10-06)', 'kim', 'it is so')",
    "ops.rollback_window('daily_sales', '[2026-10-05,2026-10-06)', 'kim', 'it was wrong')",
    "control.cancel_backfill(0, 'kim')",
    "control.pause_backfill(0, 'kim')",
    "control.resume_backfill(0, 'kim')",
]


class TestDecisions:
    """What a person decides, with name and reason, is not for a task to decide in a person's name."""

    @pytest.mark.parametrize("call", DECISIONS)
    def test_none_is_its_to_take(self, call: str) -> None:
        refused("loader", f"SELECT {call}", says="permission denied for function")

    @pytest.mark.parametrize("call", DECISIONS)
    def test_each_is_the_operators(self, call: str) -> None:
        with pytest.raises(psycopg2.Error, match=r"not open|no checkpoint|no backfill|not landed") as refused:
            act("operator", f"SELECT {call}; SELECT 'incident 0 is not open'::integer")
        assert not isinstance(refused.value, psycopg2.errors.InsufficientPrivilege)

    def test_an_incident_that_it_has_caused_stays_until_a_person_has_seen_it(self, session: Cursor) -> None:
        session.execute("SELECT ops.skip_window('payments', '[2026-10-30 00:00+00,2026-10-30 06:00+00)', 'lost', 'x',"
                        " 'd', 'r')")  # fmt: skip
        session.execute("SELECT ops.reconcile_incidents()")
        found = act("analyst", "SELECT incident_id, acknowledged_by FROM ops.incidents WHERE kind = 'data lost'")
        assert [row.acknowledged_by for row in found] == [None]
        refused("loader", "SELECT ops.acknowledge_incident(%s, 'kim', 'fine')", (found[0].incident_id,))
        session.execute("SELECT ops.forget_skip('payments', '[2026-10-30 00:00+00,2026-10-30 06:00+00)')")
        session.execute("SELECT ops.reconcile_incidents()")
        assert act("analyst", "SELECT closed_at FROM ops.incidents WHERE kind = 'data lost'") == [(None,)]

    def test_a_backfill_that_it_asks_for_in_anothers_name_is_known_by_its_login(self) -> None:
        act("loader", "INSERT INTO control.backfills (dataset, from_time, to_time, reason, requested_by)"
                      " VALUES ('daily_sales', '2026-10-05', '2026-10-06', 'to see', 'kim')")  # fmt: skip
        asked = act("analyst", "SELECT requested_by, login FROM control.backfills ORDER BY backfill_id DESC LIMIT 1")
        assert asked == [("kim", "loader")]
        refused("loader", "INSERT INTO control.backfills (dataset, from_time, to_time, reason, login)"
                          " VALUES ('daily_sales', '2026-10-05', '2026-10-06', 'to see', 'operator')")  # fmt: skip
        act("operator", "SELECT control.cancel_backfill(max(backfill_id)) FROM control.backfills")
