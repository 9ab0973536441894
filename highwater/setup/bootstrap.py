"""Creates or updates the databases: roles, databases, schemas, anchor, connections, history."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date
from functools import wraps
from typing import Any, TypeVar

import psycopg2
import tenacity
from psycopg2 import sql
from psycopg2.errors import DeadlockDetected, DuplicateSchema, DuplicateTable, LockNotAvailable, UniqueViolation
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from highwater.environment import commands, credentials, files, project, settings
from highwater.environment.commands import Place
from highwater.environment.project import Extension
from highwater.incidents import alerts
from highwater.model import clock
from highwater.model.errors import ConfigurationError
from highwater.policy import conditions, file
from highwater.policy import reader as policy_reader
from highwater.setup import airflow_files, migrations, roles
from highwater.setup.migrations import Plan
from highwater.store import driver_errors, schema_version, warehouse

log = logging.getLogger(__name__)

T = TypeVar("T")


def run() -> None:
    """Create or update everything the platform needs. Idempotent; never drops data.

    Raises:
        ConfigurationError: a setting, a secret or a SQL file is invalid; a server is unavailable or refuses the admin.
    """
    config = settings.get()
    alerts.check_addresses()
    if credentials.can_create():
        credentials.ensure()
    plan()
    if credentials.can_create():
        airflow_files.write()
        credentials.renew_password_files()
    with closing(_admin_of_metadata()) as link:
        link.autocommit = True
        with link.cursor() as cursor:
            roles.prepare_login(cursor, "airflow", idle_in_transaction_session_timeout=roles.AIRFLOW_MAY_IDLE)
            roles.prepare_database(cursor, config.metadata_database, owner="airflow")
    added = project.extension()
    with _warehouse_up_to_date():
        if added.owner is not None:
            with closing(_admin(config.sources_database)) as admin:
                _sources(admin, added)
    added.advance()


def plan() -> Plan:
    """What `migrate` would do; changes nothing.

    Raises:
        ConfigurationError: the warehouse is newer than this version, not Highwater's, unavailable or refuses the login.
    """
    database = settings.get().warehouse_database
    with closing(_admin("postgres")) as link, link, link.cursor() as cursor:
        cursor.execute("SELECT FROM pg_catalog.pg_database WHERE datname = %s", (database,))
        if cursor.fetchone() is None:
            return migrations.of_nothing()
    with closing(_admin(database)) as link, link, link.cursor() as cursor:
        return migrations.plan(cursor)


def migrate() -> Plan:
    """Migrate the warehouse and its server's roles to the installed version; returns what was done.

    Raises:
        ConfigurationError: as `run`.
    """
    if credentials.can_create():
        credentials.ensure()
    planned = plan()
    with _warehouse_up_to_date():
        return planned


def prepare_empty() -> None:
    """Create the roles of the warehouse's server, and an empty database for the warehouse if it does not exist.

    A backup needs both before it can be restored.

    Raises:
        ConfigurationError: as `run`.
    """
    with closing(_admin("postgres")) as link:
        link.autocommit = True
        with link.cursor() as cursor:
            with _bounded_wait(cursor):
                cursor.execute("SELECT pg_catalog.pg_advisory_lock(pg_catalog.hashtext('highwater bootstrap'))")
            roles.prepare_database(cursor, settings.get().warehouse_database)
            _roles(cursor)


@contextmanager
def _warehouse_up_to_date() -> Iterator[None]:
    """Update roles and warehouse, and hold the start lock for the block, so that concurrent starts take turns."""
    config = settings.get()
    with closing(_admin("postgres")) as link:
        link.autocommit = True
        with link.cursor() as cursor:
            # A lock in the admin's own database, until the warehouse exists.
            with _bounded_wait(cursor):
                cursor.execute("SELECT pg_catalog.pg_advisory_lock(pg_catalog.hashtext('highwater bootstrap'))")
            roles.prepare_database(cursor, config.warehouse_database)
            with _one_at_a_time():
                _roles(cursor)
                with closing(_admin(config.warehouse_database)) as admin:
                    anchor = _warehouse(admin)
                policy_reader.remember()
                files.replace(config.anchor_file, anchor.isoformat() + "\n")
                yield


def _admin(database: str) -> Connection:
    """The admin's connection to the warehouse server; an error names the settings to check."""
    config = settings.get()
    try:
        return warehouse.connect("postgres", database)
    except psycopg2.OperationalError as error:
        reason = driver_errors.said(error, of_named_server=True)
        admin = f"HIGHWATER_WAREHOUSE_ADMIN={config.warehouse_admin}"
        if "authentication failed" in reason or "no password supplied" in reason:
            way_out = f"put the password of {admin} into the file HIGHWATER_WAREHOUSE_ADMIN_PASSWORD_FILE names"
            if config.warehouse_admin_password_file is None:
                way_out += "; if the warehouse is Highwater's own, restore the secrets it was created with"
        elif commands.place() in (Place.DEMO, Place.NOWHERE):
            way_out = commands.how_to_start()
        else:
            way_out = (
                f"check HIGHWATER_WAREHOUSE_HOST, HIGHWATER_WAREHOUSE_PORT, HIGHWATER_WAREHOUSE_SSLMODE and {admin}"
            )
        where = f"{config.warehouse_host}:{config.warehouse_port}"
        does = "does not answer" if reason.startswith("nothing listens") else "refuses"
        raise ConfigurationError(f"the warehouse at {where} {does}: {reason}; {way_out}") from None


