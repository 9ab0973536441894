"""Payments and page views: the same batches for the same seed, the defects that were promised, and how they land."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from batches import DATASETS, land, stage
from psycopg2.extensions import cursor as Cursor
from rows import one

from highwater.environment import settings
from highwater.model import clock
from highwater.model.errors import ConfigurationError, DataRejected
from highwater.model.windows import Window
from highwater.quality import audits
from highwater.sources import sources
from highwater.store import ledger, publish, warehouse
from highwater.store.ledger import Run
from simulation import batches
from simulation.batches import BILLING, WEB, Source

MORNING = Window(datetime(2026, 10, 29, 6, tzinfo=UTC), datetime(2026, 10, 29, 12, tzinfo=UTC))
NOW = datetime(2026, 10, 31, 12, tzinfo=UTC)
CHECKSUM = "SELECT md5(string_agg(s::text, '|' ORDER BY s::text COLLATE \"C\")) FROM {} AS s"
GOLDEN = {
    "billing.payments_of('2024-02-29 06:00+00', 10000, 7, 5000)": "190636bf152bc149b22207936de6bbc5",
    "web.views_of('2024-02-29 06:00+00', 10000, 7)": "295dbc9792e4d4ec750d496e8437b643",
}


def value(cursor: Cursor, query: str, *values: object) -> Any:
    cursor.execute(query, values)
    return warehouse.fetch_value(cursor)


@pytest.mark.parametrize("rows", GOLDEN)
def test_the_same_seed_gives_the_same_bytes(simulator: Cursor, rows: str) -> None:
    assert value(simulator, CHECKSUM.format(rows)) == GOLDEN[rows]
    assert value(simulator, CHECKSUM.format(rows.replace(", 7", ", 8"))) != GOLDEN[rows]


def test_payments_are_for_orders_that_the_shop_hands_over(simulator: Cursor) -> None:
    simulator.execute(
        "SELECT min(order_id), max(order_id), bool_or(order_id % 500 IN (7, 13)), count(DISTINCT payment_id)"
        " FROM billing.payments_of('2024-02-29', 5000, 7, 300) AS p"
    )
    first, last, odd, keys = one(simulator)
    assert (first, last, odd, keys) == (1, 300, False, 5000 - BILLING.duplicates(5000))
    none = "SELECT count(order_id) FROM billing.payments_of('2024-02-29', 100, 7, 0)"
    assert value(simulator, none) == 0


@pytest.fixture
def world(platform: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A past of its own: three days before 2024-03-10."""
    monkeypatch.setenv("HIGHWATER_ANCHOR", "2024-03-10")
    settings.get.cache_clear()
    yield
    monkeypatch.undo()
    settings.get.cache_clear()
    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        for table in ("billing.payments", "billing.closed_batches", "web.page_views", "web.closed_batches"):
            cursor.execute(f"DELETE FROM {table} WHERE batch_start < '2025-01-01'")


