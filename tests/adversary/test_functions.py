"""What the catalogue says of functions and tables: nothing runs with its owner's rights that others can lead astray."""

from __future__ import annotations

import pytest
from attacks import act, writable

from highwater.environment import settings

pytestmark = pytest.mark.usefixtures("platform")

FUNCTIONS = """
    SELECT
        p.oid::regprocedure::text AS name, p.proowner::regrole::text AS owner, p.proconfig AS config, p.prosecdef,
        p.prorettype = 'trigger'::regtype AS is_trigger,
        p.proacl IS NULL OR p.proacl::text ~ '[{,]=' AS is_public
    FROM pg_proc AS p
    WHERE p.pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = p.oid AND d.deptype = 'e')
"""
FOR_ALL = {"ops.clock_may_be_set()"}
"""Which tells a session nothing but whether it may pin the clock; every view that asks for the time calls it."""


@pytest.mark.parametrize(("database", "owner"), [("warehouse", "publisher"), ("sources", "postgres")])
def test_what_runs_with_its_owners_rights_looks_nowhere_else_and_is_not_for_everybody(
    database: str, owner: str
) -> None:
    found = [
        f for f in act("postgres", FUNCTIONS, database=getattr(settings.get(), f"{database}_database")) if f.prosecdef
    ]
    assert found
    for function in found:
        assert function.owner == owner, function.name
        assert "search_path=pg_catalog, pg_temp" in function.config, function.name
        assert not function.is_public or function.name in FOR_ALL, function.name


def test_every_function_of_the_warehouse_is_the_publishers() -> None:
    found = act("postgres", FUNCTIONS)
    assert {function.owner for function in found} == {"publisher"}


def test_the_loader_writes_no_table_but_its_staging_and_asks_for_backfills_by_column() -> None:
    schemas = ("ops", "control", "sales", "quarantine", "archive", "public")
    assert writable("loader", *schemas) == {"control.backfills"}


def test_the_analyst_writes_no_table_at_all() -> None:
    assert writable("analyst", "ops", "control", "sales", "quarantine", "archive", "staging", "public") == set()


def test_the_operator_writes_what_is_wanted_and_nothing_of_what_happened() -> None:
    assert writable("operator", "ops", "control", "sales", "quarantine", "archive", "staging", "public") == {
        "control.backfills",
        "control.catchup_policies",
        "control.closed_days",
        "control.conditions",
        # what a reload may lose, by column
        "control.datasets",
        "control.known_sources",
        "control.sources",
    }


def test_nothing_is_given_to_others_by_default() -> None:
    found = act(
        "postgres",
        "SELECT defaclrole::regrole::text AS role, defaclnamespace::regnamespace::text AS there FROM pg_default_acl",
    )
    assert {(row.role, row.there) for row in found} == {("publisher", "sales")}


def test_there_is_no_event_trigger_no_cast_and_no_language_of_others() -> None:
    for database in (settings.get().warehouse_database, settings.get().sources_database):
        ours = "SELECT (SELECT count(*) FROM pg_event_trigger) AS a"
        ours += ", (SELECT count(*) FROM pg_cast WHERE oid >= 16384) AS b"
        assert act(
            "postgres", f"{ours}, (SELECT count(*) FROM pg_language WHERE oid >= 16384) AS c", database=database
        ) == [(0, 0, 0)]
