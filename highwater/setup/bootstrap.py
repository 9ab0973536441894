"""Brings any state of the databases to the current one: roles, databases, schemas, anchor, connections, history."""

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
    """Make what is missing and change what is old; run twice it changes nothing. It never drops data.

    Raises:
        ConfigurationError: a setting, a secret or a SQL file is wrong; a server is away, or refuses the admin login.
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
    """What `migrate` would do; nothing is changed.

    Raises:
        ConfigurationError: the warehouse is newer than this code, or not Highwater's; it is away, or refuses the login.
    """
    database = settings.get().warehouse_database
    with closing(_admin("postgres")) as link, link, link.cursor() as cursor:
        cursor.execute("SELECT FROM pg_catalog.pg_database WHERE datname = %s", (database,))
        if cursor.fetchone() is None:
            return migrations.of_nothing()
    with closing(_admin(database)) as link, link, link.cursor() as cursor:
        return migrations.plan(cursor)


def migrate() -> Plan:
    """Bring the warehouse alone, and its server's roles, to this code's version; returns what there was to do.

    Raises:
        ConfigurationError: as `run`.
    """
    if credentials.can_create():
        credentials.ensure()
    planned = plan()
    with _warehouse_up_to_date():
        return planned


def prepare_empty() -> None:
    """The roles of the warehouse's server, and the warehouse's database, empty where there was none.

    What a backup needs that is restored into it.

    Raises:
        ConfigurationError: as `run`.
    """
    with closing(_admin("postgres")) as link:
        link.autocommit = True
        with link.cursor() as cursor:
            with _turn_comes(cursor):
                cursor.execute("SELECT pg_catalog.pg_advisory_lock(pg_catalog.hashtext('highwater bootstrap'))")
            roles.prepare_database(cursor, settings.get().warehouse_database)
            _roles(cursor)


@contextmanager
def _warehouse_up_to_date() -> Iterator[None]:
    """Make roles and warehouse current, and keep the turn for the block: two starts at once never are in it."""
    config = settings.get()
    with closing(_admin("postgres")) as link:
        link.autocommit = True
        with link.cursor() as cursor:
            # In the admin's own database, until there is a warehouse to take turns in.
            with _turn_comes(cursor):
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
    """The admin's connection to the warehouse server; a failure names the settings that lead there."""
    config = settings.get()
    try:
        return warehouse.connect("postgres", database)
    except psycopg2.OperationalError as error:
        said = driver_errors.said(error, of_named_server=True)
        admin = f"HIGHWATER_WAREHOUSE_ADMIN={config.warehouse_admin}"
        if "authentication failed" in said or "no password supplied" in said:
            way_out = f"put the password of {admin} into the file HIGHWATER_WAREHOUSE_ADMIN_PASSWORD_FILE names"
            if config.warehouse_admin_password_file is None:
                way_out += "; if the warehouse is Highwater's own, bring back the secrets it was made with"
        elif commands.place() in (Place.DEMO, Place.NOWHERE):
            way_out = commands.how_to_start()
        else:
            way_out = (
                f"check HIGHWATER_WAREHOUSE_HOST, HIGHWATER_WAREHOUSE_PORT, HIGHWATER_WAREHOUSE_SSLMODE and {admin}"
            )
        where = f"{config.warehouse_host}:{config.warehouse_port}"
        does = "does not answer" if said.startswith("nothing listens") else "refuses"
        raise ConfigurationError(f"the warehouse at {where} {does}: {said}; {way_out}") from None


def _admin_of_metadata() -> Connection:
    """The admin's connection to the server of Airflow's metadata."""
    config = settings.get()
    if config.metadata_host is None:
        return _admin("postgres")
    try:
        return warehouse.connect_metadata("postgres", "postgres")
    except psycopg2.OperationalError as error:
        said = driver_errors.said(error)
        raise ConfigurationError(
            f"HIGHWATER_METADATA_HOST={config.metadata_host} refuses: {said}: bring back the secrets it was made with"
        ) from None


