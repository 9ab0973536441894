"""Brings any state of the databases to the current one: roles, databases, schemas, anchor, connections, history."""

from __future__ import annotations

import logging
from contextlib import closing
from datetime import date

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extensions import encrypt_password

from highwater import (
    airflow_files,
    alerts,
    batch_simulation,
    channel_simulation,
    clock,
    conditions,
    credentials,
    policy_file,
    policy_reader,
    settings,
    shop_simulation,
    simulation,
    warehouse,
)
from highwater.errors import ConfigurationError

log = logging.getLogger(__name__)

AIRFLOW_MAY_IDLE = "30s"
"""A transaction of Airflow's that has fallen silent for so long is ended. The workers of a scheduler that was killed
hold its connections open, and so its locks on the runs it was about to schedule: no other would ever touch those."""

WAREHOUSE_LOGINS = ("loader", "analyst", "operator", "simulator", *credentials.SOURCE_READERS)


def run() -> None:
    """Make what is missing and change what is old; run twice it changes nothing. It never drops data.

    Raises:
        ConfigurationError: a setting, a secret or a SQL file is wrong; a server is away, or refuses the admin login.
    """
    config = settings.get()
    alerts.check_addresses()
    if credentials.can_be_made():
        credentials.ensure()
        airflow_files.write()
    with closing(_admin_of_metadata()) as link:
        link.autocommit = True
        with link.cursor() as cursor:
            _login(cursor, "airflow")
            cursor.execute("ALTER ROLE airflow SET idle_in_transaction_session_timeout = %s", (AIRFLOW_MAY_IDLE,))
            _database(cursor, config.metadata_database, owner="airflow")
    with closing(_admin("postgres")) as link:
        link.autocommit = True
        with link.cursor() as cursor:
            for role in WAREHOUSE_LOGINS:
                _login(cursor, role)
            _publisher(cursor)
            _database(cursor, config.warehouse_database, owner="publisher")
            _database(cursor, config.sources_database, owner="simulator")
    with closing(_admin(config.warehouse_database)) as link:
        anchor = _warehouse(link)
        _policies(link)
    policy_reader.remember()
    airflow_files.replace(config.anchor_file, anchor.isoformat() + "\n")
    with closing(_admin(config.sources_database)) as link:
        _sources(link)
    for day in simulation.advance(clock.now()):
        log.info("simulated legacy.sales of %s", day)
    shop_simulation.advance(clock.now())
    for day in channel_simulation.advance(clock.now()):
        log.info("simulated store and partner of %s", day)
    batch_simulation.advance(clock.now())


def _admin(database: str) -> Connection:
    """The admin's connection to the warehouse server; a failure names the settings that lead there."""
    config = settings.get()
    try:
        return warehouse.connect("postgres", database)
    except psycopg2.OperationalError as error:
        said = str(error).strip().splitlines()[-1]
        admin = f"HIGHWATER_WAREHOUSE_ADMIN={config.warehouse_admin}"
        if "authentication failed" in said or "no password supplied" in said:
            way_out = f"put the password of {admin} into the file HIGHWATER_WAREHOUSE_ADMIN_PASSWORD_FILE names"
            if config.warehouse_admin_password_file is None:
                way_out += "; if the warehouse is Highwater's own, bring back the secrets it was made with"
        else:
            way_out = (
                f"check HIGHWATER_WAREHOUSE_HOST, HIGHWATER_WAREHOUSE_PORT, HIGHWATER_WAREHOUSE_SSLMODE and {admin}"
            )
        where = f"{config.warehouse_host}:{config.warehouse_port}"
        raise ConfigurationError(f"the warehouse at {where} refuses: {said}: {way_out}") from None


def _admin_of_metadata() -> Connection:
    """The admin's connection to the server of Airflow's metadata."""
    config = settings.get()
    if config.metadata_host is None:
        return _admin("postgres")
    try:
        return warehouse.connect_metadata("postgres", "postgres")
    except psycopg2.OperationalError as error:
        said = str(error).strip().splitlines()[-1]
        raise ConfigurationError(
            f"HIGHWATER_METADATA_HOST={config.metadata_host} refuses: {said}: bring back the secrets it was made with"
        ) from None


def _login(cursor: Cursor, role: str) -> None:
    """A role that logs in with its generated password; the server sees only the SCRAM verifier."""
    cursor.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", (role,))
    if cursor.fetchone() is None:
        cursor.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
    elif _password_fits(cursor.connection, role):
        return
    verifier = encrypt_password(credentials.password(role), role, cursor.connection, "scram-sha-256")
    cursor.execute(sql.SQL("ALTER ROLE {} PASSWORD %s").format(sql.Identifier(role)), (verifier,))
    cursor.execute(sql.SQL("ALTER ROLE {} SET timezone = 'UTC'").format(sql.Identifier(role)))
    log.info("role %s has its password", role)