def _admin_of_metadata() -> Connection:
    """The admin's connection to the server of Airflow's metadata."""
    config = settings.get()
    if config.metadata_host is None:
        return _admin("postgres")
    try:
        return warehouse.connect_metadata("postgres", "postgres")
    except psycopg2.OperationalError as error:
        reason = driver_errors.said(error)
        raise ConfigurationError(
            f"HIGHWATER_METADATA_HOST={config.metadata_host} refuses: {reason}; restore the secrets it was created with"
        ) from None


def _roles(cursor: Cursor) -> None:
    """Create or correct the roles of the warehouse's server and their rights to connect to its databases."""
    config = settings.get()
    for role in roles.logins():
        roles.prepare_login(cursor, role, idle_in_transaction_session_timeout=roles.MAY_IDLE)
    roles.prepare_publisher(cursor)
    roles.grant_memberships(cursor)
    roles.limit_connections(cursor)
    # On our own server, the admin's password is a generated one.
    if config.warehouse_admin_password_file in (None, config.secrets / "postgres_password"):
        roles.close_other_databases(cursor)
    _let_in(cursor, config.warehouse_database, owner=roles.PUBLISHER)
    database = sql.Identifier(config.warehouse_database)
    cursor.execute(sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO loader").format(database))
    cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO analyst").format(database))
    added = project.extension()
    if added.owner is not None:
        roles.prepare_database(cursor, config.sources_database)
        _let_in(cursor, config.sources_database, owner=added.owner)
        database = sql.Identifier(config.sources_database)
        for reader in added.readers:
            cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, sql.Identifier(reader)))


def _let_in(cursor: Cursor, database: str, owner: str) -> None:
    """Let the role that owns the schemas of a database create them."""
    cursor.execute(
        sql.SQL("GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {} TO {}").format(
            sql.Identifier(database), sql.Identifier(owner)
        )
    )


def _warehouse(admin: Connection) -> date:
    """Set up the warehouse: first as the admin, then its schema as the publisher, in one transaction.

    Returns:
        The anchor, stored at the first start.
    """
    with admin, admin.cursor() as cursor:
        roles.close_public(cursor)
        cursor.execute("CREATE EXTENSION IF NOT EXISTS btree_gist SCHEMA public")
        _take_from_loader(cursor)
    with roles.session_of_publisher(admin) as link:
        link.notices = _Notices()  # type: ignore[assignment]
        anchor = _apply(link)
        for notice in link.notices:
            if notice.startswith("WARNING"):
                log.warning(notice.removeprefix("WARNING:").strip())
        _policies(link)
    return anchor


