"""The roles of both servers and the databases they work in: made where missing, and put right at each start.

Nothing here runs what another role has written: that is left to a session of that very role, since whoever can run a
line in an admin's session can end a SET ROLE there.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import psycopg2
from psycopg2 import errors, sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extensions import encrypt_password

from highwater.environment import credentials, project, settings
from highwater.model.errors import ConfigurationError
from highwater.store import driver_errors, warehouse
from highwater.store.warehouse import Login

log = logging.getLogger(__name__)

AIRFLOW_MAY_IDLE = "30s"
"""A transaction of Airflow's that has fallen silent for so long is ended. The workers of a scheduler that was killed
hold its connections open, and so its locks on the runs it was about to schedule: no other would ever touch those."""

MAY_IDLE = "15min"
"""A transaction that has fallen silent for so long is ended, and with it the locks that reloads and starts wait for. A
default of every role of the warehouse's server: the engine's own sessions say otherwise, as anybody's may."""

PUBLISHER = "publisher"
"""The owner of all that is published. It logs in only while a start brings its schemas to the current state."""
READS_SESSIONS = "pg_read_all_stats"
"""A role of Postgres: who is in it sees since when sessions of others have a transaction open."""
MEMBERSHIPS = {("analyst", "operator"), (READS_SESSIONS, PUBLISHER)}
"""Role and member: the operator sees what the analyst sees, and the publisher's functions name who holds a table."""
PERCENT_OF_CONNECTIONS = {"analyst": 16, "operator": 8}
PERCENT_OF_OWNER, PERCENT_OF_READER = 8, 5
"""Of the connections the server has, the last two for each role of the project: together two thirds, so that the loader
and Airflow always get theirs."""
FEWEST_CONNECTIONS = 4
"""However small the server is."""
PUBLISHER_STAYS = timedelta(minutes=15)
"""So long the password of a publisher holds whose start was killed."""


def logins() -> tuple[str, ...]:
    """Roles of the warehouse's server that log in."""
    return ("loader", "analyst", "operator", *project.extension().logins)


def prepare_login(cursor: Cursor, role: str, **wanted: str) -> None:
    """A role that logs in with its generated password, as it was made, with our settings and no others.

    The server sees only the SCRAM verifier. ``wanted`` are settings beside the time zone.
    """
    cursor.execute("SELECT rolcanlogin FROM pg_catalog.pg_roles WHERE rolname = %s", (role,))
    is_new = cursor.fetchone() is None
    if is_new:
        cursor.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
    _take_powers(cursor, role)
    _reset_role(cursor, role, {"TimeZone": "UTC"} | wanted)
    if is_new or not _password_fits(cursor.connection, role):
        _set_password(cursor, role, credentials.password(role))
        log.info("role %s has its password", role)


def prepare_publisher(cursor: Cursor) -> None:
    """The owner of all that is published: nobody logs in as it."""
    cursor.execute("SELECT rolcanlogin FROM pg_catalog.pg_roles WHERE rolname = %s", (PUBLISHER,))
    known = warehouse.fetch(cursor)
    if known is None:
        cursor.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(PUBLISHER)))
    elif known.rolcanlogin:
        _lock_out(cursor)
    _take_powers(cursor, PUBLISHER)
    _reset_role(cursor, PUBLISHER, {})


def grant_memberships(cursor: Cursor) -> None:
    """Who is a member of whom among our roles: that, and nothing else.

    An admin that is no superuser is a member of the roles that own schemas, to hand a database over, and of the
    sources' readers, to end their sessions.
    """
    ours = [PUBLISHER, "airflow", READS_SESSIONS, *logins()]
    cursor.execute(
        "SELECT r.rolname AS role, m.rolname AS member, g.rolname AS grantor FROM pg_catalog.pg_auth_members AS a"
        " JOIN pg_catalog.pg_roles AS r ON r.oid = a.roleid JOIN pg_catalog.pg_roles AS m ON m.oid = a.member"
        " JOIN pg_catalog.pg_roles AS g ON g.oid = a.grantor"
        " WHERE r.rolname = ANY(%(ours)s::name[]) AND m.rolname = ANY(%(ours)s::name[])",
        {"ours": ours},
    )
    there = warehouse.fetch_all(cursor)
    for found in there:
        if (found.role, found.member) not in MEMBERSHIPS:
            cursor.execute(
                sql.SQL("REVOKE {} FROM {} GRANTED BY {} CASCADE").format(
                    *(sql.Identifier(name) for name in (found.role, found.member, found.grantor))
                )
            )
            log.warning("role %s is no member of %s any more; %s made it one", found.member, found.role, found.grantor)
    for role, member in sorted(MEMBERSHIPS - {(found.role, found.member) for found in there}):
        try:
            cursor.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(member)))
        except errors.InsufficientPrivilege:
            if role != READS_SESSIONS:
                raise
            # Then it is told who holds a table, and not since when.
            log.info("the admin may not grant %s to %s", role, member)
    for role in (PUBLISHER, *project.extension().logins):
        cursor.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(role)))


