"""A session that reads the published tables all the while: no read may show half of a window."""

from __future__ import annotations

import hashlib
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from chaos.datasets import DATASETS, ORDERS, Dataset
from highwater.store import warehouse

PAUSE = 0.2
"""Seconds between two rounds: the machine is to be busy with what is read, not with reading."""
WINDOWS = """
SELECT
    coalesce(lower(l.window_range), found.begun)::text AS begun, l.version, l.content_hash, found.content_hash AS seen
FROM (
    SELECT
        date_bin(d.step, t.{moment}, d.first_window) AS begun,
        md5(concat_ws(
            ':', count(*),
            sum(hashtextextended(row(t.*)::text, 0)::numeric), sum(hashtextextended(row(t.*)::text, 1)::numeric)
        )) AS content_hash
    FROM {table} AS t
    CROSS JOIN control.datasets AS d
    WHERE
        d.dataset = %(dataset)s AND t.{moment} >= %(since)s
        -- Not the rest of a window that began before.
        AND date_bin(d.step, t.{moment}, d.first_window) >= %(since)s
    GROUP BY 1
) AS found
FULL JOIN (SELECT * FROM ops.window_ledger WHERE dataset = %(dataset)s AND lower(window_range) >= %(since)s) AS l
    ON lower(l.window_range) = found.begun
"""
"""One row a window that has rows or a ledger row: what the ledger says it holds, and what it holds."""


@dataclass
class Reads:
    """What was read, and what was wrong with it."""

    count: int = 0
    windows: int = 0
    torn: list[str] = field(default_factory=list)
    unknown: set[tuple[str, str, str]] = field(default_factory=set)
    """Dataset, begin and content of windows whose rows were there for one who began to look before they landed."""


class Reader:
    """A thread that reads each published table with its ledger rows in one snapshot, again and again."""

    def __init__(self, since: datetime) -> None:
        self.reads = Reads()
        self.since = since - timedelta(days=8)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read_on, name="reader", daemon=True)
        self._failure: BaseException | None = None

    def __enter__(self) -> Reads:
        self._thread.start()
        return self.reads

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)
        if self._failure:
            raise self._failure

    def _read_on(self) -> None:
        while not self._over.is_set():
            try:
                with closing(warehouse.connect("analyst")) as link:
                    link.set_session(isolation_level="REPEATABLE READ", readonly=True)
                    while not self._over.is_set():
                        for dataset in DATASETS.values():
                            windows(link, dataset, self.since, self.reads)
                        orders(link, self.reads)
                        time.sleep(PAUSE)
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                time.sleep(0.1)
            except BaseException as failure:
                self._failure = failure
                return


def windows(link: Connection, dataset: Dataset, since: datetime, reads: Reads) -> None:
    """Read the windows of a dataset once.

    The table is locked first, as any statement that reads it does, so that the snapshot is younger than the lock: what
    the ledger says then is what the table holds. A window may land between the two; then its rows are there, all of
    them, and its ledger row is not.
    """
    with link, link.cursor() as cursor:
        cursor.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(sql.Identifier("sales", dataset.name)))
        query = sql.SQL(WINDOWS).format(
            moment=sql.Identifier(dataset.moment), table=sql.Identifier("sales", dataset.name)
        )
        cursor.execute(query, {"dataset": dataset.name, "since": since})
        reads.count += 1
        for row in warehouse.fetch_all(cursor):
            reads.windows += 1
            if row.version is None:
                reads.unknown.add((dataset.name, row.begun, row.seen))
            elif row.seen != row.content_hash and not (row.seen is None and _is_empty(row.content_hash)):
                reads.torn.append(f"{dataset.name} {row.begun} version {row.version}")


def orders(link: Connection, reads: Reads) -> None:
    """Read the orders once: as many live ones as the checkpoint of the same snapshot says."""
    with link, link.cursor() as cursor:
        cursor.execute(
            "SELECT c.revision, c.live_rows, (SELECT count(*) FROM sales.orders WHERE deleted_at IS NULL) AS seen"
            " FROM ops.checkpoints AS c WHERE c.dataset = %s",
            (ORDERS,),
        )
        reads.count += 1
        for row in warehouse.fetch_all(cursor):
            if row.live_rows != row.seen:
                reads.torn.append(f"orders revision {row.revision}: {row.seen} of {row.live_rows} rows")


def _is_empty(content_hash: str) -> bool:
    return content_hash == EMPTY


EMPTY = hashlib.md5(b"0", usedforsecurity=False).hexdigest()
"""What ops.table_content says of no rows."""
