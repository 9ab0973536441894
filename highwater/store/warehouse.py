"""Connections to the warehouse, running ``.sql`` files, streaming rows between databases."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import psycopg2
from psycopg2 import errors, sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extensions import encodings
from psycopg2.extras import NamedTupleCursor

from highwater.environment import credentials, settings
from highwater.model import clock, sql_text
from highwater.model.errors import ConfigurationError, NoRoom
from highwater.store import driver_errors, schema_version

T = TypeVar("T")

SQL = settings.ROOT / "sql"
"""The project's statements."""
ENGINE_SQL = Path(__file__).resolve().parents[1] / "sql"
"""The engine's statements; they win over the project's of the same name."""

_parked: ContextVar[dict[tuple[object, ...], list[Connection]] | None] = ContextVar("parked connections", default=None)


def connect(role: str, database: str | None = None, *, patience: int | None = None) -> Connection:
    """A new connection to the warehouse server as ``role``, to ``database`` (default: the warehouse).

    The session is in UTC, passes a pinned clock to ``ops.clock()``, and ignores settings of roles, databases and the
    environment. ``patience`` limits in seconds every wait: for the connection, for a statement, and for a server that
    stopped answering.

    Raises:
        psycopg2.OperationalError: the server is unavailable or refuses the login.
        ConfigurationError: the environment would redirect the connection; or the warehouse's schema is of another
            version than this code, except for the admin, who migrates it.
    """
    config = settings.get()
    link = open_session(
        Login(role, config.warehouse_admin if role == "postgres" else role, credentials.password(role)),
        config.warehouse_host,
        config.warehouse_port,
        database or config.warehouse_database,
        patience=patience,
        sslmode=config.warehouse_sslmode,
    )
    if role != "postgres" and database in (None, config.warehouse_database):
        try:
            schema_version.assert_fits(link)
        except BaseException:
            link.close()
            raise
    return link


def connect_metadata(role: str, database: str) -> Connection:
    """A new connection to the server of Airflow's metadata: its own if one is set, else the warehouse's."""
    config = settings.get()
    if config.metadata_host is None:
        return connect(role, database)
    password = credentials.secret("metadata_admin_password" if role == "postgres" else f"{role}_password")
    return open_session(Login(role, role, password), config.metadata_host, config.metadata_port or 5432, database)


@dataclass(frozen=True)
class Login:
    """A login: Highwater's name of the role, the server's name of it, the password."""

    role: str
    user: str
    password: str = field(repr=False)


def open_session(
    login: Login, host: str, port: int, database: str, *, patience: int | None = None, **more: Any
) -> Connection:
    """A new session as `connect` describes it, on any server; ``more`` goes to libpq.

    Raises:
        psycopg2.OperationalError: the server is unavailable or refuses the login.
        ConfigurationError: PGSERVICE is set, whose file may name another server.
    """
    if service := os.environ.get("PGSERVICE"):
        raise ConfigurationError(
            f"PGSERVICE={service!r} is set: its file may redirect connections; unset it, "
            "HIGHWATER_WAREHOUSE_HOST says where the warehouse is"
        )
    # The session of a machine that crashed would keep its locks for the two hours of TCP's default.
    runtime = {"lock_timeout": "10s", "tcp_keepalives_idle": 30, "tcp_keepalives_interval": 10}
    # Settings during login: a missing library, or a timeout of a millisecond, would end the session.
    runtime |= {"tcp_keepalives_count": 3, "search_path": _path(login.role), "local_preload_libraries": ""}
    runtime |= {"timezone": "UTC", "idle_session_timeout": 0, "idle_in_transaction_session_timeout": 0}
    runtime["statement_timeout"] = 0 if patience is None else f"{patience}s"
    if pinned := clock.frozen():
        runtime["highwater.now"] = pinned.isoformat()
    if patience is not None:
        more |= {"keepalives_idle": patience, "keepalives_interval": 1, "keepalives_count": 2}
        more["tcp_user_timeout"] = 1000 * patience

    def attempt() -> Connection:
        link: Connection = psycopg2.connect(
            host=host,
            hostaddr="",
            port=port,
            dbname=database,
            user=login.user,
            password=login.password,
            connect_timeout=patience or 10,
            target_session_attrs="any",
            client_encoding="UTF8",
            application_name=f"highwater {login.role}",
            options=" ".join(f"-c {name}={value}" for name, value in runtime.items()),
            cursor_factory=NamedTupleCursor,
            **more,
        )
        try:
            pin(link)
        except BaseException:
            link.close()
            raise
        return link

    if (host, port) in _know_transaction_timeout:
        runtime["transaction_timeout"] = 0
    try:
        link = attempt()
    except psycopg2.OperationalError as error:
        # A role may have set it to a millisecond. Only Postgres 17 and newer know it, so it is not always sent.
        if "transaction_timeout" in runtime or not _CUT_OFF.search(str(error)):
            raise
        runtime["transaction_timeout"] = 0
        link = attempt()
    if link.server_version >= _FIRST_WITH_TRANSACTION_TIMEOUT:
        _know_transaction_timeout.add((host, port))
    return link


