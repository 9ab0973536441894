"""Losses brought about on purpose: landed windows are deleted while the sources continue."""

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


def forget_since(since: datetime) -> int:
    """Delete every landed window of payments and page_views that ends after ``since``; returns their number.

    It runs as the admin, the only role that may do this. Held windows are kept: loading them again would undo a
    rollback. The sources are advanced to now, and incidents are reconciled at once, so that the outage is found.
    """
    batches.advance(clock.now())
    # Record first that the history has been loaded, so that the loss counts as an outage.
    alerts.look()
    forgotten = 0
    with warehouse.session("postgres") as cursor:
        for dataset in DATASETS:
            held_here = {ledger.as_range(hold.window) for hold in holds.held(cursor, dataset)}
            for window in landed(cursor, dataset, since):
                if window.window_range not in held_here:
                    forget_window(cursor, dataset, window)
                    forgotten += 1
    alerts.look()
    return forgotten


def held(since: datetime) -> list[Hold]:
    """The held windows that end after ``since``, which `forget_since` keeps."""
    with warehouse.session("analyst") as cursor:
        return [hold for dataset in DATASETS for hold in holds.held(cursor, dataset) if hold.window.end > since]


def landed(cursor: Cursor, dataset: str, since: datetime) -> list[Any]:
    """The landed windows that end after ``since``, oldest first, each with ``window_range`` and ``partition_name``."""
    warehouse.run_file(cursor, "ops/partitions_landed_since.sql", {"dataset": dataset, "since": since})
    return warehouse.fetch_all(cursor)


def forget_window(cursor: Cursor, dataset: str, window: Any) -> None:
    """Delete one of the `landed` windows from the published table, the quarantine and the ledger."""
    cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(*window.partition_name.split("."))))
    for table in ("quarantine.rejected_rows", "ops.window_ledger"):
        cursor.execute(
            sql.SQL("DELETE FROM {} WHERE dataset = %s AND window_range = %s").format(
                sql.Identifier(*table.split("."))
            ),
            (dataset, window.window_range),
        )
