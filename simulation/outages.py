"""Outages of the simulated sources: while one lasts, the source's reader may not log in and its sessions are ended."""

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
    """A cursor of the simulator, that has the turn to change the channels and to lock readers out until the block ends.

    A transaction of another connection holds the turn, by a lock that only the owner of the table can take.

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
            raise Busy("another simulation is still at work on the channels: try again when it is done") from None
        yield cursor


def apply(cursor: Cursor, now: datetime) -> list[str]:
    """Lock the readers of the sources that are away at ``now`` out, and let the others in; commits.

    The cursor has the turn. A session that was open when its source went away is ended.

    Returns:
        The sources for which that changed something.
    """
    cursor.execute(
        "SELECT r.source, EXISTS (SELECT FROM simulation.all_outages AS o WHERE o.source = r.source"
        " AND o.started_at <= %(now)s AND %(now)s < o.ended_at) AS is_away FROM gate.readers AS r ORDER BY r.source",
        {"now": now},
    )
    changed, away = [], []
    for source, is_away in cursor.fetchall():
        cursor.execute("SELECT gate.set_open(%s, %s)", (source, not is_away))
        if warehouse.fetch_value(cursor):
            changed.append(source)
            log.info("source %s is %s", source, "away" if is_away else "back")
        if is_away:
            away.append(source)
    # only once that holds for everybody can nobody log in after the sessions are ended
    cursor.connection.commit()
    for source in away:
        cursor.execute("SELECT gate.end_sessions(%s)", (source,))
    cursor.connection.commit()
    return changed


def start(source: str, now: datetime, hours: float | None, reason: str, by: str) -> datetime | None:
    """Begin an outage at once; without ``hours`` it lasts until somebody stops it. Returns when it ends by itself.

    Raises:
        ConfigurationError: no such source, it has such an outage already, or the hours are out of bounds.
        Busy: the simulation has been at work for too long.
    """
    if hours is not None and not 0 < hours <= MOST_HOURS:
        raise ConfigurationError(f"an outage lasts more than 0 and at most {MOST_HOURS} hours, not {hours}")
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
                f"source {source!r} has an outage since {running.started_at:%Y-%m-%d %H:%M} UTC, begun by"
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
    """End every outage the source has at ``now``, a scheduled one too; returns how many.

    Raises:
        ConfigurationError: no such source, or it has no outage.
        Busy: the simulation has been at work for too long.
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
            raise ConfigurationError(f"source {source!r} has no outage that could be ended")
        apply(cursor, now)
    return ended


def doors(now: datetime) -> list[dict[str, Any]]:
    """For each source whether it should be away at ``now``, and whether its reader may log in at this moment."""
    return _rows(
        "SELECT r.source, l.rolcanlogin AS may_log_in, EXISTS ("
        "SELECT FROM simulation.all_outages AS o WHERE o.source = r.source AND o.started_at <= %(now)s"
        " AND %(now)s < o.ended_at) AS is_away"
        " FROM gate.readers AS r INNER JOIN pg_catalog.pg_roles AS l ON r.role = l.rolname ORDER BY r.source",
        {"now": now},
    )


def latest(number: int) -> list[dict[str, Any]]:
    """The outages that began last, the newest first, whoever brought them about; ``ended_at`` is None if open."""
    return _rows(
        "SELECT source, started_at, nullif(ended_at, 'infinity') AS ended_at, reason, started_by, stopped_by"
        " FROM simulation.all_outages ORDER BY started_at DESC, source LIMIT %(number)s",
        {"number": number},
    )


def _rows(query: str, parameters: dict[str, object]) -> list[dict[str, Any]]:
    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        cursor.execute(query, parameters)
        return [row._asdict() for row in cursor.fetchall()]  # type: ignore[attr-defined]


def _require(cursor: Cursor, source: str) -> None:
    cursor.execute("SELECT array_agg(source ORDER BY source) FROM gate.readers")
    known = warehouse.fetch_value(cursor)
    if source not in known:
        raise ConfigurationError(f"source {source!r} cannot have an outage; these can: {', '.join(known)}")