_FIRST_WITH_TRANSACTION_TIMEOUT = 170000
_CUT_OFF = re.compile("transaction timeout|server closed the connection")
_know_transaction_timeout: set[tuple[str, int]] = set()
"""Servers known to be new enough."""


def pin(link: Connection) -> None:
    """Make a session what highwater/sql/session/pin.sql says, outside any transaction; it may have none under way."""
    admin = link.info.parameter_status("is_superuser") == "on"
    more = "SET transaction_timeout = 0;" if link.server_version >= _FIRST_WITH_TRANSACTION_TIMEOUT else ""
    if admin:
        more += "SET session_replication_role = 'origin';"
    link.autocommit = True
    with link.cursor() as cursor:
        cursor.execute(more + _pin())
    link.autocommit = False


@cache
def _pin() -> str:
    return read_sql("session/pin.sql")


def _path(role: str) -> str:
    """The search_path of a session: for the admin only schemas that others cannot write to, for no role its own schema.

    In ``public`` only the admin creates objects.
    """
    return "pg_catalog,pg_temp" if role == "postgres" else "pg_catalog,public,pg_temp"


@contextmanager
def session(role: str, database: str | None = None) -> Iterator[Cursor]:
    """A cursor in one transaction: committed at the end of the block, rolled back if it raises.

    Raises:
        NoRoom: the disk is full. Raised here so that a caller streaming from a source does not blame the source.
    """
    with _link(role, database) as link:
        try:
            with link, link.cursor() as cursor:
                yield cursor
        except errors.DiskFull as error:
            if error.cursor is not None and error.cursor.connection is not link:
                raise
            raise NoRoom(f"the warehouse has no room: {driver_errors.said(error)}") from error


@contextmanager
def autocommitting(role: str) -> Iterator[Cursor]:
    """A cursor in autocommit mode, on one connection for the whole block."""
    with _link(role, None) as link:
        link.autocommit = True
        with link.cursor() as cursor:
            yield cursor


@contextmanager
def keeping_links() -> Iterator[None]:
    """Sessions within the block reuse connections of earlier ones.

    For many short sessions, where logging in costs as much as the query.
    """
    if _parked.get() is not None:
        yield
        return
    parked: dict[tuple[object, ...], list[Connection]] = {}
    before = _parked.set(parked)
    try:
        yield
    finally:
        _parked.reset(before)
        for link in chain.from_iterable(parked.values()):
            link.close()


@contextmanager
def _link(role: str, database: str | None) -> Iterator[Connection]:
    """A connection that is closed at the end of the block, or parked within `keeping_links`."""
    parked = _parked.get()
    # A session keeps the clock with which it was opened.
    idle = [] if parked is None else parked.setdefault((role, database, clock.frozen()), [])
    link = idle.pop() if idle else connect(role, database)
    try:
        yield link
    except BaseException:
        link.close()
        raise
    if parked is not None and _reset(link):
        idle.append(link)
    else:
        link.close()


def _reset(link: Connection) -> bool:
    """Discard what a session left on a connection: settings, locks, temporary views. False if the connection broke."""
    try:
        link.autocommit = True
        with link.cursor() as cursor:
            cursor.execute("DISCARD ALL")
        pin(link)
    except psycopg2.Error:
        # The work of the session is already done.
        return False
    return True


def sql_file(name: str) -> Path:
    """The file called ``name``, the engine's if it exists, else the project's, which may not exist."""
    own = ENGINE_SQL / name
    return own if own.is_file() else SQL / name


def sql_files(folder: str) -> list[Path]:
    """The files of a folder of statements, the engine's or the project's, in the order in which they run."""
    own = ENGINE_SQL / folder
    return sorted((own if own.is_dir() else SQL / folder).glob("*.sql"))


def shown(name: str) -> str:
    """The name of the file in messages."""
    return f"highwater/sql/{name}" if sql_file(name).is_relative_to(ENGINE_SQL) else f"sql/{name}"


