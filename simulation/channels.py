"""The simulated channels: a store that is always there, a partner with outages, a supplier who settles by the week."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from psycopg2.extensions import cursor as Cursor

from highwater.environment import settings
from highwater.model.errors import ConfigurationError
from simulation import outages
from simulation import settings as simulation_settings

STORE_CLOSES = timedelta(hours=23)
PARTNER_CLOSES = timedelta(hours=23, minutes=30)
"""From midnight on: the last sale is at 21:00, the last order at 22:30, so that the next midnight finds all there."""

ORIGIN = date(2000, 1, 1)
CYCLE = 13
KINDS = {3: "missing", 6: "short", 9: "late"}
"""What the partner's day is when its number (and the seed) modulo ``CYCLE`` is that; all others are usual."""

REST_AFTER = timedelta(hours=54)
"""After its midnight, the orders that a late day lacks arrive."""

RESENT_ONE_IN, RESENT_SLOT, RESENT_AFTER = 50, 11, timedelta(hours=53)
"""One order in 50 of a day comes again, 53 hours after the day's midnight."""

FLOOD_ONE_IN, FLOOD_SLOT, FLOOD_DAYS = 10, 7, 2
"""After an outage one order in ten of the two days before it comes again."""

DELIVERED_AFTER = timedelta(days=3, hours=22)
"""After its week ended a delivery comes: two hours before the fourth day begins, when it is due."""

WRONG_WEEK, CORRECTED_AFTER = 2, timedelta(days=3)
"""The place of the week that is delivered with errors, counted from 1, and when its correction follows."""

WRONG_ONE_IN = 50
"""In a wrong delivery every 50th settlement is three cents off."""


class Delivery(NamedTuple):
    """One delivery of the supplier: a week, by its Monday, for the first or the second time."""

    week: date
    number: int
    at: datetime
    has_errors: bool


def partner_orders(sales: int) -> int:
    """How many distinct orders the partner's day holds beside so many sales in the stores."""
    return sales // 5


def fulfilled(sales: int) -> int:
    """How many of a day's sales in the stores hand over an order of the partner: every other order."""
    return (partner_orders(sales) + 1) // 2


def deviating(sales: int) -> int:
    """How many of those have another amount than the order."""
    return len(range(25, fulfilled(sales), 50))


def held_back(sales: int) -> int:
    """How many orders a short or a late day lacks."""
    return len(range(4, partner_orders(sales), 10))


def resent(sales: int) -> int:
    """How many orders of a whole day come again some days later."""
    return len(range(RESENT_SLOT, partner_orders(sales), RESENT_ONE_IN))


def flooded(sales: int) -> int:
    """How many orders of a whole day come again after an outage."""
    return len(range(FLOOD_SLOT, partner_orders(sales), FLOOD_ONE_IN))


def kind_of(day: date) -> str:
    """What the partner's day is like: usual, missing, short for good, or late (short until its rest arrives)."""
    return KINDS.get(((day - ORIGIN).days + simulation_settings.get().seed) % CYCLE, "usual")


def first_day() -> date:
    """The first day of all three sources."""
    return settings.get().days_before_anchor(simulation_settings.get().channel_days).date()


def days(now: datetime) -> list[date]:
    """The days the stores have closed by ``now``, oldest first.

    Raises:
        ConfigurationError: ``now`` has no time zone.
    """
    if now.tzinfo is None:
        raise ConfigurationError(f"the simulation needs a moment with a time zone, but got {now!r}")
    first, end = first_day(), (now.astimezone(UTC) - STORE_CLOSES).date() + timedelta(days=1)
    return [first + timedelta(days=n) for n in range((end - first).days)]


def deliveries(now: datetime) -> list[Delivery]:
    """The deliveries that are there by ``now``, of the weeks from the first Monday on, in the order of their weeks."""
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
    """Make every day, resend, delivery and outage up to ``now`` that is missing, and set who may log in at ``now``.

    Each step is a transaction, so a crash leaves whole ones only, and two callers at once take turns. Days keep the
    seed and the size they were made with.

    Returns:
        The days this call made, oldest first; empty when all were there.

    Raises:
        Busy: another caller has been at work for too long.
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
    there = {row[0] for row in cursor.fetchall()}
    missing = [day for day in days(now) if day not in there]
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
    kinds: dict[date, str] = dict(cursor.fetchall())
    cursor.execute("SELECT day, sent_at, reason FROM partner.resends")
    done = set(map(tuple, cursor.fetchall()))
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
    # a scheduled outage and one by hand may end at the same moment
    floods = {
        (started_at.date() - timedelta(days=back), ended_at)
        for started_at, ended_at in cursor.fetchall()
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
    there = set(map(tuple, cursor.fetchall()))
    for delivery in deliveries(now):
        if (delivery.week, delivery.number) not in there:
            cursor.execute("SELECT supplier.deliver(%s, %s, %s, %s)", delivery)
            cursor.connection.commit()


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
