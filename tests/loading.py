"""Carries a day through the engine's own stages, without Airflow around them: for tests of what lies beneath."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from psycopg2.extensions import cursor as Cursor

from highwater.environment import credentials, settings
from highwater.loading import staging
from highwater.model.windows import Window
from highwater.store import ledger, links, publish, warehouse
from highwater.store.ledger import Run
from highwater.store.links import Known
from highwater.store.publish import Landed, Staged

DATASET, FOLDER = "daily_sales", "historical_sales_migration"
OTHER_QUANTITY = (
    "UPDATE legacy.sales SET quantity = quantity + 1, discount = 0"
    " WHERE business_date = '2026-10-05' AND quantity > 0 AND unit_price >= discount AND till_no = 3"
)


def day(text: str) -> Window:
    """The window of a day, ``2026-10-05``."""
    start = datetime.combine(date.fromisoformat(text), datetime.min.time(), tzinfo=UTC)
    return Window(start, start + timedelta(days=1))


def run(name: str = "a") -> Run:
    """A run by that name."""
    return Run("historical_sales_migration", f"run {name}")


def stage(window: Window) -> Staged:
    """Extract and clean the window into a set of its own."""
    with closing(warehouse.connect("legacy_reader", settings.get().sources_database)) as source:
        with warehouse.session("loader") as target, source.cursor() as reader:
            name = staging.new_set(target, DATASET, window, run())
            base = ledger.version(target, DATASET, window)
            rows = staging.extract(reader, target, FOLDER, name, window)
        with warehouse.session("loader") as target:
            cleaned = staging.clean(target, FOLDER, name, window)
    staged = Staged(name, rows, base, "snapshot")
    return replace(staged, deduplicated=cleaned.rows_deduplicated, rejected=cleaned.rows_rejected)


def land(window: Window, by: str = "a") -> Landed:
    """Stage the window and publish it."""
    return publish.publish_window(DATASET, window, stage(window), run(by))


def landed(cursor: Cursor) -> list[tuple[str, int, str]]:
    """Day, version and content hash of every ledger row."""
    cursor.execute(
        "SELECT lower(window_range)::date::text, version, content_hash FROM ops.window_ledger ORDER BY window_range"
    )
    return [tuple(row) for row in cursor.fetchall()]


def partition(dataset: str, window: Window) -> str:
    """The table that is the published partition of the window."""
    with warehouse.session("postgres") as cursor:
        cursor.execute(
            "SELECT ops.partition_of(published_table::regclass, %s)::text FROM control.datasets WHERE dataset = %s",
            (ledger.as_range(window), dataset),
        )
        return str(warehouse.fetch_value(cursor))


def hash_of(staged: Staged) -> str:
    """The content hash of a set that has been cleaned."""
    with warehouse.session("loader") as cursor:
        cursor.execute("SELECT content_hash FROM ops.staging_sets WHERE set_name = %s", (staged.name,))
        return str(warehouse.fetch_value(cursor))


def change_set(staged: Staged, change: str) -> None:
    """Change the clean rows of a set, ``SET amount = 1``, as if they had come so."""
    clean = f"staging.{staged.name}_clean"
    with warehouse.session("postgres") as cursor:
        cursor.execute(f"UPDATE {clean} {change}")
        cursor.execute(
            f"UPDATE ops.staging_sets SET content_hash = (SELECT c.content_hash FROM ops.table_content('{clean}') AS c)"
            " WHERE set_name = %s",
            (staged.name,),
        )


def drop_set(staged: Staged) -> None:
    """Drop a set that nobody publishes."""
    with warehouse.session("postgres") as cursor:
        cursor.execute("SELECT ops.drop_set(%s)", (staged.name,))


def known_source(name: str) -> Known:
    """What Airflow's connection of a simulated source holds: for tests without Airflow."""
    config = settings.get()
    fields = {"host": config.warehouse_host, "port": config.warehouse_port, "schema": config.sources_database}
    login = f"{name}_reader"
    return links.of_fields(name, fields | {"login": login, "password": credentials.password(login)})
