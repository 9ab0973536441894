"""The sources: connect to one, ask whether a window is complete in it, put its failures into words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import NamedTupleCursor

from highwater import clock, warehouse
from highwater.errors import ConfigurationError, HighwaterError, NotReady, SourceAway
from highwater.windows import Window


@dataclass(frozen=True)
class Completeness:
    """What a source says of a window that is complete: how many rows it should hold by its own count, if it counts."""

    expected_rows: int | None


@contextmanager
def snapshot(connection_id: str) -> Iterator[Cursor]:
    """A cursor on the source at one consistent snapshot, read-only, in UTC.

    Raises:
        ConfigurationError: Airflow has no such connection, or a statement does not fit the source.
        SourceAway: the source refuses the login, cannot be reached or breaks off.
    """
    with _in_words(connection_id), closing(_connect(connection_id)) as link:
        link.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with link, link.cursor() as cursor:
            yield cursor


def check_complete(cursor: Cursor, folder: str, window: Window, dataset: str) -> Completeness:
    """Ask ``sql/<folder>/availability.sql`` whether the source has closed the window.

    The statement gives one row or none: ``complete`` boolean, ``expected_rows`` bigint or null, ``note`` text.

    Raises:
        NotReady: it has not; carries the source's note.
    """
    warehouse.run_file(cursor, f"{folder}/availability.sql", bounds(window) | {"now": clock.now()})
    row = warehouse.fetch(cursor)
    if row is None:
        raise NotReady(f"{dataset} {window}: the source knows nothing of this window yet")
    if not row.complete:
        raise NotReady(f"{dataset} {window} is not complete at the source: {row.note}")
    return Completeness(row.expected_rows)


def bounds(window: Window) -> dict[str, object]:
    """The parameters every statement over a window may use."""
    return {"window_start": window.start, "window_end": window.end}


def _connect(connection_id: str) -> Connection:
    from airflow.sdk import Connection as AirflowConnection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        known = AirflowConnection.get(connection_id)
    except AirflowNotFoundException:
        raise ConfigurationError(
            f"Airflow has no connection {connection_id!r}: add it under Admin → Connections, or as AIRFLOW_CONN_"
            f"{connection_id.upper()}"
        ) from None
    link: Connection = psycopg2.connect(
        host=known.host,
        port=known.port or 5432,
        dbname=known.schema,
        user=known.login,
        password=known.password,
        connect_timeout=10,
        keepalives_idle=30,
        keepalives_interval=10,
        keepalives_count=3,
        application_name="highwater",
        options="-c timezone=UTC",
        cursor_factory=NamedTupleCursor,
    )
    return link


@contextmanager
def _in_words(connection_id: str) -> Iterator[None]:
    """A driver's error as one of ours, by what should happen next."""
    try:
        yield
    except HighwaterError:
        raise
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        raise SourceAway(f"source {connection_id!r} is away: {_first_line(error)}", connection_id) from error
    except psycopg2.ProgrammingError as error:
        raise ConfigurationError(f"a statement does not fit source {connection_id!r}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