def limit_connections(cursor: Cursor) -> None:
    """Bound how many connections each role may have that is none of the loader's or Airflow's."""
    cursor.execute(
        "SELECT pg_catalog.current_setting('max_connections')::integer"
        " - pg_catalog.current_setting('superuser_reserved_connections')::integer"
    )
    there = warehouse.fetch_value(cursor)
    added = project.extension()
    shares = PERCENT_OF_CONNECTIONS | dict.fromkeys(added.readers, PERCENT_OF_READER)
    if added.owner is not None:
        shares[added.owner] = PERCENT_OF_OWNER
    limits = {role: max(FEWEST_CONNECTIONS, there * share // 100) for role, share in shares.items()}
    cursor.execute(
        "SELECT rolname, rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = ANY(%s::name[])", (list(limits),)
    )
    for role, limit in warehouse.fetch_all(cursor):
        if limit != limits[role]:
            cursor.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT %s").format(sql.Identifier(role)), (limits[role],))


def prepare_database(cursor: Cursor, name: str, owner: str | None = None) -> None:
    """A database of ours: the admin's unless an owner is named, closed to all who are not let in, without settings.

    No role that runs tasks owns one: an owner may set what every session in it starts with, the admin's too.
    """
    cursor.execute(
        "SELECT r.rolname, r.rolname = coalesce(%s::name, current_user) AS fits"
        " FROM pg_catalog.pg_database AS d LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = d.datdba WHERE d.datname = %s",
        (owner, name),
    )
    found = warehouse.fetch(cursor)
    database, owned_by = sql.Identifier(name), sql.Identifier(owner) if owner else sql.SQL("CURRENT_USER")
    if found is None:
        cursor.execute(
            sql.SQL("CREATE DATABASE {} {} ENCODING 'UTF8' TEMPLATE template0").format(
                database, sql.SQL("OWNER {}").format(owned_by) if owner else sql.SQL("")
            )
        )
        log.info("database %s is made", name)
    elif not found.fits:
        cursor.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, owned_by))
        log.info("database %s belonged to %s", name, found.rolname)
    cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    cursor.execute(
        "SELECT s.setconfig FROM pg_catalog.pg_db_role_setting AS s JOIN pg_catalog.pg_database AS d"
        " ON d.oid = s.setdatabase WHERE s.setrole = 0 AND d.datname = %s",
        (name,),
    )
    for (config,) in warehouse.fetch_all(cursor):
        cursor.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(database))
        log.warning("database %s had settings, which are gone: %s", name, ", ".join(config))


def close_other_databases(cursor: Cursor) -> None:
    """On a server of our own nobody gets into the databases that come with Postgres, which hold nothing of ours."""
    for database in ("postgres", "template1"):
        cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))


def close_public(cursor: Cursor) -> None:
    """In the database of the cursor nobody but the admin makes anything in ``public``, or large objects.

    Postgres 14 lets everybody; a database whose owner has changed may have given the right away. Advisory locks are the
    publisher's alone, which claims attempts by them: one statement could take all the locks that the server has.
    """
    cursor.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    for role in (PUBLISHER, *logins()):
        cursor.execute(sql.SQL("REVOKE CREATE ON SCHEMA public FROM {}").format(sql.Identifier(role)))
    if cursor.connection.info.parameter_status("is_superuser") == "on":
        cursor.execute(
            "REVOKE EXECUTE ON FUNCTION pg_catalog.lo_creat(integer), pg_catalog.lo_create(oid),"
            " pg_catalog.lo_from_bytea(oid, bytea) FROM PUBLIC"
        )
        cursor.execute(
            "SELECT oid::pg_catalog.regprocedure::text FROM pg_catalog.pg_proc"
            " WHERE pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND proname ~ '^pg_(try_)?advisory_.*lock'"
        )
        taking = ", ".join(row[0] for row in warehouse.fetch_all(cursor))
        cursor.execute(f"REVOKE EXECUTE ON FUNCTION {taking} FROM PUBLIC")
        cursor.execute(f"GRANT EXECUTE ON FUNCTION {taking} TO {PUBLISHER}")


def own_schema(cursor: Cursor, name: str) -> None:
    """A schema of the admin's, in which nobody else can make anything.

    Raises:
        ConfigurationError: it belongs to somebody else, whose objects the admin must not touch.
    """
    cursor.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(name)))
    cursor.execute(
        "SELECT r.rolname, r.rolname = current_user AS fits FROM pg_catalog.pg_namespace AS n"
        " JOIN pg_catalog.pg_roles AS r ON r.oid = n.nspowner WHERE n.nspname = %s",
        (name,),
    )
    owner = warehouse.fetch(cursor)
    if not owner.fits:
        raise ConfigurationError(
            f"schema {name!r} in database {cursor.connection.info.dbname!r} belongs to {owner.rolname!r}, expected the "
            "admin: rename it, Highwater makes its own"
        )


