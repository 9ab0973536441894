"""Datasets that are loaded by their changes and have other keys than the orders, each with a source of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from psycopg2.extras import execute_values
from shopping import HOUR, run, shop

from highwater.environment import settings
from highwater.loading.changes import consistency
from highwater.loading.changes.consistency import Check
from highwater.loading.changes.increments import IncrementalPipeline
from highwater.store import ledger, warehouse
from highwater.store.checkpoints import Merged

STATEMENTS = {
    "source_state": (
        "SELECT pg_current_snapshot()::text AS snapshot, coalesce(%(now)s::timestamptz, now()) AS moment,"
        """ '{{"server": "1", "columns": {{}}}}'::jsonb AS identity, false AS is_rewritten, NULL::text AS flaw"""
    ),
    "xid_full": "SELECT {keys}, content, NULL::timestamptz AS deleted_at, now() AS changed_at FROM shop.{name}",
    "xid_changes": (
        "SELECT {keys}, content, NULL::timestamptz AS deleted_at, now() AS changed_at FROM shop.{name}"
        " WHERE changed_xid >= pg_snapshot_xmin(%(snapshot)s::pg_snapshot)"
        " AND NOT pg_visible_in_snapshot(changed_xid, %(snapshot)s::pg_snapshot)"
    ),
    "xid_as_of": (
        "SELECT {keys}, hash_record_extended(row({keys}, content), 0) AS fingerprint FROM shop.{name}"
        " WHERE pg_visible_in_snapshot(changed_xid, %(snapshot)s::pg_snapshot)"
    ),
    "published_as_of": (
        "SELECT {keys}, hash_record_extended(row({keys}, content), 0) AS fingerprint FROM sales.{name}"
        " WHERE deleted_at IS NULL"
    ),
    "changes_by_hour": "SELECT now() AS hour, 0 AS inserts, 0 AS updates, 0 AS deletes WHERE false",
    "clean": (
        "SELECT {keys}, content, deleted_at, CASE WHEN content = 'bad' THEN 'bad' END AS reason,"
        " to_jsonb(r) - 'changed_at' AS source_row FROM raw AS r"
    ),
}


@dataclass(frozen=True)
class Keyed:
    """A dataset by the names of its key's columns and their types at the source and in the warehouse."""

    name: str
    keys: Sequence[str]

    @property
    def increment(self) -> IncrementalPipeline:
        return IncrementalPipeline(self.name, self.name, "shop", "orders", "order_changes")

    def at_source(self, statement: str) -> None:
        with warehouse.session("simulator", settings.get().sources_database) as cursor:
            cursor.execute(statement.format(table=f"shop.{self.name}"))

    def tamper(self, statement: str, values: Any = None) -> None:
        """Change the published table behind everybody's back."""
        with warehouse.session("postgres") as cursor:
            cursor.execute(statement.replace("TABLE", f"sales.{self.name}"), values)

    def hold(self, keys: Sequence[tuple[Any, ...]]) -> None:
        """Source and target hold these keys, and the checkpoint has seen them."""
        columns = f"{', '.join(self.keys)}, content"
        rows = [(*key, "fine") for key in keys]
        for role, database, table in (
            ("simulator", settings.get().sources_database, "shop"),
            ("postgres", settings.get().warehouse_database, "sales"),
        ):
            with closing(warehouse.connect(role, database)) as link, link, link.cursor() as cursor:
                cursor.execute(f"TRUNCATE {table}.{self.name}")
                if rows:
                    execute_values(cursor, f"INSERT INTO {table}.{self.name} ({columns}) VALUES %s", rows)
        with shop() as source:
            source.execute("SELECT pg_current_snapshot()::text")
            snapshot = warehouse.fetch_value(source)
        with warehouse.session("postgres") as cursor:
            cursor.execute("DELETE FROM ops.consistency_checks WHERE dataset = %s", (self.name,))
            cursor.execute("DELETE FROM ops.checkpoints WHERE dataset = %s", (self.name,))
            cursor.execute(
                "INSERT INTO ops.checkpoints (dataset, watermark, source_snapshot, source_identity, live_rows, mode,"
                """ reason, updated_by, updated_at) VALUES (%s, now(), %s, '{"server": "1"}', %s, 'full', 'test',"""
                " 'test', now())",
                (self.name, snapshot, len(rows)),
            )

    def compare(self, *, incremental: bool = False) -> Check:
        """Compare all, or as a run does that found no change."""
        with warehouse.session("loader") as cursor:
            cursor.execute(
                "SELECT source_snapshot::text, watermark FROM ops.checkpoints WHERE dataset = %s", (self.name,)
            )
            snapshot, watermark = warehouse.fetch(cursor)
        since = Merged("merged", 0, 0, 0, "incremental", snapshot, watermark) if incremental else None
        with shop() as source, ledger.attempt(self.name, HOUR, "validate_consistency", run()):
            return consistency.compare(source, self.increment, run(), since)


