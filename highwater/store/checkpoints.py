"""Checkpoints: how far a dataset has come, how its source is read, and merging changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import Json

from highwater.model import clock
from highwater.model.errors import ConfigurationError, SourceMoved
from highwater.model.windows import Window
from highwater.store import ledger, statements, warehouse
from highwater.store.ledger import Run
from highwater.store.publish import in_words, retry_when_busy


@dataclass(frozen=True)
class Checkpoint:
    """A row of ops.checkpoints; after a reset it has no watermark, snapshot or identity."""

    revision: int
    watermark: datetime | None
    snapshot: str | None
    identity: Mapping[str, Any] | None
    mode: str
    reason: str
    last_full_at: datetime | None
    updated_by: str


@dataclass(frozen=True)
class Rules:
    """The row of control.sources for a dataset: how to read its source, and what to do when something is wrong."""

    strategy: str
    overlap: timedelta
    reconcile_every: timedelta
    max_changes: int
    on_replaced_source: str
    on_changed_schema: str
    on_large_change_set: str
    keys_per_bucket: int
    buckets_per_check: int
    full_run_wanted: str | None


@dataclass(frozen=True)
class SourceState:
    """The state of a source in one snapshot: the snapshot, the time there (UTC), and the identity of the source.

    ``flaw``: why not every change is certain to be marked with its transaction; None if it is.
    """

    snapshot: str
    moment: datetime
    identity: Mapping[str, Any]
    flaw: str | None = None


@dataclass(frozen=True)
class Changes:
    """A staged change set: its name, what it was read from, and the checkpoint that it continues.

    Its window is from the end of what landed to the moment of the snapshot; ``by_hour`` counts the changes.
    """

    name: str
    mode: str
    reason: str
    accept: bool
    base_revision: int
    base_snapshot: str | None
    snapshot: str
    identity: Mapping[str, Any]
    window_start: datetime
    window_end: datetime
    rows: int
    by_hour: list[dict[str, Any]]
    rejected: int = 0
    deduplicated: int = 0
    full_run_wanted: str | None = None
    """The reason of a request for a full run that this run fulfils."""

    @property
    def window(self) -> Window:
        """From the old watermark to the new one."""
        return Window(self.window_start, self.window_end)


@dataclass(frozen=True)
class Merged:
    """What a change set did to the published table (see ops.merge_changes); it was read from ``base_snapshot`` on."""

    outcome: str
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    mode: str
    base_snapshot: str | None
    base_watermark: datetime


def read(cursor: Cursor, dataset: str) -> Checkpoint | None:
    """The checkpoint of a dataset; None before the first."""
    cursor.execute(
        "SELECT revision, watermark, source_snapshot::text AS snapshot, source_identity AS identity, mode, reason,"
        " last_full_at, updated_by FROM ops.checkpoints WHERE dataset = %s",
        (dataset,),
    )
    row = warehouse.fetch(cursor)
    return warehouse.as_dataclass(Checkpoint, row) if row else None


def rules(cursor: Cursor, dataset: str) -> Rules:
    """How the source of a dataset is read.

    Raises:
        ConfigurationError: control.sources has no row for it.
    """
    cursor.execute(
        "SELECT strategy, overlap, reconcile_every, max_changes, on_replaced_source, on_changed_schema,"
        " on_large_change_set, keys_per_bucket, buckets_per_check, full_run_wanted"
        " FROM control.sources WHERE dataset = %s AND strategy <> 'windows'",
        (dataset,),
    )
    row = warehouse.fetch(cursor)
    if row is None:
        raise ConfigurationError(f"dataset {dataset!r} has no row in control.sources: it is not loaded by its changes")
    return warehouse.as_dataclass(Rules, row)


def source_state(source: Cursor, folder: str, strategy: str) -> SourceState:
    """The state of the source in the cursor's snapshot, by ``sql/<folder>/source_state.sql``.

    Raises:
        SourceMoved: a table was rewritten, truncated or replaced since the snapshot, which then lacks its rows.
    """
    row = statements.ask_one(source, f"{folder}/source_state.sql", {"now": clock.frozen()})
    if row.is_rewritten:
        raise SourceMoved(
            f"a table of sql/{folder}/source_state.sql was rewritten, truncated or replaced while it was read: "
            "try again"
        )
    return SourceState(row.snapshot, row.moment, {**row.identity, "strategy": strategy}, row.flaw)


def assert_unmoved(source: Cursor, folder: str, before: SourceState) -> None:
    """Check after the read, and so under its locks, that the source is still the same.

    A statement that waited for a lock reads the table as it is afterwards, by an older snapshot: of a table that was
    rewritten or truncated meanwhile it sees no rows.

    Raises:
        SourceMoved: it is not the same.
    """
    now = source_state(source, folder, before.identity["strategy"])
    if now.identity != before.identity:
        raise SourceMoved(f"the source changed while it was read: {in_what(before.identity, now.identity)}; try again")


def in_what(old: Mapping[str, Any], new: Mapping[str, Any], names: Sequence[str] | None = None) -> str:
    """The differences in words: ``note (text) added, amount is text, was numeric, currency dropped``, or empty."""
    words = []
    for name in sorted({*old, *new}) if names is None else names:
        if name not in old and name in new:
            words.append(f"{name} ({new[name]}) added")
        elif name in old and name not in new:
            words.append(f"{name} dropped")
        elif old.get(name) == new.get(name):
            continue
        elif isinstance(old[name], Mapping) and isinstance(new[name], Mapping):
            words.append(f"{name}: {in_what(old[name], new[name])}")
        else:
            words.append(f"{name} is {new[name]}, was {old[name]}")
    return ", ".join(words)


def newest_transaction(snapshot: str) -> int:
    """The xmax of a pg_snapshot: the first transaction that had not begun."""
    return int(snapshot.split(":")[1])


def landed_until(cursor: Cursor, dataset: str) -> datetime:
    """Where the next window begins: the end of the newest one that landed, else the start of the grid."""
    cursor.execute(
        "SELECT coalesce(max(upper(l.window_range)), d.first_window) AS moment FROM control.datasets AS d"
        " LEFT JOIN ops.window_ledger AS l USING (dataset) WHERE d.dataset = %s GROUP BY d.first_window",
        (dataset,),
    )
    moment: datetime = warehouse.fetch_value(cursor)
    return moment


def max_lag(cursor: Cursor, dataset: str) -> timedelta | None:
    """How old a change of the dataset may become before it lands; None without a limit."""
    cursor.execute("SELECT max_lag FROM control.datasets WHERE dataset = %s", (dataset,))
    limit: timedelta | None = warehouse.fetch_value(cursor)
    return limit


@retry_when_busy
def merge(dataset: str, changes: Changes, run: Run) -> Merged:
    """Merge a set, move the checkpoint on and write the ledger row, in one transaction.

    Raises:
        DataRejected: the checkpoint has moved, the counts don't add up, or too many rows would be deleted.
        Busy: another session held the tables for too long.
    """
    with in_words(), warehouse.session("loader") as cursor:
        cursor.execute(
            "SELECT m.outcome, m.rows_inserted, m.rows_updated, m.rows_deleted FROM ops.merge_changes("
            "%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) AS m",
            (
                dataset,
                ledger.as_range(changes.window),
                changes.name,
                changes.mode,
                changes.reason,
                changes.base_revision,
                changes.base_snapshot,
                changes.snapshot,
                Json(changes.identity),
                changes.accept,
                run.dag_id,
                run.run_id,
                changes.full_run_wanted,
            ),
        )
        row = warehouse.fetch(cursor)
        return Merged(
            row.outcome,
            row.rows_inserted,
            row.rows_updated,
            row.rows_deleted,
            changes.mode,
            changes.base_snapshot,
            changes.window_start,
        )


def assert_resettable(cursor: Cursor, dataset: str) -> None:
    """Check that `reset` would not be refused, before a person is prompted.

    Raises:
        DataRejected: there is no checkpoint; with the message of `reset`.
    """
    with in_words():
        cursor.execute("SELECT ops.assert_resettable(%s)", (dataset,))


def reset(dataset: str, by: str, reason: str) -> int:
    """Reset the checkpoint of a dataset, so that its next run is a full one; returns the new revision.

    Raises:
        DataRejected: there is no checkpoint.
    """
    with in_words(), warehouse.session("operator") as cursor:
        cursor.execute("SELECT ops.reset_checkpoint(%s, %s, %s)", (dataset, by, reason))
        return int(warehouse.fetch_value(cursor))


def status(cursor: Cursor, dataset: str) -> dict[str, Any]:
    """The row of ops.checkpoint_status.

    Raises:
        ConfigurationError: it is not a dataset that is loaded by its changes; lists those that are.
    """
    cursor.execute("SELECT * FROM ops.checkpoint_status WHERE dataset = %s", (dataset,))
    row = warehouse.fetch(cursor)
    if row is None:
        cursor.execute("SELECT string_agg(dataset, ', ' ORDER BY dataset) FROM ops.checkpoint_status")
        known = warehouse.fetch_value(cursor)
        raise ConfigurationError(f"{dataset!r} is not a dataset that is loaded by its changes: expected one of {known}")
    return dict(row._asdict())


def moves(cursor: Cursor, dataset: str, most: int) -> list[dict[str, Any]]:
    """The latest changes of its checkpoint, by whom and why, newest first."""
    cursor.execute(
        "SELECT h.recorded_at, h.revision, h.change, h.login, c.mode, c.reason, c.updated_by, c.watermark,"
        " c.rows_inserted, c.rows_updated, c.rows_deleted"
        " FROM ops.checkpoint_history AS h, jsonb_populate_record(NULL::ops.checkpoints, h.state) AS c"
        " WHERE h.dataset = %s ORDER BY h.recorded_at DESC LIMIT %s",
        (dataset, most),
    )
    return [dict(row._asdict()) for row in warehouse.fetch_all(cursor)]
