"""The simulator owns the schemas of the simulated sources, and neither their database nor anything beyond."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest
from attacks import act, powers

from highwater.environment import settings
from highwater.store import warehouse

pytestmark = pytest.mark.usefixtures("platform")


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER DATABASE sources SET search_path = simulation",
        "ALTER DATABASE sources RESET ALL",
        "ALTER DATABASE sources OWNER TO simulator",
        "ALTER DATABASE sources CONNECTION LIMIT 1",
        "CREATE TABLE public.mine ()",
        "CREATE FUNCTION public.hashtext(text) RETURNS integer LANGUAGE sql RETURN 1",
        "CREATE TABLE gate.mine ()",
        "UPDATE gate.readers SET role = 'postgres'",
        "CREATE TRIGGER mine AFTER INSERT ON gate.readers FOR EACH STATEMENT EXECUTE FUNCTION legacy.mine()",
        "CREATE RULE mine AS ON INSERT TO gate.readers DO NOTHING",
        "CREATE OR REPLACE FUNCTION gate.reader_of(source text) RETURNS name LANGUAGE sql RETURN 'postgres'::name",
        "SELECT gate.reader_of('store')",
        "ALTER SCHEMA gate OWNER TO simulator",
        "DROP SCHEMA gate CASCADE",
        "CREATE EVENT TRIGGER mine ON ddl_command_end EXECUTE FUNCTION legacy.mine()",
        "CREATE CAST (text AS integer) WITH INOUT AS IMPLICIT",
        "CREATE EXTENSION dblink",
        "CREATE LANGUAGE plpgsql_too HANDLER plpgsql_call_handler",
        "CREATE ROLE mine",
        "ALTER ROLE store_reader NOLOGIN",
        "ALTER ROLE postgres SET search_path = simulation",
        "SET ROLE postgres",
        "SET session_replication_role = replica",
        "SELECT lo_create(0)",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
def test_it_gets_no_further_than_its_schemas(statement: str) -> None:
    with pytest.raises((psycopg2.errors.InsufficientPrivilege, psycopg2.errors.UndefinedFile)):
        mine = "CREATE OR REPLACE FUNCTION legacy.mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        act("simulator", mine + statement)
    assert powers() == []


def test_it_does_not_get_into_the_warehouse_or_airflow() -> None:
    config = settings.get()
    for database in (config.warehouse_database, config.metadata_database):
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            warehouse.connect("simulator", database)


def test_what_it_names_like_the_admins_in_its_own_session_changes_nothing() -> None:
    """Names in pg_temp come last for the functions that act as the admin."""
    with closing(warehouse.connect("simulator", settings.get().sources_database)) as link, link.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE readers AS SELECT 'store' AS source, 'postgres'::name AS role")
        cursor.execute("CREATE TEMPORARY VIEW pg_roles AS SELECT 'postgres'::name AS rolname, true AS rolcanlogin")
        cursor.execute("SET search_path = pg_temp, pg_catalog")
        with pytest.raises(psycopg2.errors.InvalidParameterValue, match="cannot have an outage"):
            cursor.execute("SELECT gate.set_open('postgres', false)")
    assert act("postgres", "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'postgres'") == [(True,)]