def _roles(cursor: Cursor) -> None:
    """The roles of the warehouse's server, and who may get into which of its databases."""
    config = settings.get()
    for role in roles.logins():
        roles.prepare_login(cursor, role, idle_in_transaction_session_timeout=roles.MAY_IDLE)
    roles.prepare_publisher(cursor)
    roles.grant_memberships(cursor)
    roles.limit_connections(cursor)
    # A server of our own: the admin's password is one that was generated here.
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
    """Let the role that owns the schemas of a database make them."""
    cursor.execute(
        sql.SQL("GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {} TO {}").format(
            sql.Identifier(database), sql.Identifier(owner)
        )
    )


def _warehouse(admin: Connection) -> date:
    """What the admin gives the warehouse, then its schema, as publisher, in one transaction.

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
    """What the server has said, all of it: of a list psycopg2 keeps the last fifty, and SQLAlchemy empties it."""

    def __setitem__(self, place: Any, notice: Any) -> None:
        if not isinstance(place, slice):
            super().__setitem__(place, notice)


def _patient(function: Callable[..., T]) -> Callable[..., T]:
    """Do it again from its beginning where Postgres ended it for a deadlock: it is one transaction of its own.

    Beside a running platform that is usual: its sessions read tables in another order than they are changed in here.
    """

    @wraps(function)
    def again(*arguments: Any) -> T:
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(DeadlockDetected),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=5),
            stop=tenacity.stop_after_attempt(DEADLOCKS),
            before_sleep=lambda _state: log.info("the running platform was in the way of the start, which tries again"),
            reraise=True,
        ):
            with attempt:
                return function(*arguments)
        raise AssertionError("tenacity raises what is left")

    return again


@_patient
def _apply(link: Connection) -> date:
    """The warehouse's schema, and what a start says, in one transaction; returns the anchor it was done for."""
    with link, link.cursor() as cursor:
        stored = _stored_anchor(cursor)
    anchor = settings.get().anchor or stored or settings.get().anchor_date()
    with _refusals_of_the_start(settings.get(), stored):
        done = migrations.carry_out(link, lambda cursor: _say_settings(cursor, anchor))
    for line in done.in_words():
        log.info("warehouse: %s", line)
    return anchor


def _take_from_loader(cursor: Cursor) -> None:
    """Drop schema staging where it is the loader's, as it was once: the publisher makes it again.

    Sets that are on their way are lost with it: their windows are extracted again.
    """
    cursor.execute(
        "SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'staging' AND nspowner = 'loader'::pg_catalog.regrole"
    )
    if cursor.fetchone() is not None:
        cursor.execute("GRANT loader TO CURRENT_USER")
        cursor.execute("DROP SCHEMA staging CASCADE")
        cursor.execute("REVOKE loader FROM CURRENT_USER")
        log.info("schema staging belonged to the loader: it is made again")


def _stored_anchor(cursor: Cursor) -> date | None:
    """The day that fixed start dates have counted from so far; None at the first start."""
    cursor.execute("SELECT to_regclass('control.platform') IS NOT NULL")
    if not warehouse.fetch_value(cursor):
        return None
    cursor.execute("SELECT anchor FROM control.platform")
    stored: date = warehouse.fetch_value(cursor)
    return stored


def _say_settings(cursor: Cursor, anchor: date) -> None:
    """What the files of highwater/sql/start/ and sql/datasets/ ask for, until the transaction ends."""
    config = settings.get()
    said = {
        "anchor": anchor.isoformat(),
        # Without it a start is taken for one of older code.
        "schema_version": schema_version.head(),
        "keep_versions_days": config.keep_versions_days,
        # Only a test, or whoever starts the platform, moves its clock.
        "clock_may_be_set": clock.frozen() is not None,
    }
    said |= {name.removeprefix("HIGHWATER_").lower(): value for name, value in project.extension().settings().items()}
    for name, value in said.items():
        cursor.execute("SELECT set_config(%s, %s, true)", (f"highwater.{name}", str(value)))


