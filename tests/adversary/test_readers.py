"""The reader of a source reads that source, makes nothing, and holds nobody up."""

from __future__ import annotations

import psycopg2
import pytest
from attacks import act, refused, writable

from highwater.environment import settings
from highwater.store import warehouse
from simulation import extension

pytestmark = pytest.mark.usefixtures("platform")

READERS = pytest.mark.parametrize("reader", extension.READERS)


@READERS
def test_it_reads_its_own_source_and_writes_nowhere(reader: str) -> None:
    schemas = act(
        "postgres",
        "SELECT nspname FROM pg_namespace WHERE has_schema_privilege(%s, oid, 'USAGE')"
        " AND nspname NOT IN ('pg_catalog', 'information_schema', 'public')",
        (reader,),
        settings.get().sources_database,
    )
    assert [row.nspname for row in schemas] == [reader.removesuffix("_reader")]
    assert writable(reader, "legacy", "shop", "store", "partner", "supplier", "billing", "web", "simulation") == set()


@READERS
def test_it_makes_nothing_and_changes_nothing_of_the_database(reader: str) -> None:
    own = reader.removesuffix("_reader")
    for statement in (
        f"CREATE TABLE {own}.mine ()",
        "CREATE TABLE public.mine ()",
        "CREATE SCHEMA mine",
        "CREATE TEMPORARY TABLE mine ()",
        "SELECT lo_create(0)",
        "ALTER DATABASE sources SET search_path = public",
        "SET ROLE simulator",
        "SET ROLE shop_reader" if own != "shop" else "SET ROLE store_reader",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT gate.set_open('store', false)",
    ):
        refused(reader, statement)


@READERS
def test_it_locks_no_table_against_the_simulation(reader: str) -> None:
    tables = act(
        "postgres",
        "SELECT oid::regclass::text AS name FROM pg_class"
        " WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p')",
        (reader.removesuffix("_reader"),),
        settings.get().sources_database,
    )
    for table in tables:
        refused(reader, f"LOCK TABLE {table.name} IN SHARE UPDATE EXCLUSIVE MODE")
        refused(reader, f"SELECT FROM {table.name} FOR KEY SHARE")


@READERS
def test_it_does_not_get_into_the_warehouse(reader: str) -> None:
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        warehouse.connect(reader, settings.get().warehouse_database)


@pytest.mark.parametrize("role", ["analyst", "loader", "operator", "simulator", "shop_reader"])
@pytest.mark.parametrize("database", ["postgres", "template1"])
def test_nobody_gets_into_the_databases_that_come_with_the_server(role: str, database: str) -> None:
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        warehouse.connect(role, database).close()
