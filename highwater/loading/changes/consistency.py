"""Compare source and published table as of a checkpoint, while others write, and name the keys that differ.

Rows that changed at the source since the checkpoint's snapshot are left out on both sides. A full run compares all
rows: first the hashes of buckets of keys, then, in buckets that differ, row by row. An incremental run compares what it
changed, and a range of rows of each side with the other side. The ranges advance from run to run, in the key order of
their side and by its index, so keys may have any type and any distribution.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from highwater.loading.changes import increments, modes
from highwater.loading.changes.increments import IncrementalPipeline
from highwater.loading.changes.modes import INCREMENTAL
from highwater.model.errors import ConfigurationError, DataRejected
from highwater.store import checkpoints, warehouse
from highwater.store.checkpoints import Checkpoint, Merged, Rules, SourceState, newest_transaction
from highwater.store.ledger import Run

MAX_KEYS = 100
"""Number of differing keys that are named."""
MAX_BUCKETS = 10
"""Number of differing buckets that are compared row by row."""


@dataclass(frozen=True)
class Check:
    """The result of a comparison; times in UTC, by the warehouse's clock.

    ``keys``: those that differ and are not in quarantine; ``refused``: the number that differ because they are in
    quarantine. ``pending``: the number of changes at the source that have not landed, with the time of the oldest and
    the newest. ``next_after_source``, ``next_after_target``: the keys, as JSON arrays, after which the next comparison
    continues.
    """

    revision: int
    snapshot: str
    next_after_source: str | None
    next_after_target: str | None
    rows_compared: int
    keys: tuple[str, ...]
    refused: int
    pending: int
    oldest_pending: datetime | None
    newest_pending: datetime | None

    def sentence(self) -> str:
        """What was compared and what differs, in one line."""
        compared = f"{self.rows_compared:,} rows compared at {self.snapshot}"
        refused = f", {self.refused} keys in quarantine" if self.refused else ""
        if not self.keys:
            return f"{compared}: equal{refused}; {self.pending:,} newer changes are waiting"
        return f"{compared}: source and target differ in {len(self.keys)} keys: {', '.join(self.keys[:10])}{refused}"

    def overdue(self, now: datetime, limit: timedelta | None) -> timedelta | None:
        """The age of the oldest change that has not landed, if over the limit; else None."""
        if self.oldest_pending is None or limit is None or now - self.oldest_pending <= limit:
            return None
        return now - self.oldest_pending


def compare(source: Cursor, increment: IncrementalPipeline, run: Run, since: Merged | None = None) -> Check:
    """Compare at the current checkpoint, and store the result in ops.consistency_checks.

    Args:
        source: a cursor on the source, in one snapshot.
        increment: the dataset.
        run: the run that compares.
        since: what the run merged; for None or a full run, every row is compared.

    Raises:
        ConfigurationError: there is no checkpoint to compare at.
        DataRejected: the source is not the checkpoint's.
        SourceMoved: a table of the source was rewritten while it was read.
    """
    with closing(warehouse.connect("loader")) as link, link, link.cursor() as target:
        link.set_session(isolation_level="REPEATABLE READ")
        checkpoint = checkpoints.read(target, increment.dataset)
        if checkpoint is None or checkpoint.snapshot is None or checkpoint.identity is None:
            raise ConfigurationError(f"{increment.dataset} has no checkpoint to compare at: a full run makes one")
        rules = checkpoints.rules(target, increment.dataset)
        state = checkpoints.source_state(source, increment.folder, rules.strategy)
        _refuse_another_source(increment, checkpoint, state)
        check = _Comparison(source, target, increment, checkpoint, rules).check(since, state)
        checkpoints.assert_unmoved(source, increment.folder, state)
        _store(target, increment.dataset, check, run)
    return check


def readable(key: str) -> str:
    """A key for display: its value, or the JSON array if it has several."""
    values = json.loads(key)
    return str(values[0]) if len(values) == 1 else key


def _refuse_another_source(increment: IncrementalPipeline, checkpoint: Checkpoint, state: SourceState) -> None:
    what = modes.which_source_differs(checkpoint.identity or {}, state.identity)
    seen, there = newest_transaction(str(checkpoint.snapshot)), newest_transaction(state.snapshot)
    if not what and seen > there:
        what = f"it is at transaction {there}, the checkpoint at {seen}"
    if what:
        raise DataRejected(
            f"the source of {increment.dataset} is not the checkpoint's: {what}; nothing was compared, the next run"
            " decides by the new state"
        )


class _Comparison:
    """One comparison: two cursors, each in one snapshot.

    It uses temporary tables of the warehouse. ``at_source`` and ``at_target`` hold keys, typed as in the published
    table, with the hash of the row and its position in reading order; ``moving`` the keys that changed since the
    checkpoint; ``unequal`` the keys that differ.
    """

    def __init__(
        self, source: Cursor, target: Cursor, increment: IncrementalPipeline, checkpoint: Checkpoint, rules: Rules
    ) -> None:
        self.source, self.target, self.increment, self.checkpoint = source, target, increment, checkpoint
        self.rules = rules
        target.execute(
            "SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type"
            " FROM control.datasets AS d CROSS JOIN LATERAL unnest(ops.primary_key_of(d.published_table))"
            " WITH ORDINALITY AS k (name, place) JOIN pg_attribute AS a"
            " ON a.attrelid = d.published_table::regclass AND a.attname = k.name WHERE d.dataset = %s ORDER BY k.place",
            (increment.dataset,),
        )
        known = warehouse.fetch_all(target)
        names = [sql.Identifier(column.name).as_string(target) for column in known]
        self.types: list[str] = [column.type for column in known]
        typed = [f"r.{name}::{kind}" for name, kind in zip(names, self.types, strict=True)]
        self.columns = ", ".join(names)
        self.prefixed = ", ".join(f"r.{name}" for name in names)
        self.cast = ", ".join(f"{value} AS {name}" for value, name in zip(typed, names, strict=True))
        # The same expression as ops.key_expression.
        self.text = "jsonb_build_array(" + ", ".join(f"to_jsonb({value}) #>> '{{}}'" for value in typed) + ")::text"
        self.same_key = " AND ".join(f"m.{name} = r.{name}" for name in names)

    def check(self, since: Merged | None, state: SourceState) -> Check:
        self._make_tables()
        pending = self._fill_moving()
        after: tuple[str | None, str | None] = (None, None)
        if since is None or since.mode != INCREMENTAL:
            rows = self._compare_all()
        else:
            rows, after = self._compare_some(since)
        wrong, refused = self._judge()
        self.target.execute("SELECT ops.clock()")
        # The clocks of source and warehouse may differ.
        ahead = warehouse.fetch_value(self.target) - state.moment
        return Check(
            revision=self.checkpoint.revision,
            snapshot=str(self.checkpoint.snapshot),
            next_after_source=after[0],
            next_after_target=after[1],
            rows_compared=rows,
            keys=tuple(map(readable, wrong[:MAX_KEYS])),
            refused=refused,
            pending=pending.count,
            oldest_pending=pending.oldest and pending.oldest + ahead,
            newest_pending=pending.newest and pending.newest + ahead,
        )

    def _make_tables(self) -> None:
        self.target.execute(
            "SELECT published_table FROM control.datasets WHERE dataset = %s", (self.increment.dataset,)
        )
        published = sql.Identifier(*warehouse.fetch_value(self.target).split(".")).as_string(self.target)
        hashed = f"{self.columns}, 0::bigint AS fingerprint, 0::bigint AS read_position"
        compared = f"SELECT {hashed} FROM {published} WHERE false"  # noqa: S608
        for name in ("at_source", "at_target"):
            self.target.execute(f"CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS {compared}")
        for name in ("moving", "unequal"):
            self.target.execute(
                f"CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS SELECT {self.columns} FROM {published} WHERE false"  # noqa: S608
            )

    def _fill_moving(self) -> Any:
        """Fill ``moving`` with the keys that changed since the checkpoint; returns their number and times."""
        name, parameters = increments.changes_since(self.increment, self.rules, self.checkpoint, overlap=timedelta(0))
        query = warehouse.bind(self.source, name, parameters)
        keys = f"SELECT {self.cast} FROM ({query}) AS r"  # noqa: S608
        warehouse.copy_stream(self.source, keys, self.target, sql.Identifier("moving"))
        self.target.execute("ANALYZE moving")
        self.source.execute(
            f"SELECT count(*), min(changed_at) AS oldest, max(changed_at) AS newest FROM ({query}) AS c"  # noqa: S608
        )
        return warehouse.fetch(self.source)

    def _compare_all(self) -> int:
        """Compare every row; returns the source's number. A difference stays hidden with a probability of 2^-64."""
        self.target.execute("SELECT live_rows FROM ops.checkpoints WHERE dataset = %s", (self.increment.dataset,))
        wanted = -(-warehouse.fetch_value(self.target) // self.rules.keys_per_bucket)
        bucket = f"(hashtextextended({self.text}, 0) & {(1 << max(0, wanted - 1).bit_length()) - 1})"
        at_source, at_target = (self._digest(cursor, bucket) for cursor in (self.source, self.target))
        numbers = sorted({*at_source, *at_target})
        differing = [number for number in numbers if at_source.get(number) != at_target.get(number)]
        if differing:
            among = f"WHERE {bucket} IN ({', '.join(map(str, differing[:MAX_BUCKETS]))})"
            self._fill_source(among)
            self._fill_target(among)
            self._collect()
        return sum(count for count, _ in at_source.values())

    def _digest(self, cursor: Cursor, bucket: str) -> dict[int, tuple[int, Any]]:
        """Number of rows and sum of hashes of each bucket, on one side."""
        cursor.execute(
            f"SELECT {bucket} AS bucket, count(*) AS row_count,"  # noqa: S608
            # Hashed again: a fingerprint is linear in its values, so a plain sum of them would be as well.
            " sum(hashint8extended(r.fingerprint, 0)::numeric) AS hash"
            f" FROM ({self._rows(cursor)}) AS r GROUP BY 1"
        )
        return {row.bucket: (row.row_count, row.hash) for row in warehouse.fetch_all(cursor)}

    def _compare_some(self, since: Merged) -> tuple[int, tuple[str | None, str | None]]:
        """Compare what a run changed and a range of each side; returns the number of rows and where the ranges end."""
        most = self.rules.keys_per_bucket * self.rules.buckets_per_check
        self.target.execute(
            "SELECT next_after_source, next_after_target FROM ops.consistency_checks WHERE dataset = %s"
            " ORDER BY check_id DESC LIMIT 1",
            (self.increment.dataset,),
        )
        last = warehouse.fetch(self.target)
        after_source, after_target = (last.next_after_source, last.next_after_target) if last else (None, None)
        rows = self._fill_source(self._range_after(self.source, after_source, most))
        self._fill_target(f"JOIN at_source AS m ON {self.same_key}")
        after_source = self._last_of("at_source") if rows == most else None
        self._collect()

        read = self._fill_target(self._range_after(self.target, after_target, most))
        self.target.execute(f"SELECT {self.text} AS key FROM at_target AS r")  # noqa: S608
        self._fill_source(self._among(self.source, [row.key for row in warehouse.fetch_all(self.target)]))
        after_target = self._last_of("at_target") if read == most else None
        self._collect()

        changed = self._changed_since(since, most)
        self._fill_source(self._among(self.source, changed))
        self._fill_target(self._among(self.target, changed))
        self._collect()
        return rows + len(changed), (after_source, after_target)

    def _rows(self, cursor: Cursor) -> str:
        """The query for the keys and hashes of one side's rows, as of the checkpoint."""
        side = f"{self.rules.strategy}_as_of" if cursor is self.source else "published_as_of"
        values = {"snapshot": self.checkpoint.snapshot, "watermark": self.checkpoint.watermark}
        query = warehouse.bind(cursor, f"{self.increment.folder}/{side}.sql", values)
        if cursor is self.source:
            return query
        return f"SELECT * FROM ({query}) AS r WHERE NOT EXISTS (SELECT FROM moving AS m WHERE {self.same_key})"  # noqa: S608

    def _fill_source(self, which: str) -> int:
        self.target.execute("TRUNCATE at_source")
        return warehouse.copy_stream(
            self.source, self._numbered(self.source, which), self.target, sql.Identifier("at_source")
        )

    def _fill_target(self, which: str) -> int:
        self.target.execute("TRUNCATE at_target")
        self.target.execute(f"INSERT INTO at_target {self._numbered(self.target, which)}")
        return int(self.target.rowcount)

    def _numbered(self, cursor: Cursor, which: str) -> str:
        return (
            "SELECT n.*, row_number() OVER () AS read_position"  # noqa: S608
            f" FROM (SELECT {self.cast}, r.fingerprint::bigint AS fingerprint"
            f" FROM ({self._rows(cursor)}) AS r {which}) AS n"
        )

    def _range_after(self, cursor: Cursor, after: str | None, most: int) -> str:
        """The next rows after a key, in the order of that side, whose collation may differ from the other's."""
        behind = ""
        values = self._key(after)
        if values is not None:
            literals = ", ".join(["%s"] * len(self.types))
            behind = cursor.mogrify(f"WHERE ({self.prefixed}) > ({literals})", values).decode()
        return f"{behind} ORDER BY {self.prefixed} LIMIT {most}"

    def _key(self, written: str | None) -> list[str] | None:
        """The values of a key stored by an earlier comparison; None, to start over, if it does not fit the columns."""
        try:
            values = json.loads(written or "null")
        except ValueError:
            return None
        if (
            not isinstance(values, list)
            or len(values) != len(self.types)
            or not all(isinstance(v, str) for v in values)
        ):
            return None
        self.target.execute(
            "SELECT bool_and(pg_input_is_valid(k.value, k.type))"
            " FROM unnest(%s::text[], %s::text[]) AS k (value, type)",
            (values, self.types),
        )
        return values if warehouse.fetch_value(self.target) else None

    def _among(self, cursor: Cursor, keys: Sequence[str]) -> str:
        """The rows of these keys; by arrays, so that an index serves any number of them."""
        values = [list(column) for column in zip(*map(json.loads, keys), strict=True)] or [[] for _ in self.types]
        arrays = ", ".join(f"%s::text[]::{kind}[]" for kind in self.types)
        if len(self.types) == 1:
            return cursor.mogrify(f"WHERE {self.prefixed} = ANY({arrays})", values).decode()
        return cursor.mogrify(f"WHERE ({self.prefixed}) IN (SELECT * FROM unnest({arrays}))", values).decode()  # noqa: S608

    def _last_of(self, table: str) -> str | None:
        self.target.execute(f"SELECT {self.text} FROM {table} AS r ORDER BY read_position DESC LIMIT 1")  # noqa: S608
        return str(warehouse.fetch_value(self.target))

    def _collect(self) -> None:
        """Add the keys that only one of ``at_source`` and ``at_target`` has, or that differ, to ``unequal``."""
        self.target.execute(
            f"INSERT INTO unequal SELECT {self.columns} FROM at_source AS t"  # noqa: S608
            f" FULL JOIN at_target AS h USING ({self.columns}, fingerprint)"
            " WHERE t.read_position IS NULL OR h.read_position IS NULL"
        )

    def _changed_since(self, base: Merged, most: int) -> list[str]:
        """The keys that the run merged, at most ``most``."""
        was = replace(self.checkpoint, snapshot=base.base_snapshot, watermark=base.base_watermark)
        query = warehouse.bind(self.source, *increments.changes_since(self.increment, self.rules, was))
        self.source.execute(f"SELECT {self.text} AS key FROM ({query}) AS r LIMIT {most}")  # noqa: S608
        return [row.key for row in warehouse.fetch_all(self.source)]

    def _judge(self) -> tuple[list[str], int]:
        """The differing keys in order, and the number that differ only because their row is in quarantine."""
        self.target.execute(
            f"SELECT u.key, EXISTS (SELECT FROM quarantine.refused_keys AS q WHERE q.dataset = %s AND q.key = u.key)"  # noqa: S608
            f" AS is_refused FROM (SELECT DISTINCT {self.columns}, {self.text} AS key FROM unequal AS r) AS u"
            f" ORDER BY {self.columns}",
            (self.increment.dataset,),
        )
        found = warehouse.fetch_all(self.target)
        return [row.key for row in found if not row.is_refused], sum(row.is_refused for row in found)


def _store(cursor: Cursor, dataset: str, check: Check, run: Run) -> None:
    cursor.execute(
        "SELECT ops.record_consistency_check(%s, %s, %s, %s, %s, %s, %s, %s, %s::text[], %s, %s, %s, %s)",
        (
            dataset,
            check.revision,
            run.dag_id,
            run.run_id,
            check.snapshot,
            check.next_after_source,
            check.next_after_target,
            check.rows_compared,
            list(check.keys),
            check.refused,
            check.pending,
            check.oldest_pending,
            check.newest_pending,
        ),
    )
