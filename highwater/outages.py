"""Outages of the simulated sources: while one lasts, the source's reader may not log in and its sessions are ended."""

from __future__ import annotations

import logging
from datetime import datetime

from psycopg2.extensions import cursor as Cursor

from highwater import warehouse

log = logging.getLogger(__name__)


def apply(cursor: Cursor, now: datetime) -> list[str]:
    """Lock the readers of the sources that are away at ``now`` out, and let the others in; commits.

    The cursor is the simulator's. A session that was open when its source went away is ended.

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
    # only then can nobody log in between
    cursor.connection.commit()
    for source in away:
        cursor.execute("SELECT gate.end_sessions(%s)", (source,))
    cursor.connection.commit()
    return changed
