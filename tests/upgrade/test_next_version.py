"""The version after this one: it comes to a warehouse of this one whole or not at all, whatever its files change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checkouts import Checkout
from old_states import database, schema

from highwater.environment import settings
from highwater.model.errors import WrongVersion
from highwater.setup import bootstrap
from highwater.store import schema_version, warehouse

NEXT = "99.0.0"


def admin(*statements: str) -> list[tuple[object, ...]]:
    """Run statements as the admin; returns the rows of the last one."""
    with warehouse.session("postgres", settings.get().warehouse_database) as cursor:
        for statement in statements:
            cursor.execute(statement)
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else []


@pytest.fixture
def checkout(scratch: Callable[[str], Path]) -> Checkout:
    return Checkout(scratch("next"))


@pytest.fixture
def mine(platform: Path) -> Iterator[None]:
    """A warehouse of this version."""
    with database("mine"):
        bootstrap.run()
        yield


def make_next(checkout: Checkout) -> None:
    """A column with a default in a table whose row type functions take, a parameter with a default, an OUT column, a
    column in the middle of a view, a view and a trigger less, and a function more."""
    checkout.add_version(
        NEXT,
        schema_version.head(),
        **{"10_colour": "ALTER TABLE control.datasets ADD COLUMN colour text NOT NULL DEFAULT 'red';\n"},
    )
    checkout.change(
        "highwater/sql/warehouse/44_skips.sql",
        "ops.forget_skip(p_dataset text, p_window tstzrange)",
        "ops.forget_skip(p_dataset text, p_window tstzrange, p_why text DEFAULT 'none')",
    )
    checkout.change(
        "highwater/sql/warehouse/38_content.sql",
        "    p_table regclass, p_shape integer, OUT row_count bigint, OUT content_hash text\n",
        "    p_table regclass, p_shape integer, OUT row_count bigint, OUT content_hash text, OUT shape integer\n",
    )
    checkout.change(
        "highwater/sql/warehouse/38_content.sql",
        "    SELECT c.row_count, c.content_hash\n    FROM ops.shapes",
        "    SELECT c.row_count, c.content_hash, s.shape_id\n    FROM ops.shapes",
    )
    checkout.change(
        "highwater/sql/warehouse/24_claims.sql",
        "    l.objid::bigint::integer AS claim,\n",
        "    l.objid::bigint::integer AS claim,\n    l.granted AS is_held,\n",
    )
    checkout.write(
        "highwater/sql/warehouse/99_colour.sql",
        "CREATE FUNCTION control.colour_of(wanted control.datasets) RETURNS text LANGUAGE sql IMMUTABLE"
        " RETURN wanted.colour;\nREVOKE EXECUTE ON FUNCTION control.colour_of FROM public;\n",
    )


def test_it_comes_whole_and_is_what_a_new_warehouse_has(checkout: Checkout, mine: None) -> None:
    make_next(checkout)
    admin("UPDATE control.datasets SET max_lag = '7 days' WHERE dataset = 'daily_sales'")
    planned = checkout.run("migrate", "--plan")
    assert planned.returncode == 0, planned.stderr
    assert f"migrate tables to version {NEXT}" in planned.stdout
    files = "warehouse/24_claims.sql, warehouse/38_content.sql, warehouse/44_skips.sql, warehouse/99_colour.sql"
    assert files in planned.stdout
    assert bootstrap.plan().in_words() == [], "a plan changes nothing"

    migrated = checkout.run("migrate")
    assert migrated.returncode == 0, migrated.stderr
    assert admin("SELECT version_num FROM control.alembic_version") == [(NEXT,)]
    kept = "SELECT control.colour_of(d), d.max_lag::text FROM control.datasets AS d WHERE dataset = 'daily_sales'"
    assert admin(kept) == [("red", "7 days")]
    assert "nothing to do" in checkout.run("migrate", "--plan").stdout
    upgraded = schema()
    with pytest.raises(WrongVersion, match="newer than this code"):
        bootstrap.run()
    with database("new_one"):
        made = checkout.run("bootstrap")
        assert made.returncode == 0, made.stderr
        assert schema() == upgraded


BROKEN = {
    "a migration": (
        f"highwater/sql/migrations/{NEXT}/20_more.sql",
        "CREATE TABLE ops.more (n integer);\n\n-- It has none.\nALTER TABLE ops.attempts\nDROP COLUMN missed;\n",
        f'highwater/sql/migrations/{NEXT}/20_more.sql, line 4 is refused: column "missed" of relation "attempts" does'
        " not exist: correct the statement that begins 'ALTER TABLE ops.attempts DROP COLUMN missed'",
    ),
    "a function": (
        "highwater/sql/warehouse/99_more.sql",
        "CREATE VIEW ops.more AS SELECT 1 AS n;\nCREATE VIEW ops.less AS\nSELECT\n    missed\nFROM ops.attempts;\n",
        'highwater/sql/warehouse/99_more.sql, line 4 is refused: column "missed" does not exist:'
        " correct the statement that begins 'CREATE VIEW ops.less AS SELECT missed FROM ops.attempts'",
    ),
    "a table where functions are made": (
        "highwater/sql/warehouse/90_tickets.sql",
        "-- As release 0.1 had it.\nCREATE TABLE IF NOT EXISTS sales.tickets (n integer);\n",
        "highwater/sql/warehouse/90_tickets.sql, line 2: the statement that begins 'CREATE TABLE IF NOT EXISTS"
        " sales.tickets (n integer)' would not be undone",
    ),
    "a dataset where release 0.1 had it": (
        "sql/warehouse/90_tickets.sql",
        "CREATE TABLE IF NOT EXISTS sales.tickets (n integer);\n",
        "sql/warehouse/90_tickets.sql is no longer run: move it into sql/datasets/",
    ),
    "a user's dataset": (
        "sql/datasets/90_tickets.sql",
        "CREATE TABLE IF NOT EXISTS sales.tickets (n integer);\n"
        "INSERT INTO control.datasets (dataset, dag_id, published_table, first_window, step)\n"
        "VALUES ('Tickets', 'd', 'sales.tickets', '2026-10-01', '1 day');\n",
        "sql/datasets/90_tickets.sql, line 2 is refused: a row of datasets breaks the rule"
        ' "dataset_is_a_short_lower_case_name"',
    ),
    "an unknown word": (
        "sql/datasets/90_tickets.sql",
        "CREATE TABLE IF NOT EXISTS sales.tickets (n integer);\n\nCREATE TABEL sales.more (n integer);\n",
        'sql/datasets/90_tickets.sql, line 3 is refused: syntax error at or near "TABEL"',
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_an_error_in_a_file_is_a_sentence_and_leaves_the_former_state(
    checkout: Checkout, mine: None, what: str
) -> None:
    make_next(checkout)
    before = schema()
    file, text, said = BROKEN[what]
    checkout.write(file, text)
    for command in ("migrate", "bootstrap"):
        done = checkout.run(command)
        assert done.returncode == 2
        (line,) = [line for line in done.stderr.splitlines() if not line.startswith(("simulated", "role "))]
        assert line.startswith(f"highwater: {said}"), line
        assert line.endswith("nothing was changed")
    assert schema() == before
    assert admin("SELECT version_num FROM control.alembic_version") == [(schema_version.head(),)]
    assert bootstrap.plan().in_words() == []


class TestWhatOthersHaveMade:
    def test_a_view_of_another_user_blocks_it_until_it_is_dropped(self, checkout: Checkout, mine: None) -> None:
        make_next(checkout)
        admin("CREATE SCHEMA bi", "CREATE VIEW bi.late AS SELECT dataset FROM ops.freshness")
        before = schema()
        done = checkout.run("migrate")
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert "view bi.late depends on view ops.freshness" in done.stderr
        assert "drop the dependent object, start, then create it again; nothing was changed" in done.stderr
        assert schema() == before
        admin("DROP VIEW bi.late")
        assert checkout.run("migrate").returncode == 0
        admin("CREATE VIEW bi.late AS SELECT dataset FROM ops.freshness")

    def test_a_view_of_tables_alone_is_in_nobodys_way(self, checkout: Checkout, mine: None) -> None:
        make_next(checkout)
        admin("CREATE SCHEMA bi", "CREATE VIEW bi.landed AS SELECT dataset, window_range FROM ops.window_ledger")
        assert checkout.run("migrate").returncode == 0
        assert admin("SELECT count(*) FROM bi.landed") == [(0,)]

    def test_rights_that_the_admin_gave_to_others_stay(self, checkout: Checkout, mine: None) -> None:
        make_next(checkout)
        rights = (
            "SELECT has_table_privilege('dashboards', 'ops.freshness', 'SELECT'),"
            " has_function_privilege('dashboards', 'ops.windows_between(text, timestamptz, timestamptz)', 'EXECUTE'),"
            " has_table_privilege('dashboards', 'ops.window_ledger', 'SELECT WITH GRANT OPTION') AS g"
        )
        admin("CREATE ROLE dashboards")
        try:
            admin(
                "GRANT USAGE ON SCHEMA ops TO dashboards",
                "GRANT SELECT ON ops.freshness TO dashboards",
                "GRANT SELECT ON ops.window_ledger TO dashboards WITH GRANT OPTION",
                "GRANT EXECUTE ON FUNCTION ops.windows_between(text, timestamptz, timestamptz) TO dashboards",
            )
            assert bootstrap.plan().in_words() == [], "it is no reason to make anything again"
            assert checkout.run("migrate").returncode == 0
            assert admin(rights) == [(True, True, True)]
        finally:
            admin("DROP OWNED BY dashboards", "DROP ROLE dashboards")


DRIFTS = {
    "a function": "CREATE OR REPLACE FUNCTION control.cut(p_text text) RETURNS text LANGUAGE sql RETURN p_text",
    "a view": "DROP VIEW ops.undelivered_alerts CASCADE",
    "a trigger": "ALTER TABLE control.datasets DISABLE TRIGGER landed_windows_stay_on_the_grid",
    "a right on a function": "GRANT EXECUTE ON FUNCTION ops.shape_of TO analyst",
    "a right on a table": "REVOKE SELECT ON ops.window_ledger FROM analyst",
    "a comment": "COMMENT ON COLUMN ops.backfill_progress.eta IS 'soon'",
    "a function of no file": "CREATE FUNCTION ops.more() RETURNS integer LANGUAGE sql RETURN 1;"
    " ALTER FUNCTION ops.more() OWNER TO publisher",
}


@pytest.mark.parametrize("what", DRIFTS)
def test_what_was_changed_by_hand_is_as_the_files_made_it_after_a_start(mine: None, fresh: str, what: str) -> None:
    admin(DRIFTS[what])
    assert bootstrap.plan().objects_differ
    bootstrap.migrate()
    assert schema() == fresh
    assert bootstrap.plan().in_words() == []
