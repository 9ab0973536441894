"""Held windows: listing and releasing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg2.extensions import cursor as Cursor

from highwater.model.windows import Window
from highwater.store import ledger, warehouse
from highwater.store.publish import in_words, retry_when_busy


@dataclass(frozen=True)
class Hold:
    """A window that is not loaded, because a person rolled it back."""

    hold_id: int
    dataset: str
    window: Window
    version: int
    held_by: str
    reason: str
    held_at: datetime


def held(cursor: Cursor, dataset: str, since: datetime | None = None, until: datetime | None = None) -> list[Hold]:
    """The windows of a dataset that are held now and lie wholly between two moments, oldest first."""
    cursor.execute(
        "SELECT hold_id, lower(window_range) AS starts, upper(window_range) AS ends, version, held_by, reason, held_at"
        " FROM ops.held_windows WHERE dataset = %s AND window_range <@ tstzrange(%s, %s) ORDER BY window_range",
        (dataset, since, until),
    )
    return [
        Hold(row.hold_id, dataset, Window(row.starts, row.ends), row.version, row.held_by, row.reason, row.held_at)
        for row in warehouse.fetch_all(cursor)
    ]


def plan(dataset: str, since: datetime | None, until: datetime | None) -> list[Hold]:
    """The holds that a release of a range would end; changes nothing.

    Raises:
        ConfigurationError: there is no such dataset.
    """
    with warehouse.session("analyst") as cursor:
        ledger.grid(cursor, dataset)
        return held(cursor, dataset, since, until)


def partly(dataset: str, since: datetime | None, until: datetime | None) -> list[Hold]:
    """The holds of a dataset whose window is only partly between two moments: `plan` leaves them out."""
    with warehouse.session("analyst") as cursor:
        return [
            hold
            for hold in held(cursor, dataset)
            if (until is None or hold.window.start < until)
            and (since is None or since < hold.window.end)
            and not ((since is None or since <= hold.window.start) and (until is None or hold.window.end <= until))
        ]


@retry_when_busy
def release(wanted: Sequence[Hold], by: str, reason: str) -> int:
    """End the holds that were shown, all or none; ops.holds records who and why. Returns their number.

    Raises:
        DataRejected: one of them has changed since it was shown: released, or rolled back again.
        Busy: a window of the dataset was being published for too long.
    """
    with in_words(), warehouse.session("operator") as cursor:
        cursor.execute(
            "SELECT hold_id FROM ops.release_holds(%s, %s, %s)", ([hold.hold_id for hold in wanted], by, reason)
        )
        return int(cursor.rowcount)
