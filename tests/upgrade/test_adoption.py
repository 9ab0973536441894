"""What an adoption makes of rows and tables that a new warehouse would not have."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from old_states import STATES, database, restore, schema

from highwater.environment import settings
from highwater.model.errors import ConfigurationError
from highwater.setup import bootstrap
from highwater.store import warehouse

LAST = next(state for state in STATES if state.name.startswith("f882bfb"))


@pytest.fixture
def older(platform: Path) -> Iterator[None]:
    """The last warehouse of the time without versions."""
    with database("adopted"):
        restore(LAST)
        yield


def admin(*statements: str) -> list[tuple[object, ...]]:
    """Run statements as the admin, with no trigger of the older code; returns the rows of the last one."""
    with warehouse.session("postgres", settings.get().warehouse_database) as cursor:
        cursor.execute("SET session_replication_role = 'replica'")
        for statement in statements:
            cursor.execute(statement)
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else []


def refused() -> str:
    """What the start says that does not adopt it; nothing has changed then."""
    before = schema()
    with pytest.raises(ConfigurationError) as said:
        bootstrap.run()
    assert schema() == before
    assert str(said.value).endswith("nothing was changed")
    return str(said.value)


def test_invalid_records_stay_behind_and_the_start_says_so(
    older: None, fresh: str, caplog: pytest.LogCaptureFixture
) -> None:
    admin(
        "ALTER TABLE ops.attempts DROP CONSTRAINT window_is_usual, DROP CONSTRAINT names_are_short",
        "INSERT INTO ops.attempts (dataset, window_range, stage, dag_id, run_id, try_number, host, pid, started_at)"
        " VALUES ('daily_sales', '[2026-10-06,infinity)', 's', 'd', 'odd', 1, 'h', 1, now()),"
        " ('daily_sales', '[2026-10-06,2026-10-07)', 's', 'd', repeat('x', 501), 1, 'h', 1, now())",
    )
    whole = admin("SELECT count(*) FROM ops.attempts WHERE run_id <> 'odd' AND length(run_id) < 500")
    with caplog.at_level(logging.WARNING):
        bootstrap.run()
    assert "deleted 1 rows of ops.attempts that violate the constraint window_is_usual" in caplog.text
    assert "deleted 1 rows of ops.attempts that violate the constraint names_are_short" in caplog.text
    assert admin("SELECT count(*) FROM ops.attempts") == whole
    assert schema() == fresh


def test_keys_that_were_joined_by_commas_become_arrays(older: None) -> None:
    admin(
        "ALTER TABLE quarantine.refused_keys DROP CONSTRAINT key_is_an_array",
        "INSERT INTO quarantine.refused_keys VALUES ('orders', '11', 'because', '[2026-10-06,2026-10-07)')",
    )
    bootstrap.run()
    assert ('["11"]',) in admin("SELECT key FROM quarantine.refused_keys")


def test_numbers_go_on_where_they_were(older: None) -> None:
    (highest,) = admin("SELECT max(attempt_id) FROM ops.attempts")
    last = admin("SELECT last_value, is_called FROM ops.partition_numbers")
    bootstrap.run()
    assert admin("SELECT last_value, is_called FROM ops.partition_numbers") == last
    (given,) = admin("SELECT nextval(pg_get_serial_sequence('ops.attempts', 'attempt_id'))")
    assert given[0] == highest[0] + 1  # type: ignore[operator]


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (
            "CREATE TABLE ops.my_notes (note text)",
            "table ops.my_notes is not Highwater's: move it into a schema of your own",
        ),
        (
            "CREATE SCHEMA bi; CREATE VIEW bi.landed AS SELECT dataset FROM ops.window_ledger",
            "view bi.landed depends on table ops.window_ledger, which is created again",
        ),
        (
            "CREATE TABLE sales.notes (n integer, at timestamptz DEFAULT ops.clock())",
            "table sales.notes depends on function ops.clock(), which is created again",
        ),
        (
            "ALTER TABLE control.closed_days DROP CONSTRAINT day_is_between_1900_and_2999;"
            " INSERT INTO control.closed_days VALUES ('0044-03-15 BC', 'daily_sales', 'murder')",
            "a row of control.closed_days cannot be copied: a row of closed_days breaks the rule"
            ' "day_is_between_1900_and_2999"',
        ),
        (
            "ALTER TABLE control.datasets DROP CONSTRAINT one_published_table_one_dataset;"
            " UPDATE control.datasets SET published_table = 'sales.payments' WHERE dataset = 'page_views'",
            "a row of control.datasets cannot be copied",
        ),
    ],
)
def test_what_has_no_place_in_a_new_warehouse_is_named_and_nothing_is_changed(
    older: None, fresh: str, done: str, said: str
) -> None:
    admin(done)
    assert refused().startswith(said)


def test_rights_that_the_admin_gave_to_others_stay(older: None) -> None:
    admin("CREATE ROLE dashboards", "GRANT USAGE ON SCHEMA ops TO dashboards")
    try:
        admin("GRANT SELECT ON ops.window_ledger, ops.freshness TO dashboards")
        bootstrap.run()
        assert admin(
            "SELECT has_table_privilege('dashboards', 'ops.freshness', 'SELECT')"
            " AND has_table_privilege('dashboards', 'ops.window_ledger', 'SELECT')"
            " AND has_schema_privilege('dashboards', 'ops', 'USAGE')"
        ) == [(True,)]
    finally:
        admin("DROP OWNED BY dashboards", "DROP ROLE dashboards")
