"""Days before the first window: refused with the way to them, and loaded once the setting moves the first window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from loading import day, run
from typer.testing import CliRunner

from highwater.airflow import catchup_control
from highwater.backfill import requests
from highwater.cli.main import app
from highwater.environment import settings
from highwater.setup import bootstrap
from highwater.store import ledger, warehouse
from highwater.store.ledger import Run
from simulation import sales

pytestmark = pytest.mark.usefixtures("empty_warehouse")
WORDS = ["backfill", "run", "daily_sales", "--from", "45d", "--to", "31d", "--reason", "compared", "--yes"]


@pytest.fixture
def earlier(platform: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """HIGHWATER_HISTORY_DAYS was set and the platform started again; the source itself stays as it is."""
    monkeypatch.setattr(sales, "advance", lambda _moment: [])
    monkeypatch.setenv("HIGHWATER_HISTORY_DAYS", "45")
    monkeypatch.setenv("HIGHWATER_UI_PORT", "1")
    settings.get.cache_clear()
    bootstrap.run()
    yield
    with warehouse.session("postgres") as cursor:
        cursor.execute("TRUNCATE control.backfills CASCADE")
    monkeypatch.delenv("HIGHWATER_HISTORY_DAYS")
    settings.get.cache_clear()
    bootstrap.run()


def test_they_are_refused_with_where_the_way_is_written() -> None:
    done = CliRunner().invoke(app, WORDS)
    said = str(done.exception)
    assert "from 2026-09-16 00:00 is before the first window; valid for daily_sales: from 2026-10-01 00:00" in said
    assert "docs/how-to/operations.md says how to load days before it" in said
    assert "## Days before the first window are wanted" in (settings.ROOT / "docs/how-to/operations.md").read_text()


def test_a_larger_setting_moves_the_first_window_and_they_are_asked_for(earlier: None) -> None:
    done = CliRunner().invoke(app, WORDS, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    with warehouse.session("analyst") as cursor:
        (latest,) = requests.latest(cursor, 1)
    assert latest["windows_left"] == 15


def test_what_the_schedule_is_past_is_asked_for_by_itself(earlier: None) -> None:
    scheduled = Run("historical_sales_migration", "scheduled__2026-10-30", run().try_number)
    with ledger.attempt("daily_sales", day("2026-10-30"), "load", scheduled):
        pass
    with warehouse.session("loader") as cursor:
        gaps = [gap for gap in catchup_control.gaps_to_fill(cursor) if gap.dataset == "daily_sales"]
    assert gaps[0].from_time == day("2026-09-16").start