class _Notices(deque[str]):
    """All notices of the server: psycopg2 truncates a list to the last fifty, and SQLAlchemy empties it."""

    def __setitem__(self, place: Any, notice: Any) -> None:
        if not isinstance(place, slice):
            super().__setitem__(place, notice)


def _retry_after_deadlock(function: Callable[..., T]) -> Callable[..., T]:
    """Retry a function that is one transaction if Postgres cancels it because of a deadlock.

    This is common beside a running platform, whose sessions read tables in another order than a start changes them.
    """

    @wraps(function)
    def again(*arguments: Any) -> T:
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(DeadlockDetected),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=5),
            stop=tenacity.stop_after_attempt(DEADLOCKS),
            before_sleep=lambda _state: log.info("deadlock with the running platform: the start is retried"),
            reraise=True,
        ):
            with attempt:
                return function(*arguments)
        raise AssertionError("tenacity raises the last error")

    return again


@_retry_after_deadlock
def _apply(link: Connection) -> date:
    """Apply the warehouse's schema and the settings of this start in one transaction; returns the anchor."""
    with link, link.cursor() as cursor:
        stored = _stored_anchor(cursor)
    anchor = settings.get().anchor or stored or settings.get().anchor_date()
    with _refusals_of_the_start(settings.get(), stored):
        done = migrations.carry_out(link, lambda cursor: _set_parameters(cursor, anchor))
    for line in done.in_words():
        log.info("warehouse: %s", line)
    return anchor


def _take_from_loader(cursor: Cursor) -> None:
    """Drop schema staging if it belongs to the loader, as in old versions; the publisher creates it again.

    Staging sets are lost with it; their windows are extracted again.
    """
    cursor.execute(
        "SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'staging' AND nspowner = 'loader'::pg_catalog.regrole"
    )
    if cursor.fetchone() is not None:
        cursor.execute("GRANT loader TO CURRENT_USER")
        cursor.execute("DROP SCHEMA staging CASCADE")
        cursor.execute("REVOKE loader FROM CURRENT_USER")
        log.info("schema staging belonged to the loader and is created again")


def _stored_anchor(cursor: Cursor) -> date | None:
    """The stored anchor, from which fixed start dates count; None at the first start."""
    cursor.execute("SELECT to_regclass('control.platform') IS NOT NULL")
    if not warehouse.fetch_value(cursor):
        return None
    cursor.execute("SELECT anchor FROM control.platform")
    stored: date = warehouse.fetch_value(cursor)
    return stored


def _set_parameters(cursor: Cursor, anchor: date) -> None:
    """Set the parameters that the files of highwater/sql/start/ and sql/datasets/ read, until the transaction ends."""
    config = settings.get()
    extra = project.extension().settings()
    # A project adds parameters; it does not replace the engine's.
    parameters = {name.removeprefix("HIGHWATER_").lower(): value for name, value in extra.items()} | {
        "anchor": anchor.isoformat(),
        # Without it, the start is refused as one of an older version.
        "schema_version": schema_version.head(),
        "keep_versions_days": config.keep_versions_days,
        # Only a test, or the user who starts the platform, may set its clock.
        "clock_may_be_set": clock.frozen() is not None,
    }
    for name, value in parameters.items():
        cursor.execute("SELECT set_config(%s, %s, true)", (f"highwater.{name}", str(value)))


