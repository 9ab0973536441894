"""Compare source and published table as of a checkpoint, whoever writes meanwhile, and name the keys that differ.

Rows that changed at the source since the checkpoint's snapshot are left out on both sides. What a run changed is
compared key by key; of the rest a few buckets of neighbouring keys by their hashes, going round from run to run.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from highwater import checkpoints, increments, warehouse
from highwater.checkpoints import Checkpoint, Merged, Rules
from highwater.errors import ConfigurationError
from highwater.increments import Increment
from highwater.ledger import Run
from highwater.modes import INCREMENTAL

EVERYTHING = 2**62
"""Beyond the largest key."""
MOST_KEYS = 100
"""So many differing keys are named."""
MOST_BUCKETS = 10
"""So many differing buckets are looked into."""


@dataclass(frozen=True)
class Check:
    """What a comparison saw; times in UTC.

    ``keys``: those that differ and are not in quarantine; ``refused``: how many differ because they are. ``pending``:
    changes at the source that have not landed, the oldest and the newest of them by the time they say.
    """

    revision: int
    snapshot: str
    buckets_compared: int
    next_bucket: int
    rows_compared: int
    buckets: tuple[int, ...]
    keys: tuple[str, ...]
    refused: int
    pending: int
    oldest_pending: datetime | None
    newest_pending: datetime | None

    def sentence(self) -> str:
        """One line: what was compared, and what differs."""
        compared = f"{self.rows_compared:,} rows in {self.buckets_compared} buckets compared at {self.snapshot}"
        refused = f", {self.refused} keys in quarantine" if self.refused else ""
        if not self.keys:
            return f"{compared}: equal{refused}; {self.pending:,} newer changes are waiting"
        return (
            f"{compared}: source and target differ in buckets {', '.join(map(str, self.buckets))}, "
            f"{len(self.keys)} keys: {', '.join(self.keys[:10])}{refused}"
        )

    def overdue(self, now: datetime, limit: timedelta | None) -> timedelta | None:
        """How old the oldest change is that has not landed, if that is more than the limit; else None."""
        if self.oldest_pending is None or limit is None or now - self.oldest_pending <= limit:
            return None
        return now - self.oldest_pending


def compare(source: Cursor, increment: Increment, run: Run, since: Merged | None = None) -> Check:
    """Compare at the present checkpoint, and store the result in ops.consistency_checks.

    Args:
        source: a cursor on the source, in one snapshot.
        increment: the dataset.
        run: for whom.
        since: what the run merged; None, or a full run, compares every bucket.

    Raises:
        ConfigurationError: there is no checkpoint to compare at.
    """
    with closing(warehouse.connect("loader")) as link, link, link.cursor() as target:
        link.set_session(isolation_level="REPEATABLE READ")
        checkpoint = checkpoints.read(target, increment.dataset)
        if checkpoint is None or checkpoint.snapshot is None:
            raise ConfigurationError(f"{increment.dataset} has no checkpoint to compare at: a full run makes one")
        check = _Comparison(source, target, increment, checkpoint).check(since)
        _store(target, increment.dataset, check, run)
    return check


class _Comparison:
    """One comparison: two cursors, each in one snapshot."""

    def __init__(self, source: Cursor, target: Cursor, increment: Increment, checkpoint: Checkpoint) -> None:
        self.source, self.target, self.increment, self.checkpoint = source, target, increment, checkpoint
        self.rules: Rules = checkpoints.rules(target, increment.dataset)
        target.execute(
            "SELECT published_table, (ops.primary_key_of(published_table))[1] AS key"
            " FROM control.datasets WHERE dataset = %s",
            (increment.dataset,),
        )
        known = warehouse.fetch(target)
        self.published: str = known.published_table
        self.key: str = known.key

    def check(self, since: Merged | None) -> Check:
        pending = self._set_moving_aside()
        first, last, following = self._turn(everything=since is None or since.mode != INCREMENTAL)
        width = self.rules.keys_per_bucket
        there, here = (self._digest(cursor, first, last) for cursor in (self.source, self.target))
        differing = sorted(bucket for bucket in {*there, *here} if there.get(bucket) != here.get(bucket))
        keys: set[int] = set()
        for bucket in differing[:MOST_BUCKETS]:
            keys |= self._differing(first_key=bucket * width, end_key=(bucket + 1) * width)
        rows = sum(count for count, _ in there.values())
        if since is not None and since.mode == INCREMENTAL:
            changed = self._changed_since(since)
            keys |= self._differing(keys=changed)
            rows += len(changed)
        refused = self._refused(keys)
        wrong = sorted(keys - refused)[:MOST_KEYS]
        return Check(
            revision=self.checkpoint.revision,
            snapshot=str(self.checkpoint.snapshot),
            buckets_compared=last - first,
            next_bucket=following,
            rows_compared=rows,
            buckets=tuple(sorted({key // width for key in wrong})),
            keys=tuple(map(str, wrong)),
            refused=len(refused),
            pending=pending.count,
            oldest_pending=pending.oldest,
            newest_pending=pending.newest,
        )

    def _set_moving_aside(self) -> Any:
        """Fill the temporary table ``moving`` with the keys that changed since the checkpoint; counts them."""
        name, parameters = increments.changes_since(self.increment, self.rules, self.checkpoint, overlap=timedelta(0))
        query = warehouse.bind(self.source, name, parameters)
        self.target.execute("CREATE TEMPORARY TABLE moving (key bigint PRIMARY KEY) ON COMMIT DROP")
        keys = sql.SQL("SELECT {} FROM ({}) AS c").format(sql.Identifier(self.key), sql.SQL(query))
        warehouse.copy_stream(self.source, keys.as_string(self.source), self.target, sql.Identifier("moving"))
        self.target.execute("ANALYZE moving")
        self.source.execute(
            f"SELECT count(*), min(changed_at) AS oldest, max(changed_at) AS newest FROM ({query}) AS c"  # noqa: S608
        )
        return warehouse.fetch(self.source)

    def _turn(self, *, everything: bool) -> tuple[int, int, int]:
        """The buckets whose turn it is, [first, last), and where the next comparison goes on."""
        self.source.execute(f"SELECT coalesce(max(key), 0) FROM ({self._rows(self.source)}) AS r")  # noqa: S608
        # straight from the index: leaving out what is on the move would read the whole table
        self.target.execute(f"SELECT coalesce(max({self.key}), 0) FROM {self.published}")  # noqa: S608
        top = max(warehouse.fetch_value(cursor) for cursor in (self.source, self.target))
        count = top // self.rules.keys_per_bucket + 1
        if everything or count <= self.rules.buckets_per_check:
            return 0, count, 0
        self.target.execute(
            "SELECT next_bucket FROM ops.consistency_checks WHERE dataset = %s ORDER BY check_id DESC LIMIT 1",
            (self.increment.dataset,),
        )
        former = warehouse.fetch(self.target)
        first = former.next_bucket % count if former else 0
        last = min(first + self.rules.buckets_per_check, count)
        return first, last, last % count

    def _rows(
        self, cursor: Cursor, first_key: int = 0, end_key: int = EVERYTHING, keys: list[int] | None = None
    ) -> str:
        """The query for key and hash of the rows of one side, as of the checkpoint."""
        side = f"{self.rules.strategy}_as_of" if cursor is self.source else "published_as_of"
        values = {"first_key": first_key, "end_key": end_key, "keys": keys}
        values |= {"snapshot": self.checkpoint.snapshot, "watermark": self.checkpoint.watermark}  # type: ignore[dict-item]
        return warehouse.bind(cursor, f"{self.increment.folder}/{side}.sql", values)

    def _digest(self, cursor: Cursor, first: int, last: int) -> dict[int, tuple[int, Any]]:
        """Rows and sum of hashes of each bucket of one side."""
        width = self.rules.keys_per_bucket
        rows = self._rows(cursor, first * width, last * width)
        cursor.execute(
            f"SELECT key / {width} AS bucket, count(*) AS row_count, sum(fingerprint::numeric) AS hash"  # noqa: S608
            f" FROM ({rows}) AS r GROUP BY bucket"
        )
        return {row.bucket: (row.row_count, row.hash) for row in warehouse.fetch_all(cursor)}

    def _differing(self, **which: Any) -> set[int]:
        """The keys that only one side has, or that differ."""
        self.target.execute("CREATE TEMPORARY TABLE there (key bigint, fingerprint bigint) ON COMMIT DROP")
        warehouse.copy_stream(self.source, self._rows(self.source, **which), self.target, sql.Identifier("there"))
        self.target.execute(
            "SELECT key FROM there AS t FULL JOIN"  # noqa: S608
            f" ({self._rows(self.target, **which)}) AS here USING (key, fingerprint)"
            " WHERE t IS NULL OR here IS NULL GROUP BY key"
        )
        keys = {row.key for row in warehouse.fetch_all(self.target)}
        self.target.execute("DROP TABLE there")
        return keys

    def _changed_since(self, base: Merged) -> list[int]:
        """The keys that the run brought, at most as many as it compares in buckets."""
        was = replace(self.checkpoint, snapshot=base.base_snapshot, watermark=base.base_watermark)
        query = warehouse.bind(self.source, *increments.changes_since(self.increment, self.rules, was))
        most = self.rules.keys_per_bucket * self.rules.buckets_per_check
        self.source.execute(f"SELECT {self.key} FROM ({query}) AS c LIMIT {most}")  # noqa: S608
        return [row[0] for row in self.source.fetchall()]

    def _refused(self, keys: set[int]) -> set[int]:
        """Those of the keys whose state at the source is in quarantine."""
        self.target.execute(
            "SELECT key FROM quarantine.refused_keys WHERE dataset = %s AND key = ANY(%s)",
            (self.increment.dataset, [str(key) for key in keys]),
        )
        return {int(row.key) for row in warehouse.fetch_all(self.target)}


def _store(cursor: Cursor, dataset: str, check: Check, run: Run) -> None:
    cursor.execute(
        "SELECT ops.record_consistency_check(%s, %s, %s, %s, %s, %s, %s, %s, %s::bigint[], %s::text[], %s, %s, %s, %s)",
        (
            dataset,
            check.revision,
            run.dag_id,
            run.run_id,
            check.snapshot,
            check.buckets_compared,
            check.next_bucket,
            check.rows_compared,
            list(check.buckets),
            list(check.keys),
            check.refused,
            check.pending,
            check.oldest_pending,
            check.newest_pending,
        ),
    )