def _password_fits(admin: Connection, role: str) -> bool:
    """Whether the server takes the secret of ``role``; a role that may not log in just now keeps what it has."""
    where = admin.get_dsn_parameters()
    try:
        psycopg2.connect(
            host=where["host"],
            port=where["port"],
            dbname=where["dbname"],
            sslmode=where["sslmode"],
            user=role,
            password=credentials.password(role),
            connect_timeout=10,
        ).close()
    except psycopg2.OperationalError as error:
        return "password authentication failed" not in str(error)
    return True


def _publisher(cursor: Cursor) -> None:
    """The owner of all that is published: nobody logs in as it, and it may take over the loader's tables.

    The operator sees what the analyst sees, and may change what is wanted.
    """
    cursor.execute("SELECT FROM pg_roles WHERE rolname = 'publisher'")
    if cursor.fetchone() is None:
        cursor.execute("CREATE ROLE publisher NOLOGIN")
    members = {"loader": sql.Identifier("publisher"), "analyst": sql.Identifier("operator")}
    for role, member in (members | dict.fromkeys(_OWNERS, sql.SQL("CURRENT_USER"))).items():
        cursor.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), member))


_OWNERS = ("publisher", "simulator", *credentials.SOURCE_READERS)
"""An admin that is no superuser must be a member of the roles that own databases to act for them, and of the sources'
readers to end their sessions."""


def _database(cursor: Cursor, name: str, owner: str) -> None:
    cursor.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
    if cursor.fetchone() is None:
        cursor.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} ENCODING 'UTF8' TEMPLATE template0").format(
                sql.Identifier(name), sql.Identifier(owner)
            )
        )
        log.info("database %s is made", name)
    cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))


def _warehouse(link: Connection) -> date:
    """Everything of sql/warehouse/, in one transaction; returns the anchor, stored at the first start."""
    config = settings.get()
    database = sql.Identifier(config.warehouse_database)
    with link, link.cursor() as cursor:
        _one_at_a_time(cursor)
        cursor.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
        cursor.execute(sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO loader").format(database))
        cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO analyst").format(database))
        cursor.execute("SET LOCAL ROLE publisher")
        cursor.execute("SELECT to_regclass('control.platform') IS NOT NULL")
        anchor = config.anchor
        if anchor is None and cursor.fetchone()[0]:  # type: ignore[index]
            cursor.execute("SELECT anchor FROM control.platform")
            anchor = cursor.fetchone()[0]  # type: ignore[index]
        anchor = anchor or config.anchor_date()
        cursor.execute(
            "SELECT set_config('highwater.anchor', %s, true), set_config('highwater.history_days', %s, true),"
            " set_config('highwater.channel_days', %s, true), set_config('highwater.keep_versions_days', %s, true)",
            (
                anchor.isoformat(),
                str(config.history_days),
                str(config.channel_days),
                str(config.keep_versions_days),
            ),
        )
        _run_folder(cursor, "warehouse")
    return anchor


def _policies(link: Connection) -> None:
    """Which conditions there are; and, at the first start, what config/catchup.yaml wants."""
    with link, link.cursor() as cursor:
        _one_at_a_time(cursor)
        cursor.execute("SET LOCAL ROLE publisher")
        conditions.register(cursor)
        cursor.execute(
            "UPDATE control.platform SET policies_applied_at = ops.clock() WHERE policies_applied_at IS NULL"
        )
        if cursor.rowcount:
            cursor.execute("SELECT set_config('highwater.by', 'the first start', true)")
            wanted = policy_file.load(policy_file.DEFAULT)
            for line in policy_file.apply(cursor, wanted, f"as {policy_file.DEFAULT.name} says"):
                log.info("policy %s", line)


def _sources(link: Connection) -> None:
    """Everything of sql/gate/, as the admin, and of sql/sources/, in one transaction."""
    database = sql.Identifier(settings.get().sources_database)
    with link, link.cursor() as cursor:
        _one_at_a_time(cursor)
        for reader in credentials.SOURCE_READERS:
            cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, sql.Identifier(reader)))
        _run_folder(cursor, "gate")
        cursor.execute("SET LOCAL ROLE simulator")
        _run_folder(cursor, "sources")


def _one_at_a_time(cursor: Cursor) -> None:
    """Two bootstraps at once take turns: CREATE OR REPLACE does not bear company."""
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('highwater bootstrap'))")


def _run_folder(cursor: Cursor, folder: str) -> None:
    for path in sorted((warehouse.SQL / folder).glob("*.sql")):
        warehouse.run_file(cursor, f"{folder}/{path.name}")
