"""The sources: connect to one, ask whether a window is complete in it, put its failures into words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import NamedTupleCursor

from highwater import clock, warehouse
from highwater.errors import (
    ConfigurationError,
    HighwaterError,
    NotReady,
    RefusedData,
    SourceAway,
    SourceSlow,
)
from highwater.windows import Window

EXTRAS = ("sslmode", "sslrootcert", "connect_timeout")
"""What the extras of an Airflow connection may set, by libpq's names."""


@dataclass(frozen=True)
class Completeness:
    """What a source says of a window that is complete: how many rows it should hold by its own count, if it counts.

    ``revision`` names what it says of the window now, where it may correct itself later.
    """

    expected_rows: int | None
    revision: str | None = None


@contextmanager
def snapshot(connection_id: str, statement_timeout: timedelta | None = None) -> Iterator[Cursor]:
    """A cursor on the source at one consistent snapshot, read-only, in UTC.

    Raises:
        ConfigurationError: Airflow has no such connection, or a statement does not fit the source.
        SourceAway: the source refuses the login, cannot be reached or breaks off.
        SourceSlow: a statement took longer than ``statement_timeout``, or the login longer than it may; without such a
            limit that counts as away.
        RefusedData: a value in it is not of the type that it is read as.
    """
    with _in_words(connection_id, statement_timeout), closing(_connect(connection_id, statement_timeout)) as link:
        link.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with link, link.cursor() as cursor:
            yield cursor


def why_away(connection_id: str, known: dict[str, Any]) -> str | None:
    """Why the source cannot be asked just now; None when it can. For outside of Airflow: by its connection's file."""
    try:
        with _in_words(connection_id), closing(_link(known, timedelta(seconds=10))) as link, link.cursor() as cursor:
            cursor.execute("SELECT 1")
    except SourceAway as error:
        return str(error)
    return None


def check_complete(cursor: Cursor, folder: str, window: Window, dataset: str) -> Completeness:
    """Ask ``sql/<folder>/availability.sql`` whether the source has closed the window.

    The statement gives one row or none: ``complete`` boolean, ``expected_rows`` bigint or null, ``note`` text, and
    ``revision`` text where the source may correct itself.

    Raises:
        NotReady: it has not; carries the source's note.
    """
    warehouse.run_file(cursor, f"{folder}/availability.sql", bounds(window) | {"now": clock.now()})
    row = warehouse.fetch(cursor)
    if row is None:
        raise NotReady(f"{dataset} {window}: the source knows nothing of this window yet")
    if not row.complete:
        raise NotReady(f"{dataset} {window} is not complete at the source: {row.note}")
    return Completeness(row.expected_rows, getattr(row, "revision", None))


def check_shape(cursor: Cursor, folder: str, window: Window) -> None:
    """Let the source plan ``sql/<folder>/extract.sql``: it refuses one that does not fit, and no row moves."""
    cursor.execute("EXPLAIN " + warehouse.bind(cursor, f"{folder}/extract.sql", bounds(window)))


def bounds(window: Window) -> dict[str, object]:
    """The parameters every statement over a window may use."""
    return {"window_start": window.start, "window_end": window.end}


def _connect(connection_id: str, statement_timeout: timedelta | None) -> Connection:
    """Log in by the Airflow connection of that name."""
    from airflow.sdk import Connection as AirflowConnection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        known = AirflowConnection.get(connection_id)
    except AirflowNotFoundException:
        raise ConfigurationError(
            f"Airflow has no connection {connection_id!r}: add it under Admin → Connections, or as AIRFLOW_CONN_"
            f"{connection_id.upper()}"
        ) from None
    where = {"host": known.host, "port": known.port, "schema": known.schema, "login": known.login}
    return _link(where | {"password": known.password, "extra": known.extra_dejson}, statement_timeout)


def _link(known: Mapping[str, Any], statement_timeout: timedelta | None = None) -> Connection:
    """A link by what an Airflow connection holds; its extras may set what `EXTRAS` names."""
    options = "-c timezone=UTC"
    if statement_timeout is not None:
        options += f" -c statement_timeout={round(statement_timeout.total_seconds() * 1000)}"
    given = known.get("extra") or {}
    link: Connection = psycopg2.connect(
        host=known["host"],
        port=known.get("port") or 5432,
        dbname=known.get("schema"),
        user=known.get("login"),
        password=known.get("password"),
        keepalives_idle=30,
        keepalives_interval=10,
        keepalives_count=3,
        application_name="highwater",
        options=options,
        cursor_factory=NamedTupleCursor,
        **{"connect_timeout": 10, **{name: given[name] for name in EXTRAS if name in given}},
    )
    return link


@contextmanager
def _in_words(connection_id: str, limit: timedelta | None = None) -> Iterator[None]:
    """A driver's error as one of ours, by what should happen next."""
    try:
        yield
    except HighwaterError:
        raise
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        if limit is not None and (isinstance(error, errors.QueryCanceled) or "timeout expired" in str(error)):
            raise SourceSlow(f"source {connection_id!r} is too slow: {_first_line(error)}", connection_id) from error
        raise SourceAway(f"source {connection_id!r} is away: {_first_line(error)}", connection_id) from error
    except psycopg2.ProgrammingError as error:
        raise ConfigurationError(f"a statement does not fit source {connection_id!r}: {_first_line(error)}") from error
    except psycopg2.DataError as error:
        raise RefusedData(f"source {connection_id!r} has a value that does not fit: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
