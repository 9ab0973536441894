"""The roles of both servers and the databases they work in: created if missing, and corrected at each start.

Nothing here executes code written by another role: that is left to a session of that role, since code that runs in an
admin's session can undo a SET ROLE.
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
"""Idle timeout of Airflow's transactions. The workers of a killed scheduler keep its connections open, and with them
its locks on the runs it was about to schedule, which no other scheduler could touch."""

MAY_IDLE = "15min"
"""Idle timeout of transactions, whose locks reloads and starts wait for. It is a default of every role of the
warehouse's server: any session may change it, and the engine's own sessions do."""

PUBLISHER = "publisher"
"""The owner of all published data. It logs in only while a start upgrades its schemas."""
READS_SESSIONS = "pg_read_all_stats"
"""A predefined role of Postgres: its members see when the transactions of other sessions began."""
MEMBERSHIPS = {("analyst", "operator"), (READS_SESSIONS, PUBLISHER)}
"""Role and member: the operator sees what the analyst sees; the publisher's functions name sessions with locks."""
PERCENT_OF_CONNECTIONS = {"analyst": 16, "operator": 8}
PERCENT_OF_OWNER, PERCENT_OF_READER = 8, 5
"""Shares of the server's connections; the last two for each role of the project. Together they are two thirds, so that
the loader and Airflow always get a connection."""
FEWEST_CONNECTIONS = 4
"""Minimum for each role, however small the server is."""
PUBLISHER_STAYS = timedelta(minutes=15)
"""Validity of the publisher's temporary password, which remains if a start is killed."""


def logins() -> tuple[str, ...]:
    """The roles of the warehouse's server that log in."""
    return ("loader", "analyst", "operator", *project.extension().logins)


def prepare_login(cursor: Cursor, role: str, **wanted: str) -> None:
    """Create or correct a role that logs in with its generated password and has our settings and no others.

    The server receives only the SCRAM verifier. ``wanted`` are settings beside the time zone.
    """
    cursor.execute("SELECT rolcanlogin FROM pg_catalog.pg_roles WHERE rolname = %s", (role,))
    is_new = cursor.fetchone() is None
    if is_new:
        cursor.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
    _take_powers(cursor, role)
    _reset_role(cursor, role, {"TimeZone": "UTC"} | wanted)
    if is_new or not _password_fits(cursor.connection, role):
        _set_password(cursor, role, credentials.password(role))
        log.info("set the password of role %s", role)


def prepare_publisher(cursor: Cursor) -> None:
    """Create or correct the owner of all published data, which cannot log in."""
    cursor.execute("SELECT rolcanlogin FROM pg_catalog.pg_roles WHERE rolname = %s", (PUBLISHER,))
    known = warehouse.fetch(cursor)
    if known is None:
        cursor.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(PUBLISHER)))
    elif known.rolcanlogin:
        _lock_out(cursor)
    _take_powers(cursor, PUBLISHER)
    _reset_role(cursor, PUBLISHER, {})


def grant_memberships(cursor: Cursor) -> None:
    """Grant the memberships among our roles and revoke all others.

    An admin that is not a superuser becomes a member of the roles that own schemas, to transfer a database, and of
    the sources' readers, to end their sessions.
    """
    ours = [PUBLISHER, "airflow", READS_SESSIONS, *logins()]
    cursor.execute(
        "SELECT r.rolname AS role, m.rolname AS member, g.rolname AS grantor FROM pg_catalog.pg_auth_members AS a"
        " JOIN pg_catalog.pg_roles AS r ON r.oid = a.roleid JOIN pg_catalog.pg_roles AS m ON m.oid = a.member"
        " JOIN pg_catalog.pg_roles AS g ON g.oid = a.grantor"
        " WHERE r.rolname = ANY(%(ours)s::name[]) AND m.rolname = ANY(%(ours)s::name[])",
        {"ours": ours},
    )
    existing = warehouse.fetch_all(cursor)
    for found in existing:
        if (found.role, found.member) not in MEMBERSHIPS:
            cursor.execute(
                sql.SQL("REVOKE {} FROM {} GRANTED BY {} CASCADE").format(
                    *(sql.Identifier(name) for name in (found.role, found.member, found.grantor))
                )
            )
            log.warning("revoked membership of role %s in %s, granted by %s", found.member, found.role, found.grantor)
    for role, member in sorted(MEMBERSHIPS - {(found.role, found.member) for found in existing}):
        try:
            cursor.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(member)))
        except errors.InsufficientPrivilege:
            if role != READS_SESSIONS:
                raise
            # Messages then name the session that locks a table, but not since when.
            log.info("the admin may not grant %s to %s", role, member)
    for role in (PUBLISHER, *project.extension().logins):
        cursor.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(role)))


