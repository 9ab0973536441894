"""What status, gaps and calendar ask touches no more of a long ledger than of a short one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg2.extensions import cursor as Cursor

from highwater.store import warehouse

WINDOWS = {"short": 1_000, "long": 20_000}
"""The ledger of the longer one takes some three hundred pages."""

FILLED = """
INSERT INTO control.datasets (dataset, dag_id, published_table, first_window, step)
VALUES (
    %(dataset)s, 'nobody', 'sales.nothing_' || %(dataset)s,
    date_trunc('hour', ops.clock()) - %(windows)s * '1 hour'::interval, '1 hour'
);
INSERT INTO ops.window_ledger
SELECT %(dataset)s, tstzrange(edge, edge + '1 hour'::interval), 1, 5, 5, 0, 0, 'x', NULL, 's', 'nobody', 'r', edge
FROM control.datasets AS d
CROSS JOIN LATERAL generate_series(d.first_window, ops.clock() - '2 hours'::interval, '1 hour') AS edge
WHERE d.dataset = %(dataset)s AND edge <> date_trunc('hour', ops.clock()) - '9 hours'::interval;
INSERT INTO ops.attempts (dataset, window_range, stage, dag_id, run_id, try_number, host, pid, state, started_at)
SELECT
    l.dataset, l.window_range, 'load', 'nobody', 'scheduled__' || l.window_range, 1, 'here', 1, 'succeeded', l.landed_at
FROM ops.window_ledger AS l
WHERE l.dataset = %(dataset)s;
"""

QUESTIONS = {
    "totals": "SELECT * FROM ops.window_totals WHERE dataset = '{}'",
    "gaps": "SELECT * FROM ops.gaps WHERE dataset = '{}'",
    "freshness": "SELECT * FROM ops.freshness WHERE dataset = '{}'",
    "calendar": "SELECT * FROM ops.windows_between('{}', ops.clock() - interval '10 days', 'infinity')",
    "one window": "SELECT * FROM ops.windows_between('{}', ops.clock() - interval '1 hour', ops.clock())",
    "troubles": "SELECT * FROM ops.unresolved_attempts WHERE dataset = '{}'",
    "states": "SELECT * FROM ops.window_states('{}')",
}


@pytest.fixture
def ledger(empty_warehouse: None) -> Iterator[Cursor]:
    """A transaction with two datasets of hours, each with a gap; nothing of it stays."""
    with warehouse.session("postgres") as cursor:
        cursor.execute("SET LOCAL ROLE publisher")
        for dataset, windows in WINDOWS.items():
            cursor.execute(FILLED, {"dataset": dataset, "windows": windows})
        cursor.execute("ANALYZE ops.window_ledger, ops.attempts, ops.ledger_months")
        yield cursor
        cursor.connection.rollback()


def pages(cursor: Cursor, question: str) -> int:
    """How many pages of the database the second asking touches; the first fills the caches."""
    for _ in range(2):
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {question}")
        plan: dict[str, Any] = warehouse.fetch_value(cursor)[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def test_what_is_asked_touches_no_more_of_a_long_ledger(ledger: Cursor) -> None:
    touched = {
        question: {dataset: pages(ledger, text.format(dataset)) for dataset in WINDOWS}
        for question, text in QUESTIONS.items()
    }
    ledger.execute("SELECT pg_relation_size('ops.window_ledger') / current_setting('block_size')::integer")
    whole = warehouse.fetch_value(ledger)
    too_much = [question for question, of in touched.items() if of["long"] - of["short"] > whole / 8]
    assert not too_much, f"the ledger has {whole} pages, and these were touched: {touched}"


def test_months_that_are_missing_or_of_another_grid_are_counted_again(ledger: Cursor) -> None:
    differ = "SELECT count(*) FROM (SELECT * FROM ops.counted_months EXCEPT SELECT * FROM ops.ledger_months) AS d"
    ledger.execute("DELETE FROM ops.ledger_months")
    ledger.execute(differ)
    assert warehouse.fetch_value(ledger) > 20, "as in a warehouse of an older Highwater"
    warehouse.run_file(ledger, "adoption/22_ledger_months.sql")
    ledger.execute(differ)
    assert warehouse.fetch_value(ledger) == 0
    ledger.execute("UPDATE control.datasets SET grid = 'watermark' WHERE dataset = 'short'")
    ledger.execute(differ)
    assert warehouse.fetch_value(ledger) == 0
    ledger.execute("TRUNCATE ops.window_ledger, ops.skipped_windows CASCADE")
    ledger.execute("SELECT count(*) FROM ops.ledger_months WHERE landed <> '{}' OR rows_extracted <> 0")
    assert warehouse.fetch_value(ledger) == 0
