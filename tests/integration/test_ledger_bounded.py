"""What status, gaps and calendar ask touches no more of a long ledger than of a short one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg2.extensions import cursor as Cursor

from highwater import warehouse

SHORT, LONG = 5_000, 20_000
"""Windows; the longer ledger takes some three hundred pages, and for both an index is the shorter way."""

FILLED = """
DELETE FROM ops.window_ledger WHERE dataset = 'long';
DELETE FROM ops.attempts WHERE dataset = 'long';
UPDATE control.datasets SET first_window = date_trunc('hour', ops.clock()) - %(windows)s * '1 hour'::interval
WHERE dataset = 'long';
INSERT INTO ops.window_ledger
SELECT 'long', tstzrange(edge, edge + '1 hour'::interval), 1, 5, 5, 0, 0, 'x', NULL, 's', 'nobody', 'r', edge
FROM control.datasets AS d
CROSS JOIN LATERAL generate_series(d.first_window, ops.clock() - '2 hours'::interval, '1 hour') AS edge
WHERE d.dataset = 'long' AND edge <> date_trunc('hour', ops.clock()) - '9 hours'::interval;
INSERT INTO ops.attempts (dataset, window_range, stage, dag_id, run_id, try_number, host, pid, state, started_at)
SELECT
    l.dataset, l.window_range, 'load', 'nobody', 'scheduled__' || l.window_range, 1, 'here', 1, 'succeeded', l.landed_at
FROM ops.window_ledger AS l
WHERE l.dataset = 'long';
ANALYZE ops.window_ledger, ops.attempts, ops.ledger_months;
"""

QUESTIONS = {
    "totals": "SELECT * FROM ops.window_totals WHERE dataset = 'long'",
    "gaps": "SELECT * FROM ops.gaps WHERE dataset = 'long'",
    "freshness": "SELECT * FROM ops.freshness WHERE dataset = 'long'",
    "calendar": "SELECT * FROM ops.windows_between('long', ops.clock() - interval '10 days', 'infinity')",
    "one window": "SELECT * FROM ops.windows_between('long', ops.clock() - interval '1 hour', ops.clock())",
    "troubles": "SELECT * FROM ops.unresolved_attempts WHERE dataset = 'long'",
    "gaps to fill": warehouse.read_sql("catchup_control/gaps_to_fill.sql"),
}


@pytest.fixture(scope="module")
def ledger(platform: Path) -> Iterator[Cursor]:
    """A transaction with a dataset of hours; nothing of it stays."""
    with warehouse.session("postgres") as cursor:
        cursor.execute("SET LOCAL ROLE publisher")
        cursor.execute(
            "INSERT INTO control.datasets (dataset, dag_id, published_table, first_window, step)"
            " VALUES ('long', 'nobody', 'sales.long', ops.clock(), '1 hour')"
        )
        yield cursor
        cursor.connection.rollback()


def pages(cursor: Cursor, question: str) -> int:
    """How many pages of the database the second asking touches; the first fills the caches."""
    for _ in range(2):
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {question}")
        plan: dict[str, Any] = warehouse.fetch_value(cursor)[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def test_what_is_asked_touches_no_more_of_a_long_ledger(ledger: Cursor) -> None:
    touched = {}
    for size in (SHORT, LONG):
        ledger.execute(FILLED, {"windows": size})
        touched[size] = {name: pages(ledger, question) for name, question in QUESTIONS.items()}
    ledger.execute("SELECT pg_relation_size('ops.window_ledger') / current_setting('block_size')::integer")
    whole = warehouse.fetch_value(ledger)
    grown = {name: touched[LONG][name] - touched[SHORT][name] for name in QUESTIONS}
    assert all(more < whole / 4 for more in grown.values()), f"of {whole} pages of the ledger: {touched}"
