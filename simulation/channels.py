"""The simulated channels: a reliable store, a partner with outages, a supplier who settles weekly."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from psycopg2.extensions import cursor as Cursor

from highwater.environment import settings
from highwater.model.errors import ConfigurationError
from highwater.store import warehouse
from simulation import outages
from simulation import settings as simulation_settings

STORE_CLOSES = timedelta(hours=23)
PARTNER_CLOSES = timedelta(hours=23, minutes=30)
"""Time after midnight. The last sale is at 21:00, the last order at 22:30: a day is complete at the next midnight."""

ORIGIN = date(2000, 1, 1)
CYCLE = 13
KINDS = {3: "missing", 6: "short", 9: "late"}
"""The kind of the partner's day by its number (plus the seed) modulo ``CYCLE``; all other days are usual."""

REST_AFTER = timedelta(hours=54)
"""Time after its midnight at which the missing orders of a late day arrive."""

RESENT_ONE_IN, RESENT_SLOT, RESENT_AFTER = 50, 11, timedelta(hours=53)
"""One order in 50 of a day is sent again, 53 hours after the day's midnight."""

FLOOD_ONE_IN, FLOOD_SLOT, FLOOD_DAYS = 10, 7, 2
"""After an outage, one order in ten of the two days before it is sent again."""

DELIVERED_AFTER = timedelta(days=3, hours=22)
"""Time after the end of its week at which a delivery arrives: two hours before it is due, on the fourth day."""

WRONG_WEEK, CORRECTED_AFTER = 2, timedelta(days=3)
"""The number of the week, from 1, that is delivered with errors, and the time until its correction."""

WRONG_ONE_IN = 50
"""In a delivery with errors, every 50th settlement is off by three cents."""


class Delivery(NamedTuple):
    """A delivery of the supplier: the week by its Monday, and whether it is the first or the second delivery of it."""

    week: date
    number: int
    at: datetime
    has_errors: bool


def partner_orders(sales: int) -> int:
    """The number of distinct orders of the partner on a day with ``sales`` sales in the stores."""
    return sales // 5


def fulfilled(sales: int) -> int:
    """The number of sales in the stores that fulfil an order of the partner: every other order."""
    return (partner_orders(sales) + 1) // 2


def deviating(sales: int) -> int:
    """The number of those whose amount differs from the order."""
    return len(range(25, fulfilled(sales), 50))


def held_back(sales: int) -> int:
    """The number of orders missing from a short or a late day."""
    return len(range(4, partner_orders(sales), 10))


def resent(sales: int) -> int:
    """The number of orders of a complete day that are sent again some days later."""
    return len(range(RESENT_SLOT, partner_orders(sales), RESENT_ONE_IN))


def flooded(sales: int) -> int:
    """The number of orders of a complete day that are sent again after an outage."""
    return len(range(FLOOD_SLOT, partner_orders(sales), FLOOD_ONE_IN))


def kind_of(day: date) -> str:
    """The kind of the partner's day: usual, missing, short (for good) or late (short until the rest arrives)."""
    return KINDS.get(((day - ORIGIN).days + simulation_settings.get().seed) % CYCLE, "usual")


def first_day() -> date:
    """The first day of all three sources."""
    return settings.get().days_before_anchor(simulation_settings.get().channel_days).date()


def days(now: datetime) -> list[date]:
    """The days that the stores have closed by ``now``, oldest first.

    Raises:
        ConfigurationError: ``now`` has no time zone.
    """
    if now.tzinfo is None:
        raise ConfigurationError(f"the simulation needs a moment with a time zone, but got {now!r}")
    first, end = first_day(), (now.astimezone(UTC) - STORE_CLOSES).date() + timedelta(days=1)
    return [first + timedelta(days=n) for n in range((end - first).days)]


def deliveries(now: datetime) -> list[Delivery]:
    """The deliveries that have arrived by ``now``, from the first Monday on, ordered by week."""
    first = first_day()
    monday = first + timedelta(days=-first.weekday() % 7)
    found = []
    for place, n in enumerate(range(0, max(0, (now.date() - monday).days), 7), start=1):
        week = monday + timedelta(days=n)
        at = _midnight(week + timedelta(days=7)) + DELIVERED_AFTER
        found.append(Delivery(week, 1, at, place == WRONG_WEEK))
        if place == WRONG_WEEK:
            found.append(Delivery(week, 2, at + CORRECTED_AFTER, False))
    return [delivery for delivery in found if delivery.at <= now]


