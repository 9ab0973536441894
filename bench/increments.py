"""The cost of an incremental run on tables of different size, beside a full run of the same table.

Each table is loaded in full, then 1,000 orders change (700 updates, 200 inserts, 100 deletions, anywhere in the table)
and an incremental run takes them, several times over.
"""

from __future__ import annotations

import statistics
from time import perf_counter
from typing import Annotated

import measuring
import typer
from measuring import AsJson, Figure, Repeat
from shopping import compare, identify, merge, plan, process

from highwater.environment import settings
from highwater.quality import audits
from highwater.store import warehouse

SIZES = (100_000, 1_000_000, 10_000_000)
WHOLE = "whole run"
STAGES = ("determine", "identify", "process", "land", "compare", WHOLE)
CHANGES = (
    "UPDATE shop.orders SET amount = amount + 1 WHERE order_id IN"
    " (SELECT 1 + abs(hashint8extended(n, {turn})) % {rows} FROM generate_series(1, 700) AS n)",
    "DELETE FROM shop.orders WHERE order_id IN"
    " (SELECT 1 + abs(hashint8extended(n, {turn})) % {rows} FROM generate_series(701, 800) AS n)",
    "INSERT INTO shop.orders (customer_id, status, amount, currency, placed_at)"
    " SELECT n, 'placed', n, 'EUR', now() FROM generate_series(1, 200) AS n",
)


def timed_run(asked: str | None = None) -> dict[str, float]:
    """The five stages, one after the other; returns the seconds of each."""
    seconds: list[float] = []
    begun = perf_counter()

    def lap() -> None:
        seconds.append(perf_counter() - begun - sum(seconds))

    planned = plan(asked=asked)
    lap()
    changes = identify(planned)
    lap()
    changes = process(changes)
    lap()
    merged = merge(changes)
    lap()
    check = compare(merged)
    lap()
    assert check.keys == (), check.sentence()
    return dict(zip(STAGES, [*seconds, sum(seconds)], strict=True))


def fill(rows: int) -> None:
    """A shop of this number of delivered orders, and nothing loaded."""
    with warehouse.session("postgres") as cursor:
        cursor.execute("TRUNCATE ops.window_ledger, ops.checkpoints, ops.consistency_checks, sales.orders CASCADE")
    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        cursor.execute("ALTER TABLE shop.orders DISABLE TRIGGER USER")
        cursor.execute("TRUNCATE shop.ticks, shop.orders, shop.deleted_orders RESTART IDENTITY")
        cursor.execute(
            "INSERT INTO shop.orders SELECT n, n, 'delivered', 1 + n %% 900, 'EUR', now() - interval '1 day', now(),"
            " pg_current_xact_id() FROM generate_series(1, %s) AS n",
            (rows,),
        )
        cursor.execute("SELECT setval('shop.orders_order_id_seq', %s)", (rows,))
        for trigger in ("mark_change", "mark_truncation"):
            cursor.execute(f"ALTER TABLE shop.orders ENABLE ALWAYS TRIGGER {trigger}")
    measuring.tidy("postgres", settings.get().sources_database, "shop.orders")


def change(rows: int, turn: int) -> None:
    """A thousand changes."""
    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        for statement in CHANGES:
            cursor.execute(statement.format(rows=rows, turn=turn))


def main(
    rows: Annotated[list[int] | None, typer.Option(help="Rows in the table; may be given several times.")] = None,
    repeat: Repeat = 5,
    as_json: AsJson = False,
) -> None:
    """Load each table in full once, then a thousand changes several times; constant cost is a ratio of about 1."""
    figures = []
    with measuring.platform(SIMULATION_ROWS_PER_DAY="0", SIMULATION_SHOP_ORDERS="0"):
        audits.load_suite("orders")
        for size in rows or SIZES:
            fill(size)
            full = timed_run()
            measuring.tidy("postgres", None, "sales.orders")
            laps = []
            for turn in range(repeat + 1):
                change(size, turn)
                laps.append(timed_run())
            cost = {stage: statistics.median(lap[stage] for lap in laps[1:]) for stage in STAGES}
            more = {stage: round(took, 3) for stage, took in cost.items()}
            case = f"{size:,} rows in the table"
            figures.append(Figure("1,000 changes", case, cost[WHOLE], "loading it in full", full[WHOLE], more=more))
    first, last = figures[0], figures[-1]
    if last is not first:
        figures.append(Figure("1,000 changes", last.case, last.value, first.case, first.value, aim=1.3))
    measuring.show(figures, as_json)


if __name__ == "__main__":
    typer.run(main)