@contextmanager
def _refusals_of_the_start(config: settings.Settings, stored: date | None) -> Iterator[None]:
    """What the warehouse refuses of a start, as a mistake of configuration: which setting leads there.

    Raises:
        ConfigurationError: a grid would move below landed windows, or a row of control.datasets cannot be.
    """
    try:
        yield
    except psycopg2.Error as error:
        # Its hint is for somebody who wants another grid; this is about a setting that was changed.
        said = error.diag.message_primary
        if error.pgcode == "HW011":
            given = f"HIGHWATER_ANCHOR={config.anchor or stored}" + (f" (it was {stored})" if stored else "")
            causes = [given, *(f"{name}={value}" for name, value in project.extension().settings().items())]
            raise ConfigurationError(
                f"{said}; that follows from {', '.join(causes)}: put back the one that was changed; nothing was changed"
            ) from None
        if isinstance(error, LockNotAvailable):
            raise _held_up(config.warehouse_database) from None
        if error.pgcode == "HW012":
            raise ConfigurationError(f"{said}; nothing was changed") from None
        raise


def _held_up(database: str) -> ConfigurationError:
    """What to say of a start that has waited in vain for a table of the database: who holds which, and the way out."""
    with warehouse.session("postgres", database) as cursor:
        warehouse.run_file(cursor, "setup/holders.sql")
        holders = [
            f"{who.usename} (pid {who.pid}, since {who.since}) holds {who.tables}"
            for who in warehouse.fetch_all(cursor)
        ]
    return ConfigurationError(
        f"the start waits in vain for tables of the database {database}:"
        f" {'; '.join(holders) or 'a transaction that has ended meanwhile held one'};"
        f"{' end it by SELECT pg_terminate_backend(pid), then' if holders else ''} start again; nothing was changed"
    )


@_patient
def _policies(link: Connection) -> None:
    """Which conditions there are; and, at the first start, what config/catchup.yaml wants."""
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


@_patient
def _sources(admin: Connection, added: Extension) -> None:
    """Bring the project's own database to its current state."""
    with admin, admin.cursor() as cursor:
        roles.close_public(cursor)
    try:
        added.prepare(admin)
    except LockNotAvailable:
        raise _held_up(settings.get().sources_database) from None


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Two starts at once take turns, by a row that only the admin may lock: nobody else can hold one up.

    Raises:
        ConfigurationError: another one has been at work for too long.
    """
    with closing(_admin(settings.get().warehouse_database)) as link:
        for is_last in (False, True):
            try:
                with link, link.cursor() as cursor:
                    roles.own_schema(cursor, "setup")
                    warehouse.run_file(cursor, "setup/turn.sql")
                break
            except (UniqueViolation, DuplicateSchema, DuplicateTable):
                # Another first start has made it meanwhile.
                if is_last:
                    raise
        with link, link.cursor() as cursor:
            with _turn_comes(cursor):
                cursor.execute("SELECT FROM setup.turn FOR UPDATE")
            yield


@contextmanager
def _turn_comes(cursor: Cursor) -> Iterator[None]:
    """Wait for another start in the block, within bounds.

    Raises:
        ConfigurationError: it has been at work for too long.
    """
    cursor.execute("SELECT pg_catalog.current_setting('lock_timeout')")
    before = warehouse.fetch_value(cursor)
    cursor.execute("SELECT pg_catalog.set_config('lock_timeout', %s, false)", (TURN_COMES_WITHIN,))
    try:
        yield
        cursor.execute("SELECT pg_catalog.set_config('lock_timeout', %s, false)", (before,))
    except LockNotAvailable:
        raise ConfigurationError(
            f"another start has been at work for {TURN_COMES_WITHIN}: try again when it is done"
        ) from None


TURN_COMES_WITHIN = "5min"
DEADLOCKS = 5
"""So often a start that Postgres ended for a deadlock is tried from its beginning; it has changed nothing."""