def read_sql(name: str) -> str:
    """The text of the file ``name``, e.g. ``daily_sales/clean.sql``.

    Raises:
        ConfigurationError: there is no such file; lists those beside it.
    """
    path = sql_file(name)
    try:
        return path.read_text()
    except FileNotFoundError:
        beside = sorted(p.name for p in path.parent.glob("*.sql")) if path.parent.is_dir() else []
        there = ", ".join(beside) or "no files"
        raise ConfigurationError(f"SQL file sql/{name} is missing: sql/{Path(name).parent} has {there}") from None


def has_sql(name: str) -> bool:
    """Whether there is a file ``name``, for optional statements."""
    return sql_file(name).is_file()


def run_file(cursor: Cursor, name: str, parameters: Mapping[str, Any] | None = None) -> None:
    """Run ``sql/<name>`` on the cursor with bound parameters: ``%(name)s`` in the file, any other ``%`` is a ``%``.

    Without parameters the text runs unchanged.

    Raises:
        ConfigurationError: there is no such file, or it names an unknown parameter.
    """
    text = read_sql(name)
    if parameters is None:
        sql_text.with_parameters(text, (), shown(name))
        cursor.execute(text)
    else:
        cursor.execute(sql_text.with_parameters(text, parameters, shown(name)), parameters)


def bind(cursor: Cursor, name: str, parameters: Mapping[str, Any]) -> str:
    """The one statement of ``sql/<name>`` with its parameters bound, to embed in another: ``(…) AS rows``.

    Embedded in the first line, it keeps the line numbers of the file.

    Raises:
        ConfigurationError: there is no such file, it has not exactly one statement, or names an unknown parameter.
    """
    file = shown(name)
    text = sql_text.with_parameters(sql_text.one_statement(read_sql(name), file), parameters, file)
    return cursor.mogrify(text, parameters).decode(encodings[cursor.connection.encoding]) + "\n"


def fetch(cursor: Cursor) -> Any:
    """The next row with its columns as attributes, or None."""
    return cursor.fetchone()


def fetch_all(cursor: Cursor) -> list[Any]:
    """The remaining rows, each with its columns as attributes."""
    return cursor.fetchall()


def as_dataclass(kind: type[T], row: Any) -> T:
    """A row as a dataclass, by the names of its columns, which must be those of its fields."""
    return kind(**row._asdict())


def fetch_value(cursor: Cursor) -> Any:
    """The first column of the next row.

    Raises:
        LookupError: there is no row.
    """
    row = cursor.fetchone()
    if row is None:
        raise LookupError(f"no row came back from: {cursor.query!r}")
    return row[0]


def copy_stream(source: Cursor, query: str, target: Cursor, table: sql.Composable) -> int:
    """Stream the rows of ``query`` on one database into ``table`` on another by binary COPY; returns the rows.

    Memory stays flat: a pipe connects a reading thread to this one. The caller commits the target's transaction. An
    error of the reader is raised first: a cut connection must not become a truncated day. Text arrives in the encoding
    of the source's link, which is announced to the target.
    """
    read_end, write_end = os.pipe()
    failure: list[BaseException] = []

    def read() -> None:
        try:
            with os.fdopen(write_end, "wb") as sink:
                source.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT binary)", sink, size=1 << 16)
        except BaseException as error:
            failure.append(error)

    reader = threading.Thread(target=read, name="copy-reader", daemon=True)
    reader.start()
    try:
        with os.fdopen(read_end, "rb") as pipe:
            _set_encoding(target, source.connection.encoding)
            target.copy_expert(sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(table), pipe, size=1 << 16)
            _set_encoding(target, target.connection.encoding)
    except psycopg2.Error:
        reader.join()
        if failure and not isinstance(failure[0], BrokenPipeError):
            raise failure[0] from None
        raise
    reader.join()
    if failure:
        raise failure[0]
    return int(target.rowcount)


def _set_encoding(target: Cursor, encoding: str) -> None:
    """Let the session read text in that encoding; no statement if it is the link's own."""
    if encoding != target.connection.encoding or target.connection.info.parameter_status("client_encoding") != encoding:
        target.execute("SET LOCAL client_encoding TO %s", (encoding,))


def columns_of(cursor: Cursor, table: str, schema: str) -> Sequence[str]:
    """The column names of a table in order; empty if there is no such table."""
    cursor.execute(
        "SELECT column_name::text FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
        (schema, table),
    )
    return [row[0] for row in cursor.fetchall()]
