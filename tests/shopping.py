"""Carries the shop's orders through the engine's own stages, without Airflow around them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg2.extensions import cursor as Cursor

from highwater.environment import settings
from highwater.loading.changes import consistency, increments
from highwater.loading.changes.consistency import Check
from highwater.loading.changes.increments import IncrementalPipeline, Plan
from highwater.model.windows import Window
from highwater.store import ledger, warehouse
from highwater.store.checkpoints import Changes, Merged
from highwater.store.ledger import Run

ORDERS = IncrementalPipeline("orders", "incremental_data_processing", "shop", "orders", "order_changes")
COLUMNS = "order_id, customer_id, status, amount, currency, placed_at, updated_at"
HOUR = Window(datetime(2026, 10, 31, 10, tzinfo=UTC), datetime(2026, 10, 31, 11, tzinfo=UTC))


def run(name: str = "a") -> Run:
    """A run by that name."""
    return Run("incremental_data_processing", f"run {name}")


@contextmanager
def shop() -> Iterator[Cursor]:
    """A cursor on the source at one snapshot, as the tasks have it."""
    with closing(warehouse.connect("shop_reader", settings.get().sources_database)) as link:
        link.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with link, link.cursor() as cursor:
            yield cursor


def plan(**asked: Any) -> Plan:
    """Decide what the next run is."""
    with shop() as source:
        return increments.determine(source, ORDERS, **asked)


def identify(planned: Plan | None = None, by: str = "a") -> Changes:
    """Bring the changes into staging."""
    planned = planned or plan()
    with shop() as source:
        return increments.identify(source, ORDERS, planned, run(by))


def prepare(planned: Plan | None = None) -> Changes:
    """Bring the changes into staging, clean and audit them."""
    return process(identify(planned))


def process(changes: Changes, by: str = "a") -> Changes:
    """Clean and audit a set."""
    with ledger.attempt("orders", HOUR, "process_changes", run(by)):
        return increments.process(ORDERS, changes, run(by))[0]


def land(by: str = "a", **asked: Any) -> Merged:
    """Everything up to the merge."""
    return merge(prepare(plan(**asked)), by)


def merge(changes: Changes, by: str = "a") -> Merged:
    """Merge a set that is prepared."""
    with ledger.attempt("orders", HOUR, "update_checkpoint", run(by)):
        return increments.land(ORDERS, changes, run(by), HOUR)


def compare(since: Merged | None = None) -> Check:
    """Source against target at the checkpoint."""
    with shop() as source, ledger.attempt("orders", HOUR, "validate_consistency", run()):
        return consistency.compare(source, ORDERS, run(), since)


def hours(count: int, first: datetime) -> list[Window]:
    """Number of windows of an hour."""
    return [Window(first + timedelta(hours=n), first + timedelta(hours=n + 1)) for n in range(count)]


def there() -> dict[int, tuple[Any, ...]]:
    """The orders of the shop by number."""
    with warehouse.session("shop_reader", settings.get().sources_database) as cursor:
        cursor.execute(f"SELECT {COLUMNS} FROM shop.orders")
        return {row[0]: tuple(row) for row in cursor.fetchall()}


def here(*, deleted: bool = False) -> dict[int, tuple[Any, ...]]:
    """The published orders by number; with ``deleted`` those that are gone too, and when they went."""
    columns, condition = (f"{COLUMNS}, deleted_at", "true") if deleted else (COLUMNS, "deleted_at IS NULL")
    with warehouse.session("analyst") as cursor:
        cursor.execute(f"SELECT {columns} FROM sales.orders WHERE {condition}")
        return {row[0]: tuple(row) for row in cursor.fetchall()}


def value(query: str) -> Any:
    """What a query of the warehouse gives."""
    with warehouse.session("analyst") as cursor:
        cursor.execute(query)
        return warehouse.fetch_value(cursor)


def rule(assignment: str) -> None:
    """Change the row of control.sources."""
    with warehouse.session("postgres") as cursor:
        cursor.execute(f"UPDATE control.sources SET {assignment} WHERE dataset = 'orders'")
