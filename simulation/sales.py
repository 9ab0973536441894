"""The simulated sources: makes the days that are missing, and knows how many defects lie in them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta

from psycopg2.errors import LockNotAvailable

from highwater.environment import settings
from highwater.model.errors import Busy, ConfigurationError
from highwater.store import warehouse
from simulation import settings as simulation_settings

CYCLE = 3000
SLOTS = {
    "null key": 4,
    "negative quantity": 8,
    "duplicate": 12,
    "conflicting duplicate": 16,
    "unknown currency": 20,
    "sold in the future": 24,
    "sold the day before": 28,
    "discount above amount": 32,
    "untidy store": 36,
    "untidy currency": 40,
    "untidy payment": 44,
}
"""Row k of a day (from 0) has the defect whose slot is k modulo ``CYCLE``: ``legacy.rows_of_day`` says the same."""

REFUSED = {
    "null key": 1,
    "negative quantity": 1,
    "conflicting duplicate": 2,
    "unknown currency": 1,
    "sold in the future": 1,
    "sold the day before": 1,
    "discount above amount": 1,
}
"""Rows that must be quarantined for each defect: of two that claim one key, nobody can tell which is true."""

CLOSES_AT = time(1)
"""When the till system closes a day: this time of the next day, UTC."""

LATE_DAY = 3
"""The place in the history of the day that closes late, counted from 1."""

MAKERS = 2
"""Days made at once: one backend keeps one core busy."""

Progress = Callable[[date, int], None]


def planted(rows_per_day: int) -> dict[str, int]:
    """How many rows with each defect lie in a day of that many rows: arithmetic, no look at the data."""
    return {defect: len(range(slot, rows_per_day, CYCLE)) for defect, slot in SLOTS.items()}


def refused(rows_per_day: int) -> int:
    """How many rows of a day of that many rows must end in quarantine."""
    counts = planted(rows_per_day)
    return sum(counts[defect] * rows for defect, rows in REFUSED.items())


def history(now: datetime) -> list[date]:
    """The days that ``legacy.sales`` should hold at ``now``: from ``history_days`` before the anchor to yesterday, UTC.

    Raises:
        ConfigurationError: ``now`` has no time zone.
    """
    if now.tzinfo is None:
        raise ConfigurationError(f"the simulation needs a moment with a time zone, but got {now!r}")
    first = _first_day()
    return [first + timedelta(days=n) for n in range((now.astimezone(UTC).date() - first).days)]


def late_day() -> date | None:
    """The one day that closes late, the third of the history; None when the history is shorter."""
    late = _first_day() + timedelta(days=LATE_DAY - 1)
    return late if late < settings.get().anchor_date() else None


def closes_at(day: date, now: datetime) -> datetime:
    """When ``day`` is complete if it is made at ``now``: early the next day, the late day some seconds from now."""
    usual = datetime.combine(day + timedelta(days=1), CLOSES_AT, tzinfo=UTC)
    if day != late_day():
        return usual
    return max(usual, now + timedelta(seconds=simulation_settings.get().late_close_seconds))


def advance(now: datetime, progress: Progress | None = None) -> list[date]:
    """Make every day of the history up to ``now`` that is missing; a day that is there is left alone.

    Each day is one transaction, so a crash leaves whole days only, and two callers at once make each day once.
    Days keep the seed and the size they were made with. ``progress`` is told each day made and its rows.

    Returns:
        The days this call made, oldest first; empty when all were there.

    Raises:
        Busy: another caller has been at work on one of the days for too long.
    """
    config = settings.get()
    with warehouse.session("simulator", config.sources_database) as cursor:
        cursor.execute("SELECT business_date FROM legacy.closed_days")
        there = {row[0] for row in cursor.fetchall()}
    missing = [day for day in history(now) if day not in there]
    made = []
    with ThreadPoolExecutor(MAKERS, thread_name_prefix="simulation") as makers:
        for day, rows in zip(missing, makers.map(lambda day: _make(day, now), missing), strict=True):
            if rows is None:
                continue
            made.append(day)
            if progress:
                progress(day, rows)
    return made


def _make(day: date, now: datetime) -> int | None:
    """Make one day; returns its rows, or None when another caller made it first."""
    config, company = settings.get(), simulation_settings.get()
    try:
        with warehouse.session("simulator", config.sources_database) as cursor:
            cursor.execute(
                "SELECT legacy.generate_day(%s, %s, %s, %s)",
                (day, company.rows_per_day, company.seed, closes_at(day, now)),
            )
            row = cursor.fetchone()
    except LockNotAvailable:
        raise Busy(f"another simulation is still making {day} of legacy.sales: try again when it is done") from None
    assert row is not None
    return None if row[0] is None else int(row[0])


def _first_day() -> date:
    return settings.get().anchor_date() - timedelta(days=simulation_settings.get().history_days)
