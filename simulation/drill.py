"""A drill of the recovery: what was recorded since a moment was never recorded, while the sources went on."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from highwater.incidents import alerts
from highwater.model import clock
from highwater.store import holds, ledger, warehouse
from highwater.store.holds import Hold
from simulation import batches

DATASETS = ("payments", "page_views")
"""The datasets that system_recovery_processing recovers."""


def simulate(since: datetime) -> int:
    """Take every window of payments and page views that ends after ``since`` out of the record; returns their number.

    As the admin: nobody else may undo what landed. Windows that a person holds stay as they are: loaded again they
    would be what that person took back. The sources make what they would have made meanwhile, and incidents are looked
    for at once, so that the outage is found and told.
    """
    batches.advance(clock.now())
    # What has landed for the first time is no history to load any more.
    alerts.look()
    forgotten = 0
    with warehouse.session("postgres") as cursor:
        for dataset in DATASETS:
            held_here = {ledger.as_range(hold.window) for hold in holds.held(cursor, dataset)}
            for window in landed(cursor, dataset, since):
                if window.window_range not in held_here:
                    forget(cursor, dataset, window)
                    forgotten += 1
    alerts.look()
    return forgotten


def held(since: datetime) -> list[Hold]:
    """The windows that end after ``since`` and that `simulate` leaves as they are, since a person holds them."""
    with warehouse.session("analyst") as cursor:
        return [hold for dataset in DATASETS for hold in holds.held(cursor, dataset) if hold.window.end > since]


def landed(cursor: Cursor, dataset: str, since: datetime) -> list[Any]:
    """The landed windows that end after ``since``, oldest first, each with ``window_range`` and ``partition_name``."""
    warehouse.run_file(cursor, "ops/partitions_landed_since.sql", {"dataset": dataset, "since": since})
    return warehouse.fetch_all(cursor)


def forget(cursor: Cursor, dataset: str, window: Any) -> None:
    """Take one of the `landed` windows out of the record and the published table."""
    cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(*window.partition_name.split("."))))
    for table in ("quarantine.rejected_rows", "ops.window_ledger"):
        cursor.execute(
            sql.SQL("DELETE FROM {} WHERE dataset = %s AND window_range = %s").format(
                sql.Identifier(*table.split("."))
            ),
            (dataset, window.window_range),
        )
