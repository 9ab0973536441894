"""Publishing a window again: beside DELETE and INSERT, and beside INSERT … ON CONFLICT, of the same rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import measuring
import sales_days
import typer
from measuring import AsJson, Figure, Repeat, Rows

from highwater.loading import staging
from highwater.model.windows import Window
from highwater.store import ledger, publish, warehouse
from highwater.store.ledger import Run
from highwater.store.publish import Staged

BASELINE = """
CREATE TABLE IF NOT EXISTS sales.baseline (LIKE sales.daily_sales INCLUDING ALL) PARTITION BY RANGE (sold_at);
CREATE TABLE IF NOT EXISTS sales.baseline_all PARTITION OF sales.baseline DEFAULT;
"""
CHANGED_SET = """
INSERT INTO staging.{set}_rejected SELECT * FROM staging.{first}_rejected;
INSERT INTO staging.{set}_copies SELECT * FROM staging.{first}_copies;
INSERT INTO staging.{set}_clean
SELECT
    sale_id, sold_at, store_code, till_no, product_code, quantity, unit_price, %(discount)s, revenue, currency,
    payment_method, customer_id, receipt_no
FROM staging.{first}_clean;
"""
DELETE_INSERT = """
DELETE FROM sales.baseline WHERE sold_at >= %(start)s AND sold_at < %(end)s;
INSERT INTO sales.baseline SELECT * FROM staging.{set}_clean;
"""
ON_CONFLICT = """
INSERT INTO sales.baseline SELECT * FROM staging.{set}_clean
ON CONFLICT (sale_id, sold_at) DO UPDATE SET
    store_code = excluded.store_code, till_no = excluded.till_no, product_code = excluded.product_code,
    quantity = excluded.quantity, unit_price = excluded.unit_price, discount = excluded.discount,
    revenue = excluded.revenue, currency = excluded.currency, payment_method = excluded.payment_method,
    customer_id = excluded.customer_id, receipt_no = excluded.receipt_no
"""


def main(
    rows: Rows = None,
    repeat: Repeat = 5,
    as_json: AsJson = False,
) -> None:
    """Publish a day with changes in every row; Highwater counts and hashes the rows and keeps the former version."""
    figures = sales_days.over_sizes(lambda window, size: _measure(window, size, repeat), rows or sales_days.SIZES)
    measuring.show(figures, as_json)


def _measure(window: Window, size: int, repeat: int) -> list[Figure]:
    with warehouse.session("postgres") as cursor:
        cursor.execute(BASELINE)
    first, turn = sales_days.stage(window), 0

    def staged() -> Staged:
        """A new set in which every row differs from the published one."""
        nonlocal turn
        turn += 1
        with warehouse.session("postgres") as cursor:
            name = staging.new_set(cursor, sales_days.SALES.dataset, window, Run("bench", f"run {turn}"))
            staging.save(cursor, f"SELECT * FROM staging.{first.name}_raw", name, "raw")  # noqa: S608
            cursor.execute("SELECT FROM ops.begin_cleaning(%s)", (name,))
            cursor.execute(CHANGED_SET.format(set=name, first=first.name), {"discount": turn / 100})
            cursor.execute("SELECT FROM ops.finish_cleaning(%s)", (name,))
            base = ledger.version(cursor, sales_days.SALES.dataset, window)
        measuring.tidy("postgres", None, f"staging.{name}_clean")
        return replace(first, name=name, base_version=base)

    def published() -> float:
        made = staged()
        run = Run("bench", f"run {turn}")
        return measuring.seconds(lambda: publish.publish_window(sales_days.SALES.dataset, window, made, run))

    def written(statement: str) -> Callable[[], float]:
        def write() -> float:
            made = staged()
            measuring.tidy("postgres", None, "sales.baseline")

            def work() -> None:
                with warehouse.session("postgres") as cursor:
                    cursor.execute(statement.format(set=made.name), {"start": window.start, "end": window.end})

            took = measuring.seconds(work)
            with warehouse.session("postgres") as cursor:
                cursor.execute("SELECT ops.drop_set(%s)", (made.name,))
            return took

        return write

    works = (published, written(DELETE_INSERT), written(ON_CONFLICT))
    for work in works:
        work()
    ours, deleted, upserted = measuring.medians(repeat, *works)
    what, case = "publishing a window again", f"{size:,} rows"
    return [
        Figure(what, case, ours, "DELETE and INSERT", deleted, aim=1),
        Figure(what, case, ours, "INSERT … ON CONFLICT", upserted, aim=1),
    ]


if __name__ == "__main__":
    typer.run(main)