def advance(now: datetime) -> list[date]:
    """Generate every missing day, resend, delivery and outage up to ``now``, and set which readers may log in.

    Each step is one transaction, so a crash leaves only complete steps, and concurrent callers take turns. Days keep
    the seed and the size they were generated with.

    Returns:
        The days that this call generated, oldest first.

    Raises:
        Busy: another caller has been running for too long.
    """
    with outages.turn() as cursor:
        made = _days(cursor, now)
        _outages(cursor, now)
        _resends(cursor, now)
        _deliveries(cursor, now)
        outages.apply(cursor, now)
    return made


def _days(cursor: Cursor, now: datetime) -> list[date]:
    config = simulation_settings.get()
    cursor.execute("SELECT s.day FROM store.closed_days AS s INNER JOIN partner.made_days AS p ON s.day = p.day")
    existing = {row.day for row in warehouse.fetch_all(cursor)}
    missing = [day for day in days(now) if day not in existing]
    sales, seed = config.channel_sales, config.seed
    for day in missing:
        cursor.execute("SELECT store.generate_day(%s, %s, %s, %s)", (day, sales, seed, _midnight(day) + STORE_CLOSES))
        cursor.execute(
            "SELECT partner.generate_day(%s, %s, %s, %s, %s)",
            (day, partner_orders(sales), seed, kind_of(day), _midnight(day) + PARTNER_CLOSES),
        )
        cursor.connection.commit()
    return missing


def _outages(cursor: Cursor, now: datetime) -> None:
    cursor.execute(
        "INSERT INTO partner.outages (started_at, ended_at, reason)"
        " SELECT * FROM partner.scheduled_outages(%s, %s, %s) WHERE started_at <= %s ON CONFLICT DO NOTHING",
        (first_day(), now.astimezone(UTC).date(), simulation_settings.get().seed, now),
    )
    cursor.connection.commit()


def _resends(cursor: Cursor, now: datetime) -> None:
    cursor.execute("SELECT day, kind FROM partner.made_days WHERE kind <> 'missing' ORDER BY day")
    kinds: dict[date, str] = {row.day: row.kind for row in warehouse.fetch_all(cursor)}
    cursor.execute("SELECT day, sent_at, reason FROM partner.resends")
    done = {(row.day, row.sent_at, row.reason) for row in warehouse.fetch_all(cursor)}
    for day, kind in kinds.items():
        rest_at, again_at = _midnight(day) + REST_AFTER, _midnight(day) + RESENT_AFTER
        if kind == "late" and rest_at <= now and (day, rest_at, "the rest") not in done:
            cursor.execute("SELECT partner.send_rest(%s, %s)", (day, rest_at))
        if again_at <= now and (day, again_at, "again") not in done:
            _send_again(cursor, day, again_at, "again", one_in=RESENT_ONE_IN, slot=RESENT_SLOT)
    cursor.execute(
        "SELECT started_at, ended_at FROM simulation.all_outages WHERE source = 'partner' AND ended_at <= %s",
        (now,),
    )
    # A set, since a scheduled outage and one started by hand may end at the same moment.
    floods = {
        (outage.started_at.date() - timedelta(days=back), outage.ended_at)
        for outage in warehouse.fetch_all(cursor)
        for back in range(1, FLOOD_DAYS + 1)
    }
    for day, at in sorted(floods):
        if day in kinds and (day, at, "after an outage") not in done:
            _send_again(cursor, day, at, "after an outage", one_in=FLOOD_ONE_IN, slot=FLOOD_SLOT)
    cursor.connection.commit()


def _send_again(cursor: Cursor, day: date, at: datetime, reason: str, *, one_in: int, slot: int) -> None:
    cursor.execute("SELECT partner.send_again(%s, %s, %s, %s, %s)", (day, one_in, slot, at, reason))


def _deliveries(cursor: Cursor, now: datetime) -> None:
    cursor.execute("SELECT week, delivery_no FROM supplier.deliveries")
    existing = {(row.week, row.delivery_no) for row in warehouse.fetch_all(cursor)}
    for delivery in deliveries(now):
        if (delivery.week, delivery.number) not in existing:
            cursor.execute("SELECT supplier.deliver(%s, %s, %s, %s)", delivery)
            cursor.connection.commit()


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