def limit_connections(cursor: Cursor) -> None:
    """Limit the number of connections of each role except the loader and Airflow."""
    cursor.execute(
        "SELECT pg_catalog.current_setting('max_connections')::integer"
        " - pg_catalog.current_setting('superuser_reserved_connections')::integer"
    )
    available = warehouse.fetch_value(cursor)
    added = project.extension()
    shares = PERCENT_OF_CONNECTIONS | dict.fromkeys(added.readers, PERCENT_OF_READER)
    if added.owner is not None:
        shares[added.owner] = PERCENT_OF_OWNER
    limits = {role: max(FEWEST_CONNECTIONS, available * share // 100) for role, share in shares.items()}
    cursor.execute(
        "SELECT rolname, rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = ANY(%s::name[])", (list(limits),)
    )
    for found in warehouse.fetch_all(cursor):
        if found.rolconnlimit != limits[found.rolname]:
            cursor.execute(
                sql.SQL("ALTER ROLE {} CONNECTION LIMIT %s").format(sql.Identifier(found.rolname)),
                (limits[found.rolname],),
            )


def prepare_database(cursor: Cursor, name: str, owner: str | None = None) -> None:
    """Create or correct a database: owned by the admin or ``owner``, without settings, closed to PUBLIC.

    No role that runs tasks owns one: an owner can set defaults for every session in it, including the admin's.
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
        log.info("created database %s", name)
    elif not found.fits:
        cursor.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, owned_by))
        log.info("changed the owner of database %s, which was %s", name, found.rolname)
    cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    cursor.execute(
        "SELECT s.setconfig FROM pg_catalog.pg_db_role_setting AS s JOIN pg_catalog.pg_database AS d"
        " ON d.oid = s.setdatabase WHERE s.setrole = 0 AND d.datname = %s",
        (name,),
    )
    for row in warehouse.fetch_all(cursor):
        cursor.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(database))
        log.warning("reset the settings of database %s: %s", name, ", ".join(row.setconfig))


def close_other_databases(cursor: Cursor) -> None:
    """On our own server, revoke access to the databases that come with Postgres; they hold nothing of ours."""
    for database in ("postgres", "template1"):
        cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))


def close_public(cursor: Cursor) -> None:
    """In the cursor's database, allow only the admin to create objects in ``public``, or large objects.

    Postgres 14 allows everyone; the owner of a database may have granted the right. Advisory locks are reserved for the
    publisher, which claims attempts with them: a single statement could exhaust the server's lock table.
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
            "SELECT oid::pg_catalog.regprocedure::text AS name FROM pg_catalog.pg_proc"
            " WHERE pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND proname ~ '^pg_(try_)?advisory_.*lock'"
        )
        locking = ", ".join(row.name for row in warehouse.fetch_all(cursor))
        cursor.execute(f"REVOKE EXECUTE ON FUNCTION {locking} FROM PUBLIC")
        cursor.execute(f"GRANT EXECUTE ON FUNCTION {locking} TO {PUBLISHER}")


def own_schema(cursor: Cursor, name: str) -> None:
    """Create a schema owned by the admin, in which no other role can create objects.

    Raises:
        ConfigurationError: it belongs to another role, whose objects the admin must not touch.
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
            f"schema {name!r} in database {cursor.connection.info.dbname!r} belongs to {owner.rolname!r}: expected the "
            "admin; rename it, and Highwater creates its own"
        )


@contextmanager
def session_of_publisher(admin: Connection) -> Iterator[Connection]:
    """A session in the admin's database that is logged in as the publisher, and so cannot become another role.

    The publisher can log in with a temporary password until the block ends.

    Raises:
        ConfigurationError: the server refuses the login.
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
            reason = driver_errors.said(error)
            raise ConfigurationError(
                f"the warehouse refuses the login of {PUBLISHER}, which a start needs: {reason}; "
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
    """Revoke superuser, role and database creation, replication and bypass of row security from a role of ours."""
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
        log.warning("revoked admin privileges of role %s", role)


def _reset_role(cursor: Cursor, role: str, wanted: Mapping[str, str]) -> None:
    """Give a role exactly the wanted settings in every database, resetting all that it or another role has set."""
    cursor.execute(
        "SELECT d.datname, s.setconfig FROM pg_catalog.pg_db_role_setting AS s"
        " JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole"
        " LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.setdatabase WHERE r.rolname = %s",
        (role,),
    )
    found: dict[str | None, Sequence[str]] = {row.datname: row.setconfig for row in warehouse.fetch_all(cursor)}
    name = sql.Identifier(role)
    for database, config in found.items():
        if database is not None:
            cursor.execute(sql.SQL("ALTER ROLE {} IN DATABASE {} RESET ALL").format(name, sql.Identifier(database)))
            log.warning("reset the settings of role %s in database %s: %s", role, database, ", ".join(config))
    own = found.get(None, ())
    if sorted(own) == sorted(f"{setting}={value}" for setting, value in wanted.items()):
        return
    cursor.execute(sql.SQL("ALTER ROLE {} RESET ALL").format(name))
    for setting, value in wanted.items():
        cursor.execute(sql.SQL("ALTER ROLE {} SET {} = %s").format(name, sql.Identifier(setting)), (value,))
    if own:
        log.warning("reset the settings of role %s: %s", role, ", ".join(own))


def _password_fits(admin: Connection, role: str) -> bool:
    """Whether the server accepts the stored password of ``role``; true if it cannot log in for another reason."""
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