def test_twelve_batches_lie_before_the_anchor_and_each_is_made_once(world: None) -> None:
    midnight = datetime(2024, 3, 10, tzinfo=UTC)
    assert [len(made) for made in batches.advance(midnight).values()] == [12, 12]
    assert batches.advance(midnight) == {"billing": [], "web": []}
    made: list[dict[str, list[Window]]] = []
    later = midnight + timedelta(hours=13)
    both = [threading.Thread(target=lambda: made.append(batches.advance(later))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert [sorted(a + b) for a, b in zip(made[0].values(), made[1].values(), strict=True)] == [
        batches.history(later)[-2:]
    ] * 2
    with warehouse.session("web_reader", settings.get().sources_database) as cursor:
        cursor.execute("SELECT count(*) FROM web.page_views WHERE batch_start < '2025-01-01'")
        assert warehouse.fetch_value(cursor) == 14 * WEB.rows_per_batch()


def test_a_moment_without_time_zone_is_refused(platform: Path) -> None:
    with pytest.raises(ConfigurationError, match="time zone"):
        batches.advance(datetime(2024, 3, 10, 12))  # noqa: DTZ001


@pytest.mark.parametrize(("role", "table"), [("billing_reader", "billing.payments"), ("web_reader", "web.page_views")])
def test_the_readers_read_their_source_and_no_other(platform: Path, role: str, table: str) -> None:
    other = {"billing.payments": "web.page_views", "web.page_views": "billing.payments"}[table]
    with closing(warehouse.connect(role, settings.get().sources_database)) as link, link.cursor() as cursor:
        assert value(cursor, f"SELECT count(*) FROM {table}") > 0
        for statement in (f"DELETE FROM {table}", f"SELECT count(*) FROM {other}"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(statement)
            link.rollback()


@pytest.mark.usefixtures("empty_warehouse")
class TestLanding:
    @pytest.mark.parametrize(("dataset", "source"), DATASETS.items())
    def test_what_was_planted_is_what_is_quarantined(self, dataset: str, source: Source, analyst: Cursor) -> None:
        landed, rows = land(dataset, MORNING), source.rows_per_batch()
        analyst.execute("SELECT reason, count(*) FROM quarantine.rejected_rows GROUP BY reason")
        assert dict(analyst.fetchall()) == source.rejected(rows)
        assert landed.rows_published == rows - sum(source.rejected(rows).values()) - source.duplicates(rows)
        assert value(analyst, f"SELECT count(*) FROM sales.{dataset}") == landed.rows_published

    @pytest.mark.parametrize("dataset", DATASETS)
    def test_it_passes_its_suite(self, dataset: str) -> None:
        staged = stage(dataset, MORNING)
        assert staged.expected_rows is not None
        parameters = sources.bounds(MORNING) | {
            "expected_rows": staged.expected_rows - staged.rejected - staged.deduplicated
        }
        report = audits.audit(dataset, "staging", f"{staged.name}_clean", parameters)
        assert report.success, report.sentence()

    def test_an_untidy_path_is_fixed(self, analyst: Cursor) -> None:
        land("page_views", MORNING)
        assert value(analyst, "SELECT count(*) FROM sales.page_views WHERE path <> lower(trim(path))") == 0
        with warehouse.session("web_reader", settings.get().sources_database) as cursor:
            cursor.execute("SELECT count(*) FROM web.page_views WHERE path <> lower(trim(path))")
            assert warehouse.fetch_value(cursor) > 0

    def test_the_windows_are_those_of_six_hours(self, loader: Cursor, analyst: Cursor) -> None:
        assert ledger.grid(loader, "payments").step == timedelta(hours=6)
        twelve_hours = Window(MORNING.start, MORNING.end + timedelta(hours=6))
        with pytest.raises(DataRejected, match="is not a window of payments"):
            publish.publish_window("payments", twelve_hours, stage("payments", MORNING), Run("t", "r"))
        assert value(analyst, "SELECT string_agg(dataset, ' ') FROM control.datasets WHERE critical") == "payments"
        analyst.execute(
            "SELECT dataset, count(*) FROM ops.window_status WHERE is_due AND dataset = ANY(%s) GROUP BY 1 ORDER BY 1",
            (list(DATASETS),),
        )
        assert analyst.fetchall() == [("page_views", 13), ("payments", 13)]


def test_a_batch_that_is_not_closed_is_not_loaded(platform: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from highwater.model.errors import SourceIncomplete

    monkeypatch.setenv("HIGHWATER_NOW", "2026-10-29T12:04:59+00:00")
    with pytest.raises(SourceIncomplete, match="the batch closes at 2026-10-29 12:05:00 UTC"):
        stage("payments", MORNING)
    monkeypatch.setenv("HIGHWATER_NOW", "2026-10-29T12:05:00+00:00")
    assert clock.now().minute == 5
    with warehouse.session("billing_reader", settings.get().sources_database) as cursor:
        assert sources.check_complete(cursor, "system_recovery_processing/payments", MORNING, "payments").expected_rows
