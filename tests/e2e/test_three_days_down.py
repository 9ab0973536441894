"""Three days to recover by a real scheduler: in order, within the pools, reported once, through all faults."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import batches
import holding
import httpx
import loading
import pytest
from e2e import live
from e2e.live import Live
from receiver import Receiver, receiver
from rows import named

from highwater.airflow import api as airflow_api
from highwater.environment import settings
from highwater.model.windows import Window
from highwater.store import warehouse
from simulation import drills

DAG = "system_recovery_processing"
LEFT = "SELECT coalesce(sum(windows), 0) FROM ops.gaps WHERE dataset IN ('payments', 'page_views')"
OPEN = "SELECT FROM ops.incidents WHERE closed_at IS NULL"
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
WORKING = "SELECT attempt_id, pid FROM ops.attempts JOIN ops.live_attempts USING (attempt_id) WHERE dataset = %s"


def undisturbed_hashes(dataset: str, windows: list[Window]) -> list[str]:
    """What each window should hold, computed aside: staged and cleaned by the engine, hashed, not published."""
    hashes = []
    for window in windows:
        staged = batches.stage(dataset, window)
        hashes.append(loading.hash_of(staged))
        loading.drop_set(staged)
    return hashes


class TestDisturbed:
    """One recovery: the source of the payments goes away, a task, the scheduler and the server are killed."""

    @pytest.fixture(scope="class")
    def hook(self) -> Iterator[Receiver]:
        with receiver() as mine:
            yield mine

    @pytest.fixture(scope="class")
    def recovered(self, scratch: Callable[[str], Path], hook: Receiver) -> Iterator[Live]:
        with live.platform(scratch("recovery"), dags=(DAG,), HIGHWATER_ALERT_URLS=hook.url) as platform:
            landed = "SELECT count(*) FROM ops.window_ledger WHERE dataset = %s"
            platform.wait("payments to land", lambda: platform.value(landed, ("payments",)))
            _twenty_failures(platform)
            _kill_a_task(platform)
            platform.wait("page views to land", lambda: platform.value(landed, ("page_views",)))
            platform.airflow.kill("scheduler")
            platform.airflow.launch("scheduler")
            platform.wait("work to interrupt", lambda: platform.rows(WORKING, ("page_views",)))
            live.restart_the_warehouse()
            platform.wait("every window", lambda: platform.value(LEFT) == 0)
            platform.wait("every run to end", lambda: _run_states() == {"success"})
            yield platform

    def test_every_payments_window_lands_before_the_first_page_views_window_starts(self, recovered: Live) -> None:
        ((windows, last),) = recovered.rows(
            "SELECT count(DISTINCT window_range), max(ended_at) FROM ops.attempts"
            " WHERE dataset = 'payments' AND stage = 'load' AND state = 'succeeded'"
        )
        assert windows >= 12
        assert last <= recovered.value("SELECT min(started_at) FROM ops.attempts WHERE dataset = 'page_views'")

    def test_every_window_lands_exactly_once_with_the_content_it_has_without_faults(self, recovered: Live) -> None:
        for dataset in batches.DATASETS:
            found = recovered.rows(
                "SELECT lower(window_range), upper(window_range), version, content_hash FROM ops.window_ledger"
                " WHERE dataset = %s ORDER BY 1",
                (dataset,),
            )
            assert len(found) >= 12
            assert {row.version for row in found} == {1}
            windows = [Window(row[0], row[1]) for row in found]
            assert [row.content_hash for row in found] == undisturbed_hashes(dataset, windows)

    def test_no_more_windows_of_the_payments_are_in_work_than_its_pool_allows(self, recovered: Live) -> None:
        """Until the first kill: what a killed scheduler leaves behind runs on beside what the next one starts."""
        most = recovered.value(
            "SELECT max(at_once) FROM (SELECT (SELECT count(*) FROM ops.attempts AS b WHERE b.dataset = 'payments'"
            " AND b.started_at <= a.started_at AND b.ended_at > a.started_at) AS at_once FROM ops.attempts AS a"
            " WHERE a.dataset = 'payments' AND a.attempt_id < (SELECT min(attempt_id) FROM ops.attempts"
            " WHERE state = 'lost')) AS counted"
        )
        assert most == 2

    def test_each_thing_is_reported_once(self, recovered: Live, hook: Receiver) -> None:
        recovered.wait("all alerts to be sent", lambda: not recovered.rows(OPEN))
        recovered.wait("all to be sent", lambda: not recovered.rows("SELECT FROM ops.undelivered_alerts"))
        assert recovered.value("SELECT count(*) FROM ops.attempts WHERE error_kind = 'source unavailable'") >= 20
        titles = [row.title.split(" (")[0] for row in recovered.rows("SELECT title FROM ops.alerts")]
        assert Counter(hook.titles) == Counter(titles)
        assert len(set(hook.ids)) == len(hook.ids)
        kinds = Counter(title.split(" since ")[0] for title in hook.titles)
        assert kinds["billing: source unavailable"] == kinds["over: billing: source unavailable"] == 1
        assert not [title for title in kinds if "outage" in title or "history" in title], (
            "a first start is not an outage"
        )
        assert {("first load of history", True)} == {
            (row.kind, row.is_over)
            for row in recovered.rows(
                "SELECT kind, closed_at IS NOT NULL AS is_over FROM ops.incidents WHERE subject = %s", (DAG,)
            )
        }
        assert kinds["payments: load failed"] == kinds["over: payments: load failed"] == 1, "one was killed"

    def test_it_says_how_far_it_is_with_each_window_and_that_it_is_whole(self, recovered: Live) -> None:
        ((done, total, others_done, others),) = recovered.rows(
            "SELECT critical_done, critical_total, non_critical_done, non_critical_total FROM ops.recovery_progress"
        )
        assert (done, others_done) == (total, others)
        assert recovered.rows("SELECT DISTINCT verdict FROM ops.integrity_checks") == [("passed",)]
        assert recovered.value("SELECT count(*) FROM ops.staging_sets WHERE dataset IN ('payments', 'page_views')") == 0

    def test_an_outage_with_holes_and_a_second_one_during_its_recovery_leave_nothing_out(self, recovered: Live) -> None:
        content = "SELECT dataset, window_range, content_hash, version FROM ops.window_ledger ORDER BY 1, 2"
        whole = recovered.rows(content)
        before = recovered.value("SELECT max(attempt_id) FROM ops.attempts")
        with warehouse.session("postgres") as cursor:
            known = {each: drills.landed(cursor, each, LONG_AGO) for each in batches.DATASETS}
        with closing(airflow_api.log_in()) as api:
            _forget({each: windows[::2] for each, windows in known.items()})
            _trigger(api, "holes")
            reloaded = "SELECT FROM ops.attempts WHERE attempt_id > %s AND stage = 'load' AND state = 'succeeded'"
            recovered.wait("the first window to be back", lambda: recovered.rows(reloaded, (before,)))
            _forget({each: windows[1::2] for each, windows in known.items()})
            _trigger(api, "second")
        recovered.wait("every window", lambda: recovered.value(LEFT) == 0)
        # A run whose windows the second outage took away says so, and fails.
        recovered.wait("every run to end", lambda: _run_states() <= {"success", "failed"})
        recovered.wait("all to be over", lambda: not recovered.rows(OPEN))
        assert recovered.rows(content) == whole
        loads = recovered.rows(
            "SELECT dataset, window_range, count(*) AS times FROM ops.attempts"
            " WHERE attempt_id > %s AND stage = 'load' AND state = 'succeeded' GROUP BY 1, 2 ORDER BY 1, 2",
            (before,),
        )
        assert [(row.dataset, row.window_range) for row in loads] == [(row.dataset, row.window_range) for row in whole]
        assert {row.times for row in loads} == {1}


def _forget(windows: dict[str, list[Any]]) -> None:
    """Take windows of both datasets out of the record and the published tables, at once."""
    with warehouse.session("postgres") as cursor:
        for dataset, chosen in windows.items():
            for window in chosen:
                drills.forget_window(cursor, dataset, window)


def _trigger(api: httpx.Client, run_id: str) -> None:
    api.post(f"/dags/{DAG}/dagRuns", json={"logical_date": None, "dag_run_id": run_id}).raise_for_status()


def _twenty_failures(platform: Live) -> None:
    """The source refuses its reader until twenty attempts have failed."""
    with warehouse.session("postgres") as cursor:
        cursor.execute("ALTER ROLE billing_reader NOLOGIN")
    failures = "SELECT count(*) FROM ops.attempts WHERE error_kind = 'source unavailable'"
    platform.wait("twenty failures", lambda: platform.value(failures) >= 20)
    with warehouse.session("postgres") as cursor:
        cursor.execute("ALTER ROLE billing_reader LOGIN")
    over = "SELECT FROM ops.incidents WHERE kind = 'source unavailable' AND closed_at IS NOT NULL"
    platform.wait("the source to be back", lambda: platform.rows(over))


def _kill_a_task(platform: Live) -> None:
    """``kill -9`` to one that works on payments."""
    with holding.held("warehouse", "sales.payments") as waiting:
        (victim, *_) = platform.wait(
            "a task that is held up",
            lambda: [row for row in platform.rows(WORKING, ("payments",)) if row.pid in waiting()],
        )
        os.kill(victim.pid, signal.SIGKILL)
        platform.wait(
            "its claim to end",
            lambda: not platform.rows("SELECT FROM ops.live_attempts WHERE attempt_id = %s", (victim.attempt_id,)),
        )


def _run_states() -> set[str]:
    with warehouse.session("airflow", settings.get().metadata_database) as cursor:
        cursor.execute("SELECT DISTINCT state FROM dag_run WHERE dag_id = %s", (DAG,))
        return {row.state for row in named(cursor)}