@contextmanager
def keyed(folder: Path, name: str, at_source: dict[str, str], published: dict[str, str]) -> Iterator[Keyed]:
    """A dataset of that name with these key columns; its statements lie in a copy of sql/ in the folder."""
    dataset = Keyed(name, list(published))
    shutil.copytree(warehouse.SQL, folder, dirs_exist_ok=True)
    (folder / name).mkdir()
    for statement, text in STATEMENTS.items():
        (folder / name / f"{statement}.sql").write_text(text.format(name=name, keys=", ".join(published)))
    key = f"PRIMARY KEY ({', '.join(published)})"

    def columns(of: dict[str, str]) -> str:
        return ", ".join(f"{column} {kind} NOT NULL" for column, kind in of.items())

    dataset.at_source(
        f"CREATE TABLE {{table}} ({columns(at_source)}, content text NOT NULL,"
        f" changed_xid xid8 NOT NULL DEFAULT pg_current_xact_id(), {key});"
        f"CREATE INDEX {name}_by_change ON {{table}} (changed_xid);"
        "GRANT SELECT ON {table} TO shop_reader"
    )
    with warehouse.session("postgres") as cursor:
        cursor.execute("SET LOCAL ROLE publisher")
        cursor.execute(
            f"CREATE TABLE sales.{name} ({columns(published)}, content text NOT NULL, deleted_at timestamptz, {key})"
        )
        cursor.execute(f"GRANT SELECT ON sales.{name} TO loader, analyst")
        cursor.execute(
            "INSERT INTO control.datasets (dataset, dag_id, published_table, first_window, step, due_after, grid)"
            " VALUES (%s, 'incremental_data_processing', %s, '2026-10-30 00:00+00', '1 hour', '15 minutes',"
            " 'watermark')",
            (name, f"sales.{name}"),
        )
        cursor.execute("INSERT INTO control.known_sources VALUES (%s, 'a test')", (name,))
        cursor.execute(
            "INSERT INTO control.sources (dataset, source, keys_per_bucket, buckets_per_check) VALUES (%s, %s, 5, 1)",
            (name, name),
        )
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(warehouse, "SQL", folder)
            yield dataset
    finally:
        dataset.at_source("DROP TABLE {table}")
        with warehouse.session("postgres") as cursor:
            cursor.execute(f"DROP TABLE sales.{name}")
            cursor.execute("SELECT ops.drop_set(set_name) FROM ops.staging_sets WHERE dataset = %s", (name,))
            for table in (
                "quarantine.refused_keys",
                "quarantine.rejected_rows",
                "ops.consistency_checks",
                "ops.window_ledger",
                "ops.ledger_months",
                "ops.attempts",
                "ops.checkpoints",
                "control.sources",
                "control.datasets",
            ):
                cursor.execute(f"DELETE FROM {table} WHERE dataset = %s", (name,))
            cursor.execute("DELETE FROM control.known_sources WHERE source = %s", (name,))
