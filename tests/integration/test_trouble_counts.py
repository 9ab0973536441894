"""What is reported of a trouble counts what it is about: new data, what was lost, each dataset's own windows, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from batches import land as land_batch
from batches import window
from loading import OTHER_QUANTITY, day, land
from test_backfill_lanes import change, rows

from highwater.incidents import alerts
from highwater.model.errors import ConfigurationError
from highwater.recovery import backlog
from highwater.store import ledger, rollback, warehouse
from highwater.store.ledger import Run

pytestmark = pytest.mark.usefixtures("empty_warehouse")
Later = Callable[[timedelta], None]
NAME = "2026-10-05"
DAY = day(NAME)


def troubles(kind: str) -> list[str]:
    """What incidents of the kind are open about, after a look."""
    alerts.look()
    return [
        subject for (subject,) in rows("SELECT subject FROM ops.incidents WHERE kind = %s AND closed_at IS NULL", kind)
    ]


@pytest.fixture
def history_is_loaded(platform: Path) -> None:
    """What is missing is no first load."""
    change(
        "INSERT INTO ops.first_loads (dataset, known_since, history_until, loaded_at)"
        " SELECT dataset, ops.clock(), ops.clock(), ops.clock() FROM control.datasets WHERE grid = 'fixed'"
        " ON CONFLICT (dataset) DO UPDATE SET loaded_at = excluded.loaded_at"
    )


class TestNewData:
    def test_is_not_what_is_loaded_again_or_rolled_back(self, later: Later, source_day: Callable[[str], int]) -> None:
        land(DAY, by="first")
        later(timedelta(hours=2))
        assert troubles("freshness exceeded") == ["daily_sales"]
        source_day(OTHER_QUANTITY)
        land(DAY, by="again")
        assert troubles("freshness exceeded") == ["daily_sales"]
        rollback.carry_out(rollback.plan("daily_sales", NAME), "ada", "no")
        assert troubles("freshness exceeded") == ["daily_sales"]
        land(day("2026-10-06"))
        assert troubles("freshness exceeded") == []

    def test_that_came_within_the_hour_counts_though_it_was_loaded_again_since(
        self, later: Later, source_day: Callable[[str], int]
    ) -> None:
        land(DAY, by="first")
        source_day(OTHER_QUANTITY)
        later(timedelta(minutes=30))
        land(DAY, by="again")
        assert troubles("freshness exceeded") == []
        later(timedelta(minutes=61))
        assert troubles("freshness exceeded") == ["daily_sales"]

    def test_is_what_a_backlog_shrinks_by(self, later: Later, history_is_loaded: None) -> None:
        for number in range(8):
            land_batch("page_views", window(number))
        for number in range(13):
            land_batch("payments", window(number))
        later(timedelta(minutes=10))
        assert "system_recovery_processing" in troubles("outage found")
        later(timedelta(hours=12, minutes=20))
        assert "page_views" in troubles("backlog growing")
        for number in range(3):
            land_batch("page_views", window(number), "again")
        assert "page_views" in troubles("backlog growing")


def test_what_a_breaker_holds_up_says_so() -> None:
    for number in (1, 2, 3):
        with (
            pytest.raises(ConfigurationError),
            ledger.attempt("daily_sales", day(f"2026-10-{number:02}"), "transform", Run("dag", f"scheduled__{number}")),
        ):
            raise ConfigurationError("a typo in clean.sql")
    ((state, reason),) = rows(
        "SELECT state, reason FROM ops.windows_between('daily_sales', '2026-10-09', '2026-10-10')"
    )
    assert state == "missing"
    assert reason.startswith("daily_sales is stopped since 2026-10-31 12:00 UTC: 3 windows failed in a row")


@pytest.fixture
def outage(platform: Path, later: Later, history_is_loaded: None) -> Iterator[None]:
    """Three payments and, of others, five page views are missing; it is found an hour after the rest has landed."""
    for number in range(13):
        if number > 2:
            land_batch("payments", window(number))
        if number < 8:
            land_batch("page_views", window(number))
    change("TRUNCATE ops.incidents CASCADE")
    later(timedelta(minutes=1))
    alerts.look()
    yield
    change("UPDATE control.catchup_policies SET max_windows = NULL WHERE dataset = 'page_views'")


def progress() -> backlog.Progress:
    with warehouse.session("analyst") as cursor:
        found = backlog.progress(cursor)
    assert found is not None
    return found


class TestARecovery:
    def test_counts_of_each_dataset_what_it_was_missing(self, outage: None) -> None:
        now = progress()
        assert (now.critical_done, now.critical_total) == (0, 3)
        assert (now.non_critical_done, now.non_critical_total) == (0, 5)
        ((body,),) = rows("SELECT body FROM ops.alerts WHERE title ~ 'outage found'")
        assert "Windows: 8 from 2026-10-28 00:00 to 2026-10-31 06:00 UTC" in body
        land_batch("payments", window(1))
        assert (progress().critical_done, progress().critical_total) == (1, 3)

    def test_counts_as_lost_what_is_lost_and_not_what_nobody_wants(self, outage: None) -> None:
        change("UPDATE control.catchup_policies SET max_windows = 3 WHERE dataset = 'page_views'")
        assert (progress().non_critical_done, progress().non_critical_total, progress().lost) == (2, 5, 0)
        with warehouse.session("loader") as cursor:
            bounds = ledger.as_range(window(12))
            cursor.execute("SELECT ops.skip_window('page_views', %s, 'lost', 'gone', 'd', 'r')", (bounds,))
        assert (progress().non_critical_done, progress().lost) == (3, 1)


def test_a_rollback_after_an_acknowledgement_is_another_incident(
    later: Later, source_day: Callable[[str], int]
) -> None:
    """Though nobody has looked between the two."""
    land(DAY, by="first")
    source_day(OTHER_QUANTITY)
    land(DAY, by="worse")
    rollback.carry_out(rollback.plan("daily_sales", NAME), "ada", "one")
    alerts.look()
    ((number,),) = rows("SELECT incident_id FROM ops.incidents WHERE kind = 'rolled back'")
    later(timedelta(minutes=1))
    with warehouse.session("operator") as cursor:
        cursor.execute("SELECT ops.acknowledge_incident(%s, 'bob', 'seen')", (number,))
        cursor.execute("SELECT ops.release_windows('daily_sales', '-infinity', 'infinity', 'bob', 'fixed')")
    later(timedelta(minutes=2))
    land(DAY, by="worse again")
    rollback.carry_out(rollback.plan("daily_sales", NAME), "kim", "two")
    alerts.look()
    assert rows(
        "SELECT acknowledged_by, closed_at IS NULL FROM ops.incidents WHERE kind = 'rolled back' ORDER BY incident_id"
    ) == [("bob", False), (None, True)]
    assert rows("SELECT event FROM ops.alerts WHERE title ~ 'rolled back' ORDER BY alert_no") == [
        ("opened",), ("closed",), ("opened",),
    ]  # fmt: skip
