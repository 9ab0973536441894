"""The simulated shop: plays missing ten-minute ticks, with some changes that commit late."""

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
"""Maximum number of ticks to catch up: if the shop was off for longer than a day, it counts as closed."""


def advance(now: datetime, hold: timedelta = timedelta(0)) -> int:
    """Open the shop if it is new, then play every missing tick that has ended by ``now``; returns their number.

    A tick has two transactions: one commits immediately, the other begins before and commits after it. With ``hold``
    the late transaction of the newest tick stays open for that long, so that a load can begin and end meanwhile.
    Deterministic by seed: the same ticks produce the same orders.

    Raises:
        Busy: another caller has been running for too long.
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
    # A tick that is lost in a crash of the server is played again, so a commit need not wait for the disk.
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
    """Take an exclusive lock, available only to the shop's owner, until the cursor's transaction ends."""
    try:
        cursor.execute("LOCK TABLE shop.ticks IN SHARE UPDATE EXCLUSIVE MODE")
    except LockNotAvailable:
        raise Busy("another simulation is still changing the shop: try again when it has finished") from None


def _missing_ticks(cursor: Cursor, now: datetime) -> list[int]:
    """The ticks to play, oldest first: those after the last one played, or from the first day of a new shop."""
    config = simulation_settings.get()
    opened = settings.get().days_before_anchor(1)
    cursor.execute("SELECT shop.open(%s, %s, %s)", (config.shop_orders, opened, config.seed))
    cursor.execute("SELECT max(tick) FROM shop.ticks")
    last = warehouse.fetch_value(cursor)
    over = int(now.timestamp()) // TICK_SECONDS
    first = int(opened.timestamp()) // TICK_SECONDS if last is None else last + 1
    return list(range(max(first, over - MOST_TICKS), over))