@contextmanager
def _refusals_of_the_start(config: settings.Settings, stored: date | None) -> Iterator[None]:
    """Turn what the warehouse refuses at a start into a configuration error that names the setting.

    Raises:
        ConfigurationError: a grid would move below landed windows, or a row of control.datasets is invalid.
    """
    try:
        yield
    except psycopg2.Error as error:
        # The hint of the warehouse is for a changed grid; here a setting was changed.
        reason = error.diag.message_primary
        if error.pgcode == "HW011":
            given = f"HIGHWATER_ANCHOR={config.anchor or stored}" + (f" (it was {stored})" if stored else "")
            causes = [given, *(f"{name}={value}" for name, value in project.extension().settings().items())]
            raise ConfigurationError(
                f"{reason}; this follows from {', '.join(causes)}: restore the one that was changed;"
                " nothing was changed"
            ) from None
        if isinstance(error, LockNotAvailable):
            raise _blocked(config.warehouse_database) from None
        if error.pgcode == "HW012":
            raise ConfigurationError(f"{reason}; nothing was changed") from None
        raise


def _blocked(database: str) -> ConfigurationError:
    """The error for a start that has timed out waiting for locked tables: names the sessions and the way out."""
    with warehouse.session("postgres", database) as cursor:
        warehouse.run_file(cursor, "setup/holders.sql")
        holders = [
            f"{holder.usename} (pid {holder.pid}, since {holder.since}) holds {holder.tables}"
            for holder in warehouse.fetch_all(cursor)
        ]
    return ConfigurationError(
        f"the start timed out waiting for locked tables of the database {database}:"
        f" {'; '.join(holders) or 'held by a transaction that has ended since'};"
        f"{' end it with SELECT pg_terminate_backend(pid), then' if holders else ''} start again; nothing was changed"
    )


@_retry_after_deadlock
def _policies(link: Connection) -> None:
    """Register the conditions and, at the first start, apply config/catchup.yaml."""
    with link, link.cursor() as cursor:
        conditions.register(cursor)
        cursor.execute(
            "UPDATE control.platform SET policies_applied_at = ops.clock() WHERE policies_applied_at IS NULL"
        )
        if cursor.rowcount and file.DEFAULT.exists():
            cursor.execute("SELECT set_config('highwater.by', 'the first start', true)")
            wanted = file.load(file.DEFAULT)
            for line in file.apply(cursor, wanted, f"as {file.DEFAULT.name} says"):
                log.info("policy %s", line)


@_retry_after_deadlock
def _sources(admin: Connection, added: Extension) -> None:
    """Create or update the project's own database."""
    with admin, admin.cursor() as cursor:
        roles.close_public(cursor)
    try:
        added.prepare(admin)
    except LockNotAvailable:
        raise _blocked(settings.get().sources_database) from None


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Concurrent starts take turns, by a row that only the admin can lock, so that no other role can block a start.

    Raises:
        ConfigurationError: another start has been running for too long.
    """
    with closing(_admin(settings.get().warehouse_database)) as link:
        for is_last in (False, True):
            try:
                with link, link.cursor() as cursor:
                    roles.own_schema(cursor, "setup")
                    warehouse.run_file(cursor, "setup/turn.sql")
                break
            except (UniqueViolation, DuplicateSchema, DuplicateTable):
                # Another first start has created it concurrently.
                if is_last:
                    raise
        with link, link.cursor() as cursor:
            with _bounded_wait(cursor):
                cursor.execute("SELECT FROM setup.turn FOR UPDATE")
            yield


@contextmanager
def _bounded_wait(cursor: Cursor) -> Iterator[None]:
    """Limit how long the block waits for a lock that another start holds.

    Raises:
        ConfigurationError: the other start has been running for too long.
    """
    cursor.execute("SELECT pg_catalog.current_setting('lock_timeout')")
    before = warehouse.fetch_value(cursor)
    cursor.execute("SELECT pg_catalog.set_config('lock_timeout', %s, false)", (START_TIMEOUT,))
    try:
        yield
        cursor.execute("SELECT pg_catalog.set_config('lock_timeout', %s, false)", (before,))
    except LockNotAvailable:
        raise ConfigurationError(
            f"another start has been running for {START_TIMEOUT}: try again when it has finished"
        ) from None


START_TIMEOUT = "5min"
DEADLOCKS = 5
"""Number of attempts at a start that Postgres cancels because of a deadlock; a cancelled one has changed nothing."""
