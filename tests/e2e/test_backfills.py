"""Backfills by a real scheduler: each way in, a window that fails, stop and resume, cancel, kill -9, and the others'
slots. Ninety-two days of which nothing has landed, since the DAG that loads them is paused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from e2e import live
from e2e.live import Live

from highwater.airflow import api
from highwater.backfill import requests
from highwater.backfill.requests import LOAD, Plan, Request
from highwater.environment import settings
from highwater.model import moments
from highwater.store import warehouse

DATASET, DAYS = "daily_sales", 92
OWNER = "historical_sales_migration"
DAY = timedelta(days=1)
HELPERS = '''
from datetime import timedelta

from airflow.sdk import DeltaTriggerTimetable, dag, task

from highwater.airflow import backfill_tasks
from highwater.environment import settings
from highwater.model import clock

@dag(schedule=None, start_date=settings.get().days_before_anchor(0))
def starter() -> None:
    """What catchup_control does for backfills that wait."""
    backfill_tasks.start_waiting()

@task
def nothing() -> None: ...

@dag(schedule=DeltaTriggerTimetable(timedelta(seconds=2)), start_date=settings.get().days_before_anchor(0))
def ticks() -> None:
    """Scheduled runs beside the backfills."""
    nothing()

starter()
ticks()
'''


class Backfills:
    """The platform, and backfills on it as a person or a program sees them."""

    def __init__(self, platform: Live) -> None:
        self.live = platform
        platform.wait("Airflow to be healthy", lambda: not platform.airflow.unhealthy())
        self.api = api.log_in()
        self.first: datetime = platform.value(
            "SELECT first_window FROM control.datasets WHERE dataset = %s", (DATASET,)
        )

    def day(self, number: int) -> date:
        """A day by its place, from 0."""
        return (self.first + number * DAY).date()

    def unpause(self, dag_id: str, *, paused: bool = False) -> None:
        """Once the DAG is there."""
        self.live.wait(f"{dag_id} to be parsed", lambda: self.api.get(f"/dags/{dag_id}").is_success)
        self.api.patch(f"/dags/{dag_id}", json={"is_paused": paused}).raise_for_status()

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Trigger a run as the UI does; returns its id."""
        answer = self.api.post(f"/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf or {}})
        return str(answer.raise_for_status().json()["dag_run_id"])

    def highwater(self, *arguments: str, code: int = 0) -> str:
        """Run the command line as a person would; returns what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "highwater.cli.main", *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout

    def plan(self, first: int, last: int, **asked: Any) -> Plan:
        """The plan for days by their places, the last included."""
        request = Request(DATASET, moments.midnight(self.day(first)), moments.midnight(self.day(last + 1)), **asked)
        with warehouse.session("analyst") as cursor:
            return requests.plan(cursor, request)

    def insert(self, role: str, first: int, last: int, **values: Any) -> int:
        """``INSERT INTO control.backfills`` as that login."""
        columns = {"dataset": DATASET, "from_time": self.day(first), "to_time": self.day(last + 1), "reason": "a test"}
        columns |= values
        with warehouse.session(role) as cursor:
            cursor.execute(
                f"INSERT INTO control.backfills ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))})"
                " RETURNING backfill_id",
                list(columns.values()),
            )
            return int(warehouse.fetch_value(cursor))

    def now(self, number: int) -> dict[str, Any]:
        """How far a backfill is."""
        with warehouse.session("analyst") as cursor:
            return requests.progress(cursor, number)

    def windows(self, number: int) -> list[dict[str, Any]]:
        """The windows of a backfill."""
        with warehouse.session("analyst") as cursor:
            return requests.windows(cursor, number)

    def until(self, number: int, *states: str) -> dict[str, Any]:
        """Wait until a backfill is in one of the states, and none of its windows in work; returns how far it is."""

        def reached() -> dict[str, Any] | None:
            now = self.now(number)
            return now if now["state"] in states and not now["running"] else None

        found: dict[str, Any] = self.live.wait(f"backfill {number} to be {' or '.join(states)}", reached)
        return found

    def newest(self) -> int:
        """The number of the latest backfill."""
        return int(self.live.value("SELECT coalesce(max(backfill_id), 0) FROM control.backfills"))

    def loads(self, number: int) -> dict[datetime, int]:
        """How often each window was published by the runs of a backfill.

        By its attempts that succeeded; a lane that was cut off after it had published left only the ledger row.
        """
        found = self.live.rows(
            "SELECT start, times FROM (SELECT lower(w.window_range) AS start, greatest((SELECT count(*)"
            " FROM ops.attempts AS a WHERE a.dataset = %s AND a.window_range = w.window_range"
            " AND a.run_id = w.run_id AND a.stage = 'load' AND a.state = 'succeeded'), (SELECT count(*)"
            " FROM ops.window_ledger AS l WHERE l.dataset = %s AND l.window_range = w.window_range"
            " AND l.run_id = w.run_id)) AS times FROM control.backfill_windows AS w"
            " WHERE w.backfill_id = %s) AS published WHERE times > 0",
            (DATASET, DATASET, number),
        )
        return dict(found)

    def versions(self) -> dict[datetime, int]:
        """The landed version of each window."""
        return dict(
            self.live.rows("SELECT lower(window_range), version FROM ops.window_ledger WHERE dataset = %s", (DATASET,))
        )

    def metadata(self, query: str, *values: Any) -> list[Any]:
        """What a query gives in Airflow's own database."""
        with warehouse.session("airflow", settings.get().metadata_database) as cursor:
            cursor.execute(query, values)
            return cursor.fetchall()

    def nothing_is_left(self, number: int) -> bool:
        """Whether every run of a backfill has ended, with all of its tasks."""
        return not self.metadata(
            "SELECT FROM dag_run WHERE dag_id = 'selective_backfill' AND state IN ('queued', 'running')"
            " AND (conf ->> 'backfill_id')::int = %s",
            number,
        )

    def spoil(self, day: date, till: int) -> None:
        """Give a day at the source a till that the audit refuses (99), or one that it takes."""
        with warehouse.session("simulator", settings.get().sources_database) as cursor:
            cursor.execute("UPDATE legacy.sales SET till_no = %s WHERE business_date = %s", (till, day))
            assert cursor.rowcount

    def assert_ran_as_planned(self, number: int, plan: Plan, *, failed: Sequence[date] = ()) -> None:
        """Those that ran are those of the plan, once each; skipped ones have reasons; all is accounted for."""
        windows, now = self.windows(number), self.now(number)
        assert [(w["start"], w["action"], w["rule"], w["reason"]) for w in windows] == [
            (w.start, w.action, w.rule, w.reason) for w in plan.windows
        ]
        planned = {w.start for w in plan.windows if w.action == LOAD}
        refused = {w["start"] for w in windows if w["state"] == "failed"}
        assert {start.date() for start in refused} == set(failed)
        assert self.loads(number) == dict.fromkeys(planned - refused, 1)
        tried = self.live.rows(
            "SELECT DISTINCT lower(window_range) FROM ops.attempts WHERE run_id = ANY(SELECT run_id"
            " FROM control.backfill_windows WHERE backfill_id = %s)",
            (number,),
        )
        assert {row[0] for row in tried} == planned
        assert all(w["rule"] and w["reason"] for w in windows if w["state"] == "skipped")
        assert all(w["error"] for w in windows if w["state"] == "failed")
        assert now["percent"] == 100
        assert now["landed"] + now["failed"] + now["skipped"] == now["windows_total"] == len(plan.windows)


@pytest.fixture(scope="module")
def backfills(scratch: Callable[[str], Path]) -> Iterator[Backfills]:
    home = scratch("backfills")
    with live.platform(
        home,
        dags=("selective_backfill", OWNER),
        HIGHWATER_HISTORY_DAYS=str(DAYS),
        SIMULATION_ROWS_PER_DAY="40",
        SIMULATION_CHANNEL_SALES="20",
        SIMULATION_SHOP_ORDERS="10",
        AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="True",
    ) as platform:
        (home / "dags/helpers.py").write_text(HELPERS)
        mine = Backfills(platform)
        for dag_id in ("selective_backfill", "starter", "ticks"):
            mine.unpause(dag_id)
        yield mine


def test_three_months_by_the_form_with_days_left_out_and_one_that_fails_beside_scheduled_runs(
    backfills: Backfills,
) -> None:
    mine = backfills
    closed, excluded, bad = [mine.day(9), mine.day(10)], [mine.day(30), mine.day(31)], mine.day(50)
    with warehouse.session("operator") as cursor:
        for day in closed:
            cursor.execute("INSERT INTO control.closed_days (day, reason) VALUES (%s, 'stocktaking')", (day,))
    mine.spoil(bad, 99)
    try:
        plan = mine.plan(0, DAYS - 1, excluded_dates=excluded)
        assert (len(plan.windows), plan.to_load) == (DAYS, DAYS - 4)
        frontier = "SELECT next_dagrun FROM dag WHERE dag_id = %s"
        before = mine.metadata(frontier, OWNER)
        form = {
            "dataset": DATASET,
            "first_day": mine.day(0).isoformat(),
            "last_day": mine.day(DAYS - 1).isoformat(),
            "excluded_dates": [day.isoformat() for day in excluded],
            "reason": "three months by the form",
            "max_active": 4,
        }
        run_id = mine.trigger("selective_backfill", form)
        number = mine.live.wait(
            "the form's row",
            lambda: [
                r[0]
                for r in mine.live.rows("SELECT backfill_id FROM control.backfills WHERE dag_run_id = %s", (run_id,))
            ],
        )[0]
        now = mine.until(number, "failed")
        assert (now["via"], now["requested_by"], now["failed"]) == ("form", "admin", 1)
        mine.assert_ran_as_planned(number, plan, failed=[bad])
        states = dict(
            mine.live.rows(
                "SELECT state, count(*) FROM ops.window_status WHERE dataset = %s AND is_due GROUP BY 1", (DATASET,)
            )
        )
        assert (states["landed"], states["failed"]) == (DAYS - 5, 1)
        assert mine.metadata(frontier, OWNER) == before
        assert mine.metadata("SELECT FROM dag_run WHERE dag_id = %s", OWNER) == []
        _scheduled_runs_kept_their_slots(mine, now)
    finally:
        mine.spoil(bad, 1)


def _scheduled_runs_kept_their_slots(mine: Backfills, now: dict[str, Any]) -> None:
    """Those that fell due in its first half had ended before it did, and it never held more slots than its pool has."""
    ticks = mine.metadata(
        "SELECT r.state, r.end_date FROM dag_run AS r WHERE r.dag_id = 'ticks' AND r.run_type = 'scheduled'"
        " AND r.run_after BETWEEN %s AND %s",
        now["started_at"],
        now["started_at"] + (now["ended_at"] - now["started_at"]) / 2,
    )
    assert len(ticks) >= 2
    assert {tick.state for tick in ticks} == {"success"}
    assert max(tick.end_date for tick in ticks) < now["ended_at"]
    lanes = mine.metadata(
        "SELECT max((SELECT count(*) FROM task_instance AS o WHERE o.pool = 'backfill' AND o.start_date <= t.start_date"
        " AND coalesce(o.end_date, now()) > t.start_date)) AS at_once FROM task_instance AS t WHERE t.pool = 'backfill'"
    )
    assert lanes[0].at_once <= 4


def test_an_invalid_form_fails_before_anything_starts(backfills: Backfills) -> None:
    mine = backfills
    before = mine.newest()
    days = {"first_day": mine.day(9).isoformat(), "last_day": mine.day(3).isoformat()}
    run_id = mine.trigger("selective_backfill", {"dataset": DATASET, "reason": "a mistake"} | days)
    state = "SELECT FROM dag_run WHERE dag_id = 'selective_backfill' AND run_id = %s AND state = 'failed'"
    mine.live.wait("the run to fail", lambda: mine.metadata(state, run_id))
    assert mine.newest() == before
    assert not mine.live.rows("SELECT FROM ops.attempts WHERE run_id = %s", (run_id,))
    (log,) = mine.live.airflow.logs.parent.glob(
        f"airflow/logs/dag_id=selective_backfill/run_id={run_id}/task_id=begin/*"
    )
    assert f"from {mine.day(9)} 00:00 is not before to {mine.day(4)} 00:00" in log.read_text()


def test_the_command_line_stops_at_a_window_that_fails_and_resume_goes_on_there(backfills: Backfills) -> None:
    mine = backfills
    bad = mine.day(3)
    mine.spoil(bad, 99)
    asked = [DATASET, "--from", str(mine.day(0)), "--to", str(mine.day(7)), "--which", "all", "--weekdays"]
    weekdays = sorted({mine.day(n).strftime("%a").lower() for n in range(7) if n != 5})
    asked += [",".join(weekdays)]
    shown = json.loads(mine.highwater("backfill", "plan", *asked, "--json"))
    assert (shown["total"], shown["to_load"]) == (8, 7)
    before = mine.versions()
    try:
        said = mine.highwater(
            "backfill", "run", *asked, "--reason", "the command line", "--max-active", "1", "--on-failure", "stop",
            "--yes", "--watch", code=1,
        )  # fmt: skip
    finally:
        mine.spoil(bad, 1)
    assert f"{bad} 00:00 failed: daily_sales {bad} is not published" in said
    number = mine.newest()
    assert mine.now(number)["state"] == "stopped"
    assert [w["state"] for w in mine.windows(number)] == ["landed"] * 3 + ["failed", "planned", "skipped"] + [
        "planned"
    ] * 2
    mine.live.wait("the run to end", lambda: mine.nothing_is_left(number))
    mine.highwater("backfill", "resume", str(number))
    assert "counted then: 7 landed" in mine.highwater("backfill", "watch", str(number))
    runs = {w["place"]: w for w in mine.windows(number)}
    assert [(w["start"].isoformat(), w["action"], w["rule"]) for w in runs.values()] == [
        (w["start"], w["action"], w["rule"]) for w in shown["windows"]
    ]
    after = mine.versions()
    assert {day: after[day] - before.get(day, 0) for day in after if after[day] != before.get(day)} == {
        w["start"]: 1 for w in runs.values() if w["action"] == LOAD
    }
    mine.live.wait("no run to be left", lambda: mine.nothing_is_left(number))


def test_a_row_is_all_it_takes_of_a_person_in_psql_or_of_the_policy(backfills: Backfills) -> None:
    mine = backfills
    asked = {}
    for via, role, first in (("sql", "operator", 20), ("policy", "loader", 40)):
        values = {"which": "all", "excluded_dates": [mine.day(first + 1)], "direction": "newest", "via": via}
        plan = mine.plan(first, first + 4, **values)
        asked[mine.insert(role, first, first + 4, **values)] = plan
    mine.trigger("starter")
    for number, plan in asked.items():
        mine.until(number, "done")
        mine.assert_ran_as_planned(number, plan)
        starts = [w["started_at"] for w in mine.windows(number) if w["state"] == "landed"]
        assert starts == sorted(starts), "the newest first"
        mine.live.wait("no run to be left", lambda number=number: mine.nothing_is_left(number))  # type: ignore[misc]


def test_a_recovery_asks_for_what_is_missing(backfills: Backfills) -> None:
    mine = backfills
    with warehouse.session("postgres") as cursor:
        for number in (60, 61, 70):
            cursor.execute("DELETE FROM quarantine.rejected_rows WHERE lower(window_range) = %s", (mine.day(number),))
            cursor.execute("DELETE FROM ops.window_ledger WHERE lower(window_range) = %s", (mine.day(number),))
    missing = {
        row[0]
        for row in mine.live.rows(
            "SELECT window_start FROM ops.window_status WHERE dataset = %s AND is_due AND state <> 'landed'", (DATASET,)
        )
    }
    said = mine.highwater("recovery", "request", DATASET, "--yes")
    number = mine.newest()
    assert f"backfill {number}, started" in said
    assert mine.now(number)["via"] == "recovery"
    mine.until(number, "done")
    windows = mine.windows(number)
    assert {w["start"] for w in windows if w["state"] == "landed"} <= missing
    assert {mine.day(n) for n in (60, 61, 70)} <= {w["start"].date() for w in windows if w["state"] == "landed"}
    assert mine.now(number)["percent"] == 100


def test_cancel_lets_windows_in_work_finish_and_leaves_nothing_behind(backfills: Backfills) -> None:
    mine = backfills
    number = mine.insert("operator", 0, 59, which="all")
    mine.trigger("starter")
    mine.live.wait("three windows", lambda: mine.now(number)["landed"] >= 3)
    in_work = {w["start"] for w in mine.windows(number) if w["state"] == "running"}
    mine.highwater("backfill", "cancel", str(number), "--yes")
    ended = {w["start"] for w in mine.windows(number) if w["state"] == "cancelled"}
    assert len(ended) >= 30
    now = mine.until(number, "cancelled")
    assert (now["planned"], now["running"], now["failed"]) == (0, 0, 0)
    windows = mine.windows(number)
    assert {w["start"] for w in windows if w["state"] == "cancelled"} == ended
    assert in_work <= {w["start"] for w in windows if w["state"] == "landed"}
    mine.live.wait("every run to end", lambda: mine.nothing_is_left(number))
    assert (
        mine.metadata(
            "SELECT FROM task_instance WHERE dag_id = 'selective_backfill'"
            " AND state IN ('scheduled', 'queued', 'running', 'up_for_retry', 'up_for_reschedule', 'deferred')"
        )
        == []
    )
    assert not ended & set(mine.loads(number))


def test_each_window_lands_once_though_scheduler_and_triggerer_are_killed_and_the_warehouse_restarts(
    backfills: Backfills,
) -> None:
    mine = backfills
    before = mine.versions()
    plan = mine.plan(30, 49, which="all")
    number = mine.insert("operator", 30, 49, which="all")
    mine.trigger("starter")
    mine.live.wait("windows to be in work", lambda: mine.now(number)["running"] and mine.now(number)["landed"] >= 4)
    for component in ("scheduler", "triggerer"):
        mine.live.airflow.kill(component)
    for component in ("scheduler", "triggerer"):
        mine.live.airflow.launch(component)
    mine.live.wait("more windows in work", lambda: mine.now(number)["running"] and mine.now(number)["landed"] >= 8)
    live.restart_the_warehouse()
    mine.until(number, "done")
    mine.assert_ran_as_planned(number, plan)
    after = mine.versions()
    assert {w.start: after[w.start] - before.get(w.start, 0) for w in plan.windows if w.action == LOAD} == {
        w.start: 1 for w in plan.windows if w.action == LOAD
    }
    mine.live.wait("every run to end", lambda: mine.nothing_is_left(number))
