"""What a run costs on tables of different size, on a server of its own.

Each table is loaded in full, then 1,000 orders change (700 updates, 200 inserts, 100 deletions, anywhere in the table)
and an incremental run takes them, several times over. Prints the seconds of each stage: the median, and the
fastest, which is what the run costs when nobody else is at work on the machine.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

SIZES = (100_000, 1_000_000, 10_000_000)
REPEATS = 15
STAGES = ("determine", "identify", "process", "land", "compare", "whole run")
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
    from shopping import HOUR, ORDERS, compare, identify, plan, run

    from highwater import increments

    seconds = []
    begun = perf_counter()

    def lap() -> None:
        seconds.append(perf_counter() - begun - sum(seconds))

    planned = plan(asked=asked)
    lap()
    changes = identify(planned)
    lap()
    changes, _ = increments.process(ORDERS, changes, run())
    lap()
    merged = increments.land(ORDERS, changes, run(), HOUR)
    lap()
    check = compare(merged)
    lap()
    assert check.keys == (), check.sentence()
    return dict(zip(STAGES, [*seconds, sum(seconds)], strict=True))


def fill(rows: int) -> None:
    """A shop of so many delivered orders, and nothing loaded."""
    from highwater import settings, warehouse

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
        cursor.execute("ALTER TABLE shop.orders ENABLE TRIGGER USER")
    vacuum("postgres", settings.get().sources_database, "shop.orders")


def vacuum(role: str, database: str | None, table: str) -> None:
    """As autovacuum does soon after a load."""
    from highwater import warehouse

    link = warehouse.connect(role, database)
    link.autocommit = True
    with link.cursor() as cursor:
        cursor.execute(f"VACUUM ANALYZE {table}")
        cursor.execute("CHECKPOINT")
    link.close()


def change(rows: int, turn: int) -> None:
    """A thousand changes."""
    from highwater import settings, warehouse

    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        for statement in CHANGES:
            cursor.execute(statement.format(rows=rows, turn=turn))


@contextmanager
def platform() -> Iterator[None]:
    """A bootstrapped platform that is gone afterwards."""
    home = Path(tempfile.mkdtemp(prefix="highwater-bench-"))
    home.chmod(0o755)
    os.environ |= {"HIGHWATER_HOME": str(home), "SIMULATION_ROWS_PER_DAY": "0", "SIMULATION_SHOP_ORDERS": "0"}
    from highwater import bootstrap, local_server

    local_server.start()
    try:
        bootstrap.run()
        yield
    finally:
        local_server.remove()
        shutil.rmtree(home)


def say(words: str) -> None:
    """One line."""
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def main(sizes: tuple[int, ...]) -> None:
    """Print a table, and how much the dearest size costs of the cheapest."""
    fastest = []
    with platform():
        from highwater import quality

        quality.load_suite("orders")
        say(f"{'rows':>12} {'run':<12}" + "".join(f"{stage:>11}" for stage in STAGES))
        for rows in sizes:
            fill(rows)
            full = timed_run()
            say(f"{rows:>12,} {'full':<12}" + "".join(f"{full[stage]:>11.2f}" for stage in STAGES))
            vacuum("postgres", None, "sales.orders")
            laps = []
            for turn in range(REPEATS + 1):
                change(rows, turn)
                laps.append(timed_run())
            for name, pick in (("median", statistics.median), ("fastest", min)):
                seconds = {stage: pick(lap[stage] for lap in laps[1:]) for stage in STAGES}
                say(f"{rows:>12,} {name:<12}" + "".join(f"{seconds[stage]:>11.3f}" for stage in STAGES))
            fastest.append(seconds["whole run"])
    say(f"fastest incremental runs, dearest table against cheapest: {max(fastest) / min(fastest):.2f} times")


if __name__ == "__main__":
    main(tuple(int(argument.replace("_", "")) for argument in sys.argv[1:]) or SIZES)
