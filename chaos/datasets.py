"""The datasets of the platform, and what each window should hold, worked out aside from what is published."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from highwater.environment import settings
from highwater.loading import staging
from highwater.model.windows import Window
from highwater.store import warehouse
from highwater.store.ledger import Run


@dataclass(frozen=True)
class Dataset:
    """A dataset of windows: its statements, the column its windows lie on, the suite of what is published."""

    name: str
    folder: str
    moment: str
    suite: str | None

    @property
    def table(self) -> str:
        """Where it is published."""
        return f"sales.{self.name}"


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset("daily_sales", "historical_sales_migration", "sold_at", "daily_sales"),
        Dataset("payments", "system_recovery_processing/payments", "paid_at", "payments"),
        Dataset("page_views", "system_recovery_processing/page_views", "viewed_at", "page_views"),
        Dataset("store_sales", "multi_source_sync/store", "sold_at", "store_sales"),
        Dataset("partner_sales", "multi_source_sync/partner", "ordered_at", "partner_sales"),
        Dataset("supplier_settlements", "multi_source_sync/supplier", "settled_from", "supplier_settlements"),
        # Its suite compares sources, and runs on numbers that are not published.
        Dataset("channel_sales", "multi_source_sync/channels", "sold_at", None),
    )
}
MADE_OF_PUBLISHED = "channel_sales"
ASIDE = Run("chaos", "aside")
"""For whom sets are made that are taken back."""
ORDERS, ORDERS_DAG, ORDERS_FOLDER = "orders", "incremental_data_processing", "incremental_data_processing"
DAGS = {
    "historical_sales_migration": ("daily_sales",),
    "system_recovery_processing": ("payments", "page_views"),
    ORDERS_DAG: (ORDERS,),
    "multi_source_sync": ("store_sales", "partner_sales", "supplier_settlements", MADE_OF_PUBLISHED),
}
"""The DAGs that load, each with its datasets."""


def undisturbed(dataset: Dataset, window: Window) -> str:
    """The content hash of a window as an undisturbed run makes it of its source now; leaves nothing behind."""
    database = None if dataset.name == MADE_OF_PUBLISHED else settings.get().sources_database
    with closing(warehouse.connect("postgres", database)) as source, closing(warehouse.connect("loader")) as target:
        with source.cursor() as reader, target.cursor() as cursor:
            name = staging.new_set(cursor, dataset.name, window, ASIDE)
            staging.extract(reader, cursor, dataset.folder, name, window)
            staging.clean(cursor, dataset.folder, name, window)
            cursor.execute("SELECT content_hash FROM ops.staging_sets WHERE set_name = %s", (name,))
            content = str(warehouse.fetch_value(cursor))
        target.rollback()
    return content


def differing_orders(restored_to: datetime | None = None) -> tuple[int, int]:
    """How many orders there are, and how many are published otherwise than a full run would make them now.

    One that is in quarantine is left out: its published row is an older one, or none. After a restore the source may
    know nothing of an order any more that went since ``restored_to``: published it is a deleted one.
    """
    config = settings.get()
    with (
        closing(warehouse.connect("postgres", config.sources_database)) as source,
        closing(warehouse.connect("loader")) as target,
    ):
        with source.cursor() as reader, target.cursor() as cursor:
            everything = Window(config.days_before_anchor(3650), config.days_before_anchor(-3650))
            name = staging.new_set(cursor, ORDERS, everything, ASIDE)
            staging.fill(reader, cursor, f"{ORDERS_FOLDER}/xid_full.sql", {}, name)
            staging.clean(cursor, ORDERS_FOLDER, name, everything)
            cursor.execute(
                f"WITH wanted AS (SELECT * FROM staging.{name}_clean), found AS (SELECT * FROM sales.orders),"  # noqa: S608
                " unequal AS ((TABLE wanted EXCEPT ALL TABLE found) UNION ALL (TABLE found EXCEPT ALL TABLE wanted))"
                " SELECT (SELECT count(*) FROM wanted) AS orders, (SELECT count(DISTINCT order_id) FROM unequal"
                " WHERE jsonb_build_array(order_id::text)::text NOT IN"
                " (SELECT key FROM quarantine.refused_keys WHERE dataset = %(dataset)s)"
                " AND order_id NOT IN (SELECT order_id FROM found WHERE deleted_at >= %(restored_to)s"
                " AND order_id NOT IN (SELECT order_id FROM wanted))) AS unequal",
                {"dataset": ORDERS, "restored_to": restored_to or datetime.max.replace(tzinfo=UTC)},
            )
            orders, unequal = cursor.fetchone() or (0, 0)
        target.rollback()
    return orders, unequal
