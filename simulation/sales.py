"""The simulated till system, legacy.sales: generates missing days, and knows their defects."""

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
"""Row k of a day (from 0) has the defect whose slot is k modulo ``CYCLE``, as in ``legacy.rows_of_day``."""

REFUSED = {
    "null key": 1,
    "negative quantity": 1,
    "conflicting duplicate": 2,
    "unknown currency": 1,
    "sold in the future": 1,
    "sold the day before": 1,
    "discount above amount": 1,
}
"""Number of rows that must be quarantined for each defect; of conflicting duplicates, both."""

CLOSES_AT = time(1)
"""Time of the next day, UTC, at which the till system closes a day."""

LATE_DAY = 3
"""The number, from 1, of the day in the history that closes late."""

MAKERS = 2
"""Number of days generated at once: one backend keeps one core busy."""

Progress = Callable[[date, int], None]


def planted(rows_per_day: int) -> dict[str, int]:
    """The number of rows with each defect in a day of ``rows_per_day`` rows, computed without reading the data."""
    return {defect: len(range(slot, rows_per_day, CYCLE)) for defect, slot in SLOTS.items()}


def refused(rows_per_day: int) -> int:
    """The number of rows that must be quarantined in a day of ``rows_per_day`` rows."""
    counts = planted(rows_per_day)
    return sum(counts[defect] * rows for defect, rows in REFUSED.items())


def history(now: datetime) -> list[date]:
    """The days that ``legacy.sales`` should have at ``now``: from ``history_days`` before the anchor to yesterday, UTC.

    Raises:
        ConfigurationError: ``now`` has no time zone.
    """
    if now.tzinfo is None:
        raise ConfigurationError(f"the simulation needs a moment with a time zone, but got {now!r}")
    first = _first_day()
    return [first + timedelta(days=n) for n in range((now.astimezone(UTC).date() - first).days)]


def late_day() -> date | None:
    """The day that closes late, the third of the history; None if the history is shorter."""
    late = _first_day() + timedelta(days=LATE_DAY - 1)
    return late if late < settings.get().anchor_date() else None


def closes_at(day: date, now: datetime) -> datetime:
    """When ``day`` closes if it is generated at ``now``: early the next day; the late day some seconds from now."""
    usual = datetime.combine(day + timedelta(days=1), CLOSES_AT, tzinfo=UTC)
    if day != late_day():
        return usual
    return max(usual, now + timedelta(seconds=simulation_settings.get().late_close_seconds))


def advance(now: datetime, progress: Progress | None = None) -> list[date]:
    """Generate every missing day of the history up to ``now``. Idempotent.

    Each day is one transaction, so a crash leaves only complete days, and concurrent callers generate each day once.
    Days keep the seed and the size they were generated with. ``progress`` is called with each day and its row count.

    Returns:
        The days that this call generated, oldest first.

    Raises:
        Busy: another caller has been generating one of the days for too long.
    """
    config = settings.get()
    with warehouse.session("simulator", config.sources_database) as cursor:
        cursor.execute("SELECT business_date FROM legacy.closed_days")
        existing = {row.business_date for row in warehouse.fetch_all(cursor)}
    missing = [day for day in history(now) if day not in existing]
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
    """Generate one day; returns its number of rows, or None if another caller generated it first."""
    config, company = settings.get(), simulation_settings.get()
    try:
        with warehouse.session("simulator", config.sources_database) as cursor:
            cursor.execute(
                "SELECT legacy.generate_day(%s, %s, %s, %s)",
                (day, company.rows_per_day, company.seed, closes_at(day, now)),
            )
            rows: int | None = warehouse.fetch_value(cursor)
    except LockNotAvailable:
        raise Busy(
            f"another simulation is still generating {day} of legacy.sales: try again when it has finished"
        ) from None
    return rows


def _first_day() -> date:
    return settings.get().anchor_date() - timedelta(days=simulation_settings.get().history_days)