@contextmanager
def session_of_publisher(admin: Connection) -> Iterator[Connection]:
    """A session in the admin's database that is the publisher's from its login on, and so can become nobody else.

    The publisher may log in, by a password that is made here, for as long as the block runs.

    Raises:
        ConfigurationError: the server does not let it in.
    """
    password = secrets.token_urlsafe(32)
    config = settings.get()
    with _autocommit(admin) as cursor:
        until = (datetime.now(UTC) + PUBLISHER_STAYS).isoformat()
        _set_password(cursor, PUBLISHER, password)
        cursor.execute(sql.SQL("ALTER ROLE {} LOGIN VALID UNTIL %s").format(sql.Identifier(PUBLISHER)), (until,))
    try:
        try:
            link = warehouse.open_session(
                Login(PUBLISHER, PUBLISHER, password),
                config.warehouse_host,
                config.warehouse_port,
                admin.info.dbname,
                sslmode=config.warehouse_sslmode,
            )
        except psycopg2.OperationalError as error:
            said = driver_errors.said(error)
            raise ConfigurationError(
                f"the warehouse does not let {PUBLISHER} log in while Highwater starts: {said}: "
                "allow it in pg_hba.conf as you allow loader"
            ) from None
        with closing(link):
            yield link
    finally:
        with _autocommit(admin) as cursor:
            _lock_out(cursor)


@contextmanager
def _autocommit(link: Connection) -> Iterator[Cursor]:
    link.autocommit = True
    try:
        with link.cursor() as cursor:
            yield cursor
    finally:
        link.autocommit = False


def _lock_out(cursor: Cursor) -> None:
    cursor.execute(
        sql.SQL("ALTER ROLE {} NOLOGIN PASSWORD NULL VALID UNTIL 'infinity'").format(sql.Identifier(PUBLISHER))
    )


def _set_password(cursor: Cursor, role: str, password: str) -> None:
    verifier = encrypt_password(password, role, cursor.connection, "scram-sha-256")
    cursor.execute(sql.SQL("ALTER ROLE {} PASSWORD %s").format(sql.Identifier(role)), (verifier,))


def _take_powers(cursor: Cursor, role: str) -> None:
    """No role of ours is a superuser or may make roles or databases, replicate or bypass row security."""
    cursor.execute(
        "SELECT FROM pg_catalog.pg_roles WHERE rolname = %s"
        " AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)",
        (role,),
    )
    if cursor.fetchone() is not None:
        cursor.execute(
            sql.SQL("ALTER ROLE {} NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS").format(
                sql.Identifier(role)
            )
        )
        log.warning("role %s had powers of an admin, which are gone", role)


def _reset_role(cursor: Cursor, role: str, wanted: Mapping[str, str]) -> None:
    """Leave a role the wanted settings, in every database, and none that it or anybody else has set."""
    cursor.execute(
        "SELECT d.datname, s.setconfig FROM pg_catalog.pg_db_role_setting AS s"
        " JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole"
        " LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase WHERE r.rolname = %s",
        (role,),
    )
    found: dict[str | None, Sequence[str]] = dict(warehouse.fetch_all(cursor))
    name = sql.Identifier(role)
    for database, config in found.items():
        if database is not None:
            cursor.execute(sql.SQL("ALTER ROLE {} IN DATABASE {} RESET ALL").format(name, sql.Identifier(database)))
            log.warning("role %s had settings in database %s, which are gone: %s", role, database, ", ".join(config))
    own = found.get(None, ())
    if sorted(own) == sorted(f"{setting}={value}" for setting, value in wanted.items()):
        return
    cursor.execute(sql.SQL("ALTER ROLE {} RESET ALL").format(name))
    for setting, value in wanted.items():
        cursor.execute(sql.SQL("ALTER ROLE {} SET {} = %s").format(name, sql.Identifier(setting)), (value,))
    if own:
        log.warning("role %s has its own settings again; it had: %s", role, ", ".join(own))


def _password_fits(admin: Connection, role: str) -> bool:
    """Whether the server takes the secret of ``role``; a role that may not log in just now keeps what it has."""
    where = admin.info
    try:
        warehouse.open_session(
            Login(role, role, credentials.password(role)),
            where.host,
            where.port,
            where.dbname,
            sslmode=where.dsn_parameters["sslmode"],
        ).close()
    except psycopg2.OperationalError as error:
        return "password authentication failed" not in str(error)
    return True
