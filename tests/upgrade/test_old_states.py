"""Each warehouse that older code left gets the schema of a new one, and keeps its rows and hashes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from old_states import STATES, database, restore, schema

from highwater.environment import settings
from highwater.setup import bootstrap
from highwater.store import schema_version, verify, warehouse

Rows = dict[str, list[dict[str, Any]]]

SET_BY_A_START: dict[str, set[str]] = {
    "control.alembic_version": {"version_num"},
    "control.repeatable": {"name", "fingerprint", "applied_at"},
    "control.platform": {"anchor", "clock_may_be_set", "keep_versions_days", "policies_applied_at"},
    "control.incident_kinds": {"needs_person", "advice", "is_trouble"},
    "control.datasets": {"first_window", "fills_gaps"},
    "control.conditions": {"description"},
}
"""Columns that say what this code and the settings of its start say, whatever was there before."""
KINDS = {
    "ConfigurationError": "configuration",
    "RefusedData": "data rejected",
    "AuditFailed": "audit failed",
    "SourceAway": "source unavailable",
    "Held": "held",
}
"""What the kinds of failures that are in the states were called, and are called."""


@pytest.fixture(params=STATES, ids=lambda path: path.name.removesuffix(".sql.gz"))
def state(request: pytest.FixtureRequest, platform: Path) -> Iterator[Path]:
    """A warehouse as older code left it is the one that the settings name."""
    with database("older"):
        restore(request.param)
        yield request.param


def rows() -> Rows:
    """All rows of the warehouse by table; of a partitioned one, those of its partitions."""
    found: Rows = {}
    with warehouse.session("postgres", settings.get().warehouse_database) as cursor:
        cursor.execute(
            "SELECT n.nspname || '.' || c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " WHERE n.nspname IN ('control', 'ops', 'quarantine', 'sales', 'archive', 'former')"
            " AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT to_jsonb(t) AS row FROM {table} AS t")
            found[table] = [row[0] for row in cursor.fetchall()]
    return found


def as_called_today(before: Rows) -> Rows:
    """The rows by today's name of their table, with today's names of failures."""
    for row in before["ops.attempts"]:
        if row.get("error_kind") is not None:
            row["error_kind"] = KINDS.get(row["error_kind"], row["error_kind"])
    return {table.replace("former.", "archive."): there for table, there in before.items()}


def lost(before: Rows, after: Rows) -> dict[str, list[str]]:
    """By table, the rows that are not there any more as they were, by the columns that there are still."""
    gone = {}
    for table, there in before.items():
        if not there:
            continue
        assert table in after, f"table {table} is gone, with {len(there)} rows"
        aside = SET_BY_A_START.get(table, set())
        columns = (there[0].keys() & after[table][0].keys() if after[table] else there[0].keys()) - aside
        missing = Counter(_of(row, columns) for row in there) - Counter(_of(row, columns) for row in after[table])
        if missing:
            gone[table] = sorted(missing)[:3]
    return gone


def _of(row: dict[str, Any], columns: set[str]) -> str:
    return json.dumps({name: row[name] for name in columns}, sort_keys=True)


def test_it_has_the_schema_of_a_new_warehouse_and_its_rows_and_hashes(state: Path, fresh: str) -> None:
    before = as_called_today(rows())
    bootstrap.run()
    assert schema() == fresh
    assert lost(before, rows()) == {}
    with warehouse.session("analyst") as cursor:
        cursor.execute("SELECT count(*) FROM ops.window_ledger")
        assert warehouse.fetch_value(cursor) == len(before["ops.window_ledger"]) > 0
        cursor.execute("SELECT version_num FROM control.alembic_version")
        assert warehouse.fetch_value(cursor) == schema_version.head()
    assert [looked for looked in verify.look("analyst", verify.landed()) if looked.problem or looked.held] == []
    assert verify.sums("analyst") == []
    assert verify.unaccounted() == []
    assert bootstrap.plan().in_words() == []
