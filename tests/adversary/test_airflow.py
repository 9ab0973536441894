"""Airflow owns its metadata database by design, and nothing else."""

from __future__ import annotations

import psycopg2
import pytest
from attacks import act, powers, refused, start

from highwater.environment import settings
from highwater.store import warehouse

pytestmark = pytest.mark.usefixtures("platform")


def test_it_gets_into_no_other_database_of_ours() -> None:
    config = settings.get()
    for database in (config.warehouse_database, config.sources_database):
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            warehouse.connect("airflow", database)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER DATABASE warehouse SET search_path = public",
        "ALTER DATABASE postgres SET search_path = public",
        "ALTER ROLE postgres IN DATABASE airflow SET search_path = public",
        "ALTER ROLE airflow SUPERUSER",
        "ALTER ROLE loader SET search_path = public",
        "CREATE ROLE mine",
        "SET ROLE loader",
        "SET ROLE publisher",
        "SET session_replication_role = replica",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "CREATE EVENT TRIGGER mine ON login EXECUTE FUNCTION public.mine()",
    ],
)
def test_it_changes_nothing_beyond_its_database(statement: str) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        act(
            "airflow",
            "CREATE OR REPLACE FUNCTION public.mine() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
            + statement,
        )


def test_what_it_sets_in_its_database_reaches_no_session_of_ours_and_is_gone_after_a_start() -> None:
    name = settings.get().metadata_database
    act(
        "airflow", f"ALTER DATABASE {name} SET search_path = nowhere; ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'"
    )
    act("airflow", "ALTER ROLE airflow SET idle_in_transaction_session_timeout = 0")
    for role in ("airflow", "postgres"):
        with warehouse.connect_metadata(role, name) as link, link.cursor() as cursor:
            cursor.execute("SHOW timezone")
            assert warehouse.fetch_value(cursor) == "UTC"
            cursor.execute("SHOW search_path")
            assert "nowhere" not in warehouse.fetch_value(cursor)
        link.close()
    start()
    kept = act(
        "postgres",
        "SELECT s.setconfig FROM pg_db_role_setting AS s LEFT JOIN pg_database AS d ON d.oid = s.setdatabase"
        " WHERE s.setrole = 'airflow'::regrole OR d.datname = %s",
        (name,),
    )
    assert [sorted(row[0]) for row in kept] == [["TimeZone=UTC", "idle_in_transaction_session_timeout=30s"]]
    assert powers() == []


def test_other_logins_do_not_get_into_it() -> None:
    for role in ("analyst", "operator", "loader", "simulator"):
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            warehouse.connect(role, settings.get().metadata_database)
    refused("analyst", "SET ROLE airflow")
