"""The sources: a session at one, and is a window complete in it; its failures in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from highwater.model import clock
from highwater.model.errors import (
    ConfigurationError,
    DataRejected,
    HighwaterError,
    SourceBusy,
    SourceIncomplete,
    SourceSlow,
    SourceUnavailable,
)
from highwater.model.windows import Window
from highwater.sources import types
from highwater.store import driver_errors, links, statements, warehouse
from highwater.store.driver_errors import Kind
from highwater.store.links import Known

UNKNOWN_ENCODING = "SQL_ASCII"
"""The encoding of a database that does not know which one its text is in."""


@dataclass(frozen=True)
class Completeness:
    """What a source says of a window that is complete: how many rows it should hold by its own count, if it counts.

    ``revision`` names what it says of the window now, where it may correct itself later.
    """

    expected_rows: int | None
    revision: str | None = None


@contextmanager
def snapshot(connection_id: str, statement_timeout: timedelta | None = None) -> Iterator[Cursor]:
    """A cursor on the source at one consistent snapshot, read-only, in UTC, with text in UTF-8.

    All settings are made within the transaction and looked at: a pooler may drop what is said at the login.

    Raises:
        ConfigurationError: Airflow has no such connection, one of its extras is wrong, a setting does not hold at the
            source, or a statement does not fit it.
        SourceUnavailable: the source refuses the login, cannot be reached or breaks off.
        SourceSlow: a statement took longer than ``statement_timeout``, or the login longer than it may; without such a
            limit that counts as away.
        SourceBusy: somebody holds what is asked for.
        DataRejected: a value in it is not of the type that it is read as.
    """
    try:
        with _snapshot(links.of_airflow(connection_id), statement_timeout) as cursor:
            yield cursor
    except ConfigurationError as problem:
        problem.source = problem.source or connection_id
        raise


def why_away(connection_id: str, known: Mapping[str, Any]) -> str | None:
    """Why the source cannot be asked just now; None when it can. For outside of Airflow: by its connection's file."""
    try:
        with _snapshot(links.of_fields(connection_id, known), timedelta(seconds=10)):
            return None
    except HighwaterError as error:
        return str(error)


def check_complete(cursor: Cursor, folder: str, window: Window, dataset: str) -> Completeness:
    """Ask ``sql/<folder>/availability.sql`` whether the source has closed the window.

    Raises:
        SourceIncomplete: it has not; carries the source's note.
        ConfigurationError: the answer is not what `statements.AVAILABILITY` says.
    """
    row = statements.ask_one(cursor, f"{folder}/availability.sql", bounds(window) | {"now": clock.now()})
    if row is None:
        raise SourceIncomplete(f"{dataset} {window}: the source knows nothing of this window yet")
    if not row.complete:
        raise SourceIncomplete(f"{dataset} {window} is not complete at the source: {row.note}")
    return Completeness(row.expected_rows, getattr(row, "revision", None))


def check_shape(cursor: Cursor, folder: str, window: Window) -> Sequence[tuple[str, str]]:
    """Let the source plan the folder's statements, and look at the columns that they give; no row moves.

    Returns:
        Name and type of each column that ``extract.sql`` gives.

    Raises:
        ConfigurationError: one does not fit; names file, line and what is wrong.
    """
    with warehouse.session("loader") as target:
        described = types.describe(cursor, target, f"{folder}/extract.sql", bounds(window))
    moment = {"now": clock.now()}
    statements.check(cursor, f"{folder}/availability.sql", bounds(window) | moment)
    if warehouse.has_sql(f"{folder}/revisions.sql"):
        statements.check(cursor, f"{folder}/revisions.sql", moment)
    return described.columns


def bounds(window: Window) -> dict[str, object]:
    """The parameters every statement over a window may use."""
    return {"window_start": window.start, "window_end": window.end}


@contextmanager
def _snapshot(known: Known, limit: timedelta | None) -> Iterator[Cursor]:
    with _in_words(known.connection_id, limit):
        link = known.open()
    with closing(link), _in_words(known.connection_id, limit, link):
        link.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with link.cursor() as cursor:
            _begin(cursor, known, limit)
            yield cursor
        # A pooler keeps a connection that was left clean.
        link.rollback()


