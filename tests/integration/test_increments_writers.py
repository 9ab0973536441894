"""Writers that never stop, while runs go on: nothing is lost by the transaction's number, much by its time."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from shopping import COLUMNS, compare, here, land, rule, shop, there, value

from highwater.environment import settings
from highwater.store import warehouse

log = logging.getLogger(__name__)
Change = Callable[[str], int]
WRITERS, TRANSACTIONS, RUNS = 5, 600, 6
"""Transactions that each writer commits, and runs that it waits for."""
PATIENT_WRITERS, RUNS_TO_WAIT = 3, 2
"""These keep each of their transactions open for this number of runs."""
NEXT = (
    "CASE status WHEN 'placed' THEN 'paid' WHEN 'paid' THEN 'shipped' WHEN 'shipped' THEN 'delivered' ELSE status END"
)


class Load:
    """The writers; each has its own orders, so that none waits for another."""

    def __init__(self) -> None:
        self.runs = 0
        self.is_over = False
        self.committed = 0
        self.open_across_runs = 0
        self.ran = threading.Condition()
        self.threads = [threading.Thread(target=self._write, args=(n,)) for n in range(WRITERS)]
        self.threads += [
            threading.Thread(target=self._write_slowly, args=(WRITERS + n,)) for n in range(PATIENT_WRITERS)
        ]
        for thread in self.threads:
            thread.start()

    @property
    def is_busy(self) -> bool:
        return any(thread.is_alive() for thread in self.threads[:WRITERS])

    def ended_run(self, last: bool = False) -> None:
        """Tell the patient writers that another run is done."""
        with self.ran:
            self.runs += 1
            self.is_over = self.is_over or last
            self.ran.notify_all()

    def _write(self, number: int) -> None:
        dice = random.Random(number)
        with closing(_connect()) as link, link.cursor() as cursor:
            done = 0
            while done < TRANSACTIONS or (self.runs < RUNS and not self.is_over):
                done += 1
                self._change(cursor, number, dice)
                link.commit()
                with self.ran:
                    self.committed += 1

    def _write_slowly(self, number: int) -> None:
        dice = random.Random(number)
        with closing(_connect()) as link, link.cursor() as cursor:
            while self.is_busy:
                begun = self.runs
                self._change(cursor, number, dice)
                with self.ran:
                    self.ran.wait_for(lambda begun=begun: self.is_over or self.runs >= begun + RUNS_TO_WAIT)  # type: ignore[misc]
                    self.committed += 1
                    self.open_across_runs += self.runs >= begun + RUNS_TO_WAIT
                link.commit()

    @staticmethod
    def _change(cursor: Cursor, number: int, dice: random.Random) -> None:
        mine = WRITERS + PATIENT_WRITERS
        cursor.execute(
            "INSERT INTO shop.orders (order_id, customer_id, status, amount, currency, placed_at)"
            " SELECT 1000 + nextval('shop.orders_order_id_seq') * %s + %s, 1, 'placed', %s, 'EUR', now()",
            (mine, number, dice.randint(1, 1000)),
        )
        cursor.execute(
            f"UPDATE shop.orders SET status = {NEXT}, amount = amount + 1"
            " WHERE order_id IN (SELECT order_id FROM shop.orders WHERE order_id %% %s = %s ORDER BY order_id DESC"
            " OFFSET %s LIMIT 2)",
            (mine, number, dice.randint(0, 40)),
        )
        if dice.random() < 0.2:
            cursor.execute(
                "DELETE FROM shop.orders WHERE order_id = (SELECT min(order_id) FROM shop.orders"
                " WHERE order_id > 1000 AND order_id %% %s = %s)",
                (mine, number),
            )


def _connect() -> Connection:
    link = warehouse.connect("simulator", settings.get().sources_database)
    with link.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
    link.commit()
    return link


class Naive:
    """What most pipelines do: `updated_at > the newest one seen`."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[Any, ...]] = {}
        self.seen = datetime(2000, 1, 1, tzinfo=UTC)

    def run(self) -> None:
        with shop() as source:
            source.execute(f"SELECT {COLUMNS} FROM shop.orders WHERE updated_at > %s", (self.seen,))
            changed = {row[0]: tuple(row) for row in source.fetchall()}
        self.rows |= changed
        self.seen = max([self.seen, *(row[-1] for row in changed.values())])


def test_nothing_is_lost_or_doubled_while_writers_go_on_and_a_time_watermark_loses_rows(small_shop: Change) -> None:
    land("the first")
    load, naive, waiting = Load(), Naive(), 0
    try:
        while load.is_busy:
            merged = land(f"run {load.runs}")
            naive.run()
            check = compare(merged)
            assert check.keys == (), check.sentence()
            waiting += check.pending
            load.ended_run()
    finally:
        load.ended_run(last=True)
        for thread in load.threads:
            thread.join()
    land("the last but one")
    naive.run()
    land("the last")
    naive.run()

    source = there()
    assert here() == source
    assert len(here(deleted=True)) == value("SELECT count(*) FROM sales.orders")
    assert value("SELECT live_rows FROM ops.checkpoints") == len(source)
    lost = [key for key, row in source.items() if naive.rows.get(key) != row]
    assert lost, "the load has no transaction that a time watermark misses: it shows nothing"
    gone = value("SELECT count(*) FROM sales.orders WHERE deleted_at IS NOT NULL")
    runs = value("SELECT count(*) FROM ops.window_ledger")
    log.info(
        "%s transactions by %s connections, %s of them open across %s runs or more; %s runs; %s orders and %s deleted; "
        "%s changes committed between a run and its comparison; by updated_at %s orders are lost or stale",
        *(load.committed, len(load.threads), load.open_across_runs, RUNS_TO_WAIT),
        *(runs, len(source), gone, waiting, len(lost)),
    )
    assert load.committed >= WRITERS * TRANSACTIONS
    assert load.open_across_runs >= PATIENT_WRITERS
    assert runs >= RUNS
    assert gone > 100


@pytest.mark.parametrize("strategy", ["xid", "updated_at"])
def test_one_transaction_that_is_open_while_a_run_ends_tells_the_strategies_apart(
    small_shop: Change, strategy: str
) -> None:
    """The smallest load that shows it: one transaction that is open while a run ends."""
    rule(f"strategy = '{strategy}', overlap = '0'")
    land()
    with closing(_connect()) as link, link.cursor() as late:
        late.execute("SET LOCAL shop.now = '2026-10-31 11:59:59+00'")
        late.execute("UPDATE shop.orders SET amount = 5 WHERE order_id = 17")
        small_shop("UPDATE shop.orders SET amount = 5 WHERE order_id = 18")
        land("meanwhile")
        link.commit()
    assert land("after").rows_updated == (1 if strategy == "xid" else 0)
