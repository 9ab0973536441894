"""The month by a real scheduler: undisturbed, and through a kill -9 in every stage and of the scheduler."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import holding
import httpx
import loading
import pytest
from e2e import live
from e2e.live import DAG, Live
from rows import named

from highwater.environment import settings
from highwater.store import warehouse
from simulation import sales

STAGES = {
    "validate_availability": ("sources", "legacy.closed_days"),
    "extract": ("warehouse", "ops.staging_sets"),
    "transform": ("warehouse", "sales.daily_sales"),
    "audit": ("warehouse", "ops.validation_results"),
    "load": ("warehouse", "quarantine.rejected_rows"),
    "summarise": ("warehouse", "ops.processing_summary"),
}
"""Each stage with a table it needs: held, the stage waits and can be killed in the middle."""


def undisturbed_hashes() -> dict[str, str]:
    """What each day should hold, computed aside: staged and cleaned by the engine, hashed, not published."""
    with warehouse.session("loader") as cursor:
        cursor.execute(
            "SELECT window_start::date::text AS day FROM ops.window_status WHERE dataset = 'daily_sales' AND is_due"
        )
        days = [row.day for row in named(cursor)]
    hashes = {}
    for day in days:
        staged = loading.stage(loading.day(day))
        hashes[day] = loading.hash_of(staged)
        loading.drop_set(staged)
    return hashes


class TestUndisturbed:
    @pytest.fixture(scope="class")
    def month(self, scratch: Callable[[str], Path]) -> Iterator[Live]:
        """Thirty days landed; the source closed one of them only after it had been asked."""
        with live.platform(scratch("month"), SIMULATION_LATE_CLOSE_SECONDS="86400") as platform:
            late = sales.late_day()
            platform.wait(
                "a try of the late day",
                lambda: platform.value(
                    "SELECT count(*) FROM ops.attempts WHERE state = 'retrying' AND dataset = 'daily_sales'"
                ),
            )
            with warehouse.session("simulator", settings.get().sources_database) as cursor:
                cursor.execute("UPDATE legacy.closed_days SET closed_at = now() WHERE business_date = %s", (late,))
            platform.wait_until_whole()
            yield platform

    def test_thirty_of_thirty_windows_land_without_a_gap(self, month: Live) -> None:
        assert len(month.hashes()) == 30
        assert month.rows("SELECT * FROM ops.gaps WHERE dataset = 'daily_sales'") == []
        assert [(run.run_type, run.state) for run in month.runs()] == [("scheduled", "success")] * 30

    def test_three_windows_are_in_work_at_some_moment_and_never_more(self, month: Live) -> None:
        assert month.value("SELECT max(windows_in_work) FROM ops.concurrency WHERE dataset = 'daily_sales'") == 3

    def test_what_was_planted_is_what_is_quarantined(self, month: Live) -> None:
        found = dict(
            month.rows(
                "SELECT reason, count(*) FROM quarantine.rejected_rows WHERE dataset = 'daily_sales' GROUP BY reason"
            )
        )
        planted = {kind: 30 * rows for kind, rows in sales.planted(400).items()}
        assert found == {
            "null key": planted["null key"],
            "quantity not positive": planted["negative quantity"],
            "unknown currency": planted["unknown currency"],
            "sold outside the day": planted["sold in the future"] + planted["sold the day before"],
            "discount out of range": planted["discount above amount"],
            "copies of one sale differ": 2 * planted["conflicting duplicate"],
        }
        assert (
            month.value("SELECT sum(rows_deduplicated) FROM ops.window_ledger WHERE dataset = 'daily_sales'")
            == planted["duplicate"]
        )

    def test_what_is_published_is_what_the_engine_makes_of_the_source(self, month: Live) -> None:
        assert month.hashes() == undisturbed_hashes()

    def test_the_day_that_closed_late_was_tried_again_and_only_then_landed(self, month: Live) -> None:
        tries = month.rows(
            "SELECT state, error FROM ops.attempts WHERE stage = 'validate_availability'"
            " AND lower(window_range)::date = %s ORDER BY attempt_id",
            (sales.late_day(),),
        )
        assert [row.state for row in tries[:-1]] == ["retrying"] * (len(tries) - 1)
        assert tries[-1].state == "succeeded"
        assert len(tries) >= 2
        assert "is not complete at the source: the day closes at" in tries[0].error

    def test_nothing_is_left_in_staging(self, month: Live) -> None:
        assert month.value("SELECT count(*) FROM ops.staging_sets WHERE dataset = 'daily_sales'") == 0

    def test_every_partition_is_the_publishers_alone_and_holds_what_the_ledger_says(self, month: Live) -> None:
        assert month.value("SELECT count(*) FROM pg_class WHERE relispartition AND relkind = 'r'") >= 30
        flaws = "SELECT oid::regclass, ops.table_flaw(oid) FROM pg_class WHERE relispartition AND relkind = 'r'"
        assert [row for row in month.rows(flaws) if row[1]] == []
        differing = (
            "SELECT window_range FROM ops.window_ledger WHERE ops.verify_window(dataset, window_range) IS NOT NULL"
        )
        assert month.rows(differing) == []
        assert month.value("SELECT count(*) FROM pg_class WHERE relowner = 'loader'::regrole") == 0

    def test_the_ui_is_on_this_machine_only_and_asks_who_is_there(self, month: Live) -> None:
        assert settings.get().ui_address.startswith("http://127.0.0.1:")
        assert httpx.get(f"{settings.get().ui_address}/api/v2/dags").status_code == 401

    def test_a_native_backfill_reloads_exactly_its_seven_days(self, month: Live) -> None:
        before, days = month.hashes(), sorted(month.hashes())[10:17]
        month.command(
            "backfill", "create", "--dag-id", DAG, "--from-date", f"{days[0]}T02:00:00+00:00",
            "--to-date", f"{days[-1]}T02:00:00+00:00", "--reprocess-behavior", "completed", "--max-active-runs", "3",
        )  # fmt: skip
        month.wait(
            "the backfill",
            lambda: month.value("SELECT count(*) FROM ops.processing_summary WHERE version = 2") == len(days),
        )
        month.wait("its runs", lambda: {run.state for run in month.runs()} == {"success"})
        versions = dict(
            month.rows(
                "SELECT lower(window_range)::date::text, version FROM ops.window_ledger WHERE dataset = 'daily_sales'"
            )
        )
        assert versions == {day: 2 if day in days else 1 for day in before}
        assert month.hashes() == before


@pytest.mark.slow
class TestDisturbed:
    """Forty-five days, so that a later start date is seen as well; the last thirty are the same sales."""

    @pytest.fixture(scope="class")
    def month(self, scratch: Callable[[str], Path]) -> Iterator[Live]:
        with live.platform(scratch("disturbed"), HIGHWATER_HISTORY_DAYS="45") as platform:
            yield platform

    @pytest.mark.parametrize("stage", STAGES)
    def test_a_task_killed_in_the_middle_is_known_to_be_lost_and_tried_again(self, month: Live, stage: str) -> None:
        running = (
            "SELECT attempt_id, pid, run_id FROM ops.attempts JOIN ops.live_attempts USING (attempt_id)"
            " WHERE state = 'running' AND dataset = 'daily_sales' AND stage = %s AND pid = ANY(%s) LIMIT 1"
        )
        # Else all runs may have passed it, and wait behind the held table for as long as they have tries.
        before = list(STAGES)[: list(STAGES).index(stage)] or list(STAGES)
        on_the_way = (
            "SELECT FROM ops.attempts JOIN ops.live_attempts USING (attempt_id)"
            " WHERE dataset = 'daily_sales' AND stage = ANY(%s)"
        )
        month.wait("a run on its way to it", lambda: month.rows(on_the_way, (before,)))
        with holding.held(*STAGES[stage]) as waiting:
            ((attempt, pid, run_id),) = month.wait(
                f"a run held up in {stage}", lambda: month.rows(running, (stage, list(waiting())))
            )
            os.kill(pid, signal.SIGKILL)
            month.wait(
                "the claim to end with the process",
                lambda: not month.rows("SELECT FROM ops.live_attempts WHERE attempt_id = %s", (attempt,)),
            )
        month.wait(
            "the second try",
            lambda: month.rows(
                "SELECT FROM ops.attempts WHERE run_id = %s AND stage = %s AND attempt_id > %s AND state = 'succeeded'",
                (run_id, stage, attempt),
            ),
        )
        assert month.value("SELECT state FROM ops.attempts WHERE attempt_id = %s", (attempt,)) == "lost"

    def test_a_killed_scheduler_is_started_again_and_the_month_ends_the_same(self, month: Live) -> None:
        month.wait("work to interrupt", lambda: month.rows("SELECT FROM ops.live_attempts"))
        month.wait("a transaction to interrupt", lambda: month.stop_in_transaction("scheduler"))
        month.airflow.kill("scheduler")
        month.airflow.launch("scheduler")
        month.wait_until_whole()
        assert len(month.hashes()) == 45
        assert month.rows("SELECT * FROM ops.gaps WHERE dataset = 'daily_sales'") == []
        assert month.hashes() == undisturbed_hashes()

    def test_nothing_is_left_in_staging(self, month: Live) -> None:
        assert month.value("SELECT count(*) FROM ops.staging_sets WHERE dataset = 'daily_sales'") == 0


@pytest.mark.slow
def test_a_start_date_seven_days_back_makes_seven_windows(scratch: Callable[[str], Path]) -> None:
    with live.platform(scratch("week"), HIGHWATER_HISTORY_DAYS="7") as platform:
        platform.wait_until_whole()
        assert len(platform.hashes()) == 7
        assert [run.state for run in platform.runs()] == ["success"] * 7
