"""Outages of the simulated sources: during one, the source's reader cannot log in and its sessions are ended."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from typing import Any

from psycopg2.errors import LockNotAvailable
from psycopg2.extensions import cursor as Cursor

from highwater.environment import commands, settings
from highwater.model.errors import Busy, ConfigurationError
from highwater.store import warehouse

log = logging.getLogger(__name__)

MOST_HOURS = 8760


@contextmanager
def turn() -> Iterator[Cursor]:
    """A cursor of the simulator with the exclusive right to change the channels and their readers in the block.

    A second connection holds a lock that only the owner of the table can take.

    Raises:
        Busy: another caller has held it for too long.
    """
    with (
        closing(warehouse.connect("simulator", settings.get().sources_database)) as holder,
        closing(warehouse.connect("simulator", settings.get().sources_database)) as link,
        holder.cursor() as lock,
        link.cursor() as cursor,
    ):
        try:
            lock.execute("LOCK TABLE simulation.outages IN SHARE UPDATE EXCLUSIVE MODE")
        except LockNotAvailable:
            raise Busy("another simulation is still changing the channels: try again when it has finished") from None
        yield cursor


def apply(cursor: Cursor, now: datetime) -> list[str]:
    """Disable the logins of the sources that have an outage at ``now``, and enable the others; commits.

    The cursor comes from `turn`. Open sessions of a source with an outage are ended.

    Returns:
        The sources whose login changed.
    """
    cursor.execute(
        "SELECT r.source, EXISTS (SELECT FROM simulation.all_outages AS o WHERE o.source = r.source"
        " AND o.started_at <= %(now)s AND %(now)s < o.ended_at) AS is_away FROM gate.readers AS r ORDER BY r.source",
        {"now": now},
    )
    changed, closed = [], []
    for row in warehouse.fetch_all(cursor):
        cursor.execute("SELECT gate.set_open(%s, %s)", (row.source, not row.is_away))
        if warehouse.fetch_value(cursor):
            changed.append(row.source)
            log.info("source %s is %s", row.source, "unavailable" if row.is_away else "available again")
        if row.is_away:
            closed.append(row.source)
    # Commit first: once the logins are disabled for every session, no new session can follow the ended ones.
    cursor.connection.commit()
    for source in closed:
        cursor.execute("SELECT gate.end_sessions(%s)", (source,))
    cursor.connection.commit()
    return changed


def start(source: str, now: datetime, hours: float | None, reason: str, by: str) -> datetime | None:
    """Start an outage now; returns when it ends automatically, or None if it lasts until it is stopped.

    Raises:
        ConfigurationError: unknown source, it already has an outage, or the hours are out of bounds.
        Busy: the simulation has been running for too long.
    """
    if hours is not None and not 0 < hours <= MOST_HOURS:
        raise ConfigurationError(f"invalid hours {hours}: expected more than 0 and at most {MOST_HOURS}")
    until = None if hours is None else now + timedelta(hours=hours)
    with turn() as cursor:
        _require(cursor, source)
        cursor.execute(
            "SELECT started_at, started_by FROM simulation.outages"
            " WHERE source = %(source)s AND started_at <= %(now)s AND %(now)s < ended_at",
            {"source": source, "now": now},
        )
        if running := warehouse.fetch(cursor):
            raise ConfigurationError(
                f"source {source!r} already has an outage, started at {running.started_at:%Y-%m-%d %H:%M} UTC by"
                f" {running.started_by}: end it first: {commands.typed(f'outage stop {source}')}"
            )
        cursor.execute(
            "INSERT INTO simulation.outages (source, started_at, ended_at, reason, started_by)"
            " VALUES (%s, %s, coalesce(%s, 'infinity'::timestamptz), %s, %s)",
            (source, now, until, reason, by),
        )
        apply(cursor, now)
    return until


def stop(source: str, now: datetime, by: str) -> int:
    """End every outage of the source at ``now``, including a scheduled one; returns their number.

    Raises:
        ConfigurationError: unknown source, or it has no outage.
        Busy: the simulation has been running for too long.
    """
    with turn() as cursor:
        _require(cursor, source)
        asked = {"source": source, "now": now, "by": by}
        cursor.execute(
            "UPDATE simulation.outages SET ended_at = %(now)s, stopped_by = %(by)s"
            " WHERE source = %(source)s AND started_at <= %(now)s AND %(now)s < ended_at",
            asked,
        )
        ended = cursor.rowcount
        cursor.execute(
            "UPDATE partner.outages SET ended_at = %(now)s, stopped_by = %(by)s"
            " WHERE %(source)s = 'partner' AND started_at <= %(now)s AND %(now)s < ended_at",
            asked,
        )
        ended += cursor.rowcount
        if not ended:
            raise ConfigurationError(f"source {source!r} has no outage to end")
        apply(cursor, now)
    return ended


def doors(now: datetime) -> list[dict[str, Any]]:
    """For each source, whether it has an outage at ``now``, and whether its reader can actually log in."""
    return _rows(
        "SELECT r.source, l.rolcanlogin AS may_log_in, EXISTS ("
        "SELECT FROM simulation.all_outages AS o WHERE o.source = r.source AND o.started_at <= %(now)s"
        " AND %(now)s < o.ended_at) AS is_away"
        " FROM gate.readers AS r INNER JOIN pg_catalog.pg_roles AS l ON r.role = l.rolname ORDER BY r.source",
        {"now": now},
    )


def latest(number: int) -> list[dict[str, Any]]:
    """The latest outages, scheduled or started by hand, newest first; ``ended_at`` is None while one is open."""
    return _rows(
        "SELECT source, started_at, nullif(ended_at, 'infinity') AS ended_at, reason, started_by, stopped_by"
        " FROM simulation.all_outages ORDER BY started_at DESC, source LIMIT %(number)s",
        {"number": number},
    )


def _rows(query: str, parameters: dict[str, object]) -> list[dict[str, Any]]:
    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        cursor.execute(query, parameters)
        return [row._asdict() for row in warehouse.fetch_all(cursor)]


def _require(cursor: Cursor, source: str) -> None:
    cursor.execute("SELECT array_agg(source ORDER BY source) FROM gate.readers")
    known = warehouse.fetch_value(cursor)
    if source not in known:
        raise ConfigurationError(f"invalid source {source!r}: expected one of {', '.join(known)}")
