"""Sessions at a source, whether a window is complete in it, and its errors as ours."""

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
"""The encoding of a database that does not know the encoding of its text."""


@dataclass(frozen=True)
class Completeness:
    """A complete window at a source: the number of rows by the source's own count, if it counts.

    ``revision`` names the current content of the window at a source that may correct it later.
    """

    expected_rows: int | None
    revision: str | None = None


@contextmanager
def snapshot(connection_id: str, statement_timeout: timedelta | None = None) -> Iterator[Cursor]:
    """A cursor on the source at one consistent snapshot, read-only, in UTC, with text in UTF-8.

    All settings are made and checked within the transaction: a pooler may drop those of the login.

    Raises:
        ConfigurationError: Airflow has no such connection, one of its extras is wrong, a setting does not hold at the
            source, or a statement does not fit it.
        SourceUnavailable: the source refuses the login, cannot be reached or breaks off.
        SourceSlow: a statement took longer than ``statement_timeout``, or the login longer than its limit; without
            ``statement_timeout`` that is SourceUnavailable.
        SourceBusy: another session at the source holds a lock that is needed.
        DataRejected: a value does not fit the type it is read as.
    """
    try:
        with _snapshot(links.of_airflow(connection_id), statement_timeout) as cursor:
            yield cursor
    except ConfigurationError as problem:
        problem.source = problem.source or connection_id
        raise


def why_unavailable(connection_id: str, known: Mapping[str, Any]) -> str | None:
    """Why the source is unavailable now; None if it is available. Outside of Airflow: takes the connection's fields."""
    try:
        with _snapshot(links.of_fields(connection_id, known), timedelta(seconds=10)):
            return None
    except HighwaterError as error:
        return str(error)


def check_complete(cursor: Cursor, folder: str, window: Window, dataset: str) -> Completeness:
    """Check by ``sql/<folder>/availability.sql`` that the source has closed the window.

    Raises:
        SourceIncomplete: it has not; carries the source's note.
        ConfigurationError: the result breaks the contract `statements.AVAILABILITY`.
    """
    row = statements.ask_one(cursor, f"{folder}/availability.sql", bounds(window) | {"now": clock.now()})
    if row is None:
        raise SourceIncomplete(f"{dataset} {window}: the source does not list this window yet")
    if not row.complete:
        raise SourceIncomplete(f"{dataset} {window} is not complete at the source: {row.note}")
    return Completeness(row.expected_rows, getattr(row, "revision", None))


def check_shape(cursor: Cursor, folder: str, window: Window) -> Sequence[tuple[str, str]]:
    """Let the source plan the folder's statements, and check the columns that they give; no row moves.

    Returns:
        Name and type of each column that ``extract.sql`` gives.

    Raises:
        ConfigurationError: a statement does not fit; names file, line and what is wrong.
    """
    with warehouse.session("loader") as target:
        described = types.describe(cursor, target, f"{folder}/extract.sql", bounds(window))
    moment = {"now": clock.now()}
    statements.check(cursor, f"{folder}/availability.sql", bounds(window) | moment)
    if warehouse.has_sql(f"{folder}/revisions.sql"):
        statements.check(cursor, f"{folder}/revisions.sql", moment)
    return described.columns


def bounds(window: Window) -> dict[str, object]:
    """The parameters that every statement over a window may use."""
    return {"window_start": window.start, "window_end": window.end}


@contextmanager
def _snapshot(known: Known, limit: timedelta | None) -> Iterator[Cursor]:
    with _translated_errors(known.connection_id, limit):
        link = known.open()
    with closing(link), _translated_errors(known.connection_id, limit, link):
        link.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with link.cursor() as cursor:
            _begin(cursor, known, limit)
            yield cursor
        # A pooler reuses a connection that was left clean.
        link.rollback()


def _begin(cursor: Cursor, known: Known, limit: timedelta | None) -> None:
    """Make the settings of the session for this transaction, and check that they hold.

    Raises:
        ConfigurationError: a setting does not hold, or the source does not know the encoding of its text; names it.
    """
    encoding = known.encoding or "UTF8"
    try:
        warehouse.run_file(cursor, "source_session/begin.sql", {"encoding": encoding})
    except psycopg2.OperationalError as error:
        if not cursor.connection.closed or error.pgcode is not None:
            raise
        raise SourceUnavailable(
            f"source {known.connection_id!r} is unavailable: {driver_errors.said(error)} as a transaction began; a"
            " pooler in front of it must pool by transaction or by session, not by statement",
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
                f" at a source always has {wanted[name]!r}; leave it out"
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
                f" set it for the login at the source, and see that no pooler overrides it"
            )
    if held.server_encoding == UNKNOWN_ENCODING and known.encoding is None:
        raise ConfigurationError(
            f"source {known.connection_id!r} has server_encoding SQL_ASCII, so the encoding of its text is unknown:"
            ' set it in the extra of the connection, e.g. {"client_encoding": "LATIN1"}'
        )
    if held.server_encoding != UNKNOWN_ENCODING and known.encoding is not None:
        raise ConfigurationError(
            f"connection {known.connection_id!r} is refused: extra 'client_encoding' is {known.encoding!r}, but the"
            f" source stores its text in {held.server_encoding} and converts it itself; leave it out"
        )


def _plain(setting: str) -> str:
    """A setting as Postgres compares names of encodings: letters and digits alone, in lower case."""
    return "".join(filter(str.isalnum, setting)).lower()


@contextmanager
def _translated_errors(
    connection_id: str, limit: timedelta | None = None, link: Connection | None = None
) -> Iterator[None]:
    """Raise a driver's error as one of ours; an error that is not from ``link`` is treated as the warehouse's."""
    try:
        yield
    except psycopg2.Error as error:
        if _is_from_source(error, link):
            # The driver's text may contain a password, and a log shows the cause of an error.
            cause = error if driver_errors.showable(str(error)) == str(error) else None
            raise _source_error(error, connection_id, limit, at_login=link is None) from cause
        if (ours := driver_errors.of_warehouse(error, f"the warehouse, fed by source {connection_id!r},")) is not None:
            raise ours from error
        raise


def _is_from_source(error: psycopg2.Error, link: Connection | None) -> bool:
    if link is None:
        return True
    if error.cursor is not None:
        return error.cursor.connection is link
    # Without a cursor the error is the source's only if its link is broken.
    return bool(link.closed)


def _source_error(error: psycopg2.Error, source: str, limit: timedelta | None, *, at_login: bool) -> HighwaterError:
    kind, reason = driver_errors.kind_of(error), driver_errors.said(error)
    if limit is not None and driver_errors.was_cut_off(error):
        return SourceSlow(f"source {source!r} is too slow: {reason}", source)
    if kind is Kind.CONFIGURATION and at_login:
        return ConfigurationError(f"connection {source!r} is refused: {reason}")
    if kind is Kind.CONFIGURATION:
        return ConfigurationError(f"a statement does not fit source {source!r}: {reason}")
    if kind is Kind.DATA:
        return DataRejected(f"source {source!r} has a value that does not fit: {reason}")
    if kind is Kind.BUSY:
        return SourceBusy(f"source {source!r} is busy: {reason}", source)
    return SourceUnavailable(f"source {source!r} is unavailable: {reason}", source)
