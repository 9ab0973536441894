"""The simulated shop: plays the ten-minute ticks that are missing, some of their changes committing late."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timedelta

from psycopg2.errors import LockNotAvailable
from psycopg2.extensions import cursor as Cursor

from highwater.environment import settings
from highwater.model.errors import Busy
from highwater.store import warehouse
from simulation import settings as simulation_settings

TICK_SECONDS = 600
MOST_TICKS = 144
"""A shop that was off for longer than a day was closed meanwhile."""


def advance(now: datetime, hold: timedelta = timedelta(0)) -> int:
    """Open the shop if it is new, then play every tick that is over by ``now`` and missing; returns their number.

    A tick is two transactions: one that commits at once, and one that began before it and commits after it. With
    ``hold`` the newest tick's late transaction stays open for that long, so that a load may begin and end meanwhile.
    Deterministic by seed: the same ticks make the same orders.

    Raises:
        Busy: another caller has been at work for too long.
    """
    with ExitStack() as stack:
        turn, late, prompt = (stack.enter_context(_session()) for _ in range(3))
        _take_turn(turn)
        missing = _missing_ticks(prompt, now)
        prompt.connection.commit()
        for tick in missing:
            _play(prompt, late, tick, hold if tick == missing[-1] else timedelta(0))
    return len(missing)


@contextmanager
def _session() -> Iterator[Cursor]:
    # A tick that a crash of the server takes back is played again, so nobody need wait for the disk.
    with closing(warehouse.connect("simulator", settings.get().sources_database)) as link, link.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
        link.commit()
        yield cursor


def _play(prompt: Cursor, late: Cursor, tick: int, hold: timedelta) -> None:
    seed = simulation_settings.get().seed
    late.execute("SELECT * FROM shop.play(%s, %s, true)", (tick, seed))
    straggling = warehouse.fetch(late)
    prompt.execute("SELECT * FROM shop.play(%s, %s, false)", (tick, seed))
    played = warehouse.fetch(prompt)
    prompt.execute(
        "INSERT INTO shop.ticks (tick, placed, touched) VALUES (%s, %s, %s)",
        (tick, played.placed + straggling.placed, played.touched + straggling.touched),
    )
    prompt.connection.commit()
    late.execute("SELECT pg_sleep(%s)", (hold.total_seconds(),))
    late.connection.commit()


def _take_turn(cursor: Cursor) -> None:
    """Hold the turn until the cursor's transaction ends, by a lock that only the shop's owner can take."""
    try:
        cursor.execute("LOCK TABLE shop.ticks IN SHARE UPDATE EXCLUSIVE MODE")
    except LockNotAvailable:
        raise Busy("another simulation is still at work on the shop: try again when it is done") from None


def _missing_ticks(cursor: Cursor, now: datetime) -> list[int]:
    """The ticks to play, oldest first: those after the last one played, or a new shop's first day."""
    config = simulation_settings.get()
    opened = settings.get().days_before_anchor(1)
    cursor.execute("SELECT shop.open(%s, %s, %s)", (config.shop_orders, opened, config.seed))
    cursor.execute("SELECT max(tick) FROM shop.ticks")
    last = warehouse.fetch_value(cursor)
    over = int(now.timestamp()) // TICK_SECONDS
    first = int(opened.timestamp()) // TICK_SECONDS if last is None else last + 1
    return list(range(max(first, over - MOST_TICKS), over))