def _begin(cursor: Cursor, known: Known, limit: timedelta | None) -> None:
    """Set the session for this transaction, and see that it holds.

    Raises:
        ConfigurationError: it does not, or the source does not know the encoding of its text; names what.
    """
    encoding = known.encoding or "UTF8"
    try:
        warehouse.run_file(cursor, "source_session/begin.sql", {"encoding": encoding})
    except psycopg2.OperationalError as error:
        if not cursor.connection.closed or error.pgcode is not None:
            raise
        raise SourceUnavailable(
            f"source {known.connection_id!r} is away: {driver_errors.said(error)} as a transaction began; a"
            " pooler between must pool by transaction or by session, not by statement",
            known.connection_id,
        ) from error
    wanted = {
        "timezone": "UTC",
        "client_encoding": encoding,
        "datestyle": "ISO",
        "intervalstyle": "postgres",
        "extra_float_digits": "3",
        "standard_conforming_strings": "on",
        "transaction_isolation": "repeatable read",
        "transaction_read_only": "on",
    }
    for name, value in known.settings.items():
        if name in wanted:
            raise ConfigurationError(
                f"connection {known.connection_id!r} is refused: its options set {name} to {value!r}, but a session"
                f" at a source always has {wanted[name]!r}: leave it out"
            )
        cursor.execute("SELECT set_config(%s, %s, true)", (name, value))
    if limit is not None:
        wanted["statement_timeout"] = str(round(limit.total_seconds() * 1000))
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", (wanted["statement_timeout"],))
    warehouse.run_file(cursor, "source_session/settings.sql")
    held = warehouse.fetch(cursor)
    for name, value in wanted.items():
        if _plain(getattr(held, name)) != _plain(value):
            raise ConfigurationError(
                f"source {known.connection_id!r} has {name} {getattr(held, name)!r} in the session, expected {value!r}:"
                f" set it for the login at the source, or let nothing between override it"
            )
    if held.server_encoding == UNKNOWN_ENCODING and known.encoding is None:
        raise ConfigurationError(
            f"source {known.connection_id!r} has server_encoding SQL_ASCII, so it does not know what its text is in:"
            ' say it in the extra of the connection, e.g. {"client_encoding": "LATIN1"}'
        )
    if held.server_encoding != UNKNOWN_ENCODING and known.encoding is not None:
        raise ConfigurationError(
            f"connection {known.connection_id!r} is refused: extra 'client_encoding' is {known.encoding!r}, but the"
            f" source keeps its text in {held.server_encoding} and converts it itself: leave it out"
        )


def _plain(setting: str) -> str:
    """As Postgres compares names of encodings and the like: letters and digits alone."""
    return "".join(filter(str.isalnum, setting)).lower()


@contextmanager
def _in_words(connection_id: str, limit: timedelta | None = None, link: Connection | None = None) -> Iterator[None]:
    """A driver's error as one of ours, by what should happen next; one that is not of the link is the warehouse's."""
    try:
        yield
    except psycopg2.Error as error:
        if _is_the_sources(error, link):
            # What the driver says may repeat a password, and a log shows the cause beside it.
            cause = error if driver_errors.showable(str(error)) == str(error) else None
            raise _of_the_source(error, connection_id, limit, at_login=link is None) from cause
        if (ours := driver_errors.of_warehouse(error, f"the warehouse, fed by source {connection_id!r},")) is not None:
            raise ours from error
        raise


def _is_the_sources(error: psycopg2.Error, link: Connection | None) -> bool:
    if link is None:
        return True
    if error.cursor is not None:
        return error.cursor.connection is link
    # Of a cursor that is gone, or of a login: the source's, unless its link stands.
    return bool(link.closed)


def _of_the_source(error: psycopg2.Error, source: str, limit: timedelta | None, *, at_login: bool) -> HighwaterError:
    kind, said = driver_errors.kind_of(error), driver_errors.said(error)
    if limit is not None and driver_errors.was_cut_off(error):
        return SourceSlow(f"source {source!r} is too slow: {said}", source)
    if kind is Kind.CONFIGURATION and at_login:
        return ConfigurationError(f"connection {source!r} is refused: {said}")
    if kind is Kind.CONFIGURATION:
        return ConfigurationError(f"a statement does not fit source {source!r}: {said}")
    if kind is Kind.DATA:
        return DataRejected(f"source {source!r} has a value that does not fit: {said}")
    if kind is Kind.BUSY:
        return SourceBusy(f"source {source!r} is busy: {said}", source)
    return SourceUnavailable(f"source {source!r} is away: {said}", source)
