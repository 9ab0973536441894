"""Catch-up switched off and on again by a plain UPDATE under a real scheduler, Airflow's own trap, a warehouse away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from e2e import live
from e2e.live import DAG, Live
from waiting import wait_until

from highwater.airflow import api
from highwater.environment import files, settings
from highwater.model import policy
from highwater.policy import reader
from highwater.store import warehouse
from simulation import sales

CONTROL = "catchup_control"
OFF = "UPDATE control.catchup_policies SET enabled = false, reason = 'the servers move' WHERE dataset = 'daily_sales'"
ON = "UPDATE control.catchup_policies SET enabled = true, reason = 'they have moved' WHERE dataset = 'daily_sales'"
CLOSE = "INSERT INTO control.closed_days (day, dataset, reason) VALUES ('{}', 'daily_sales', 'stocktaking')"


class Story:
    """The platform, its clock, and what a person does to the policy."""

    def __init__(self, platform: Live, file: Path) -> None:
        self.platform, self.file = platform, file
        self.api = api.log_in()

    def move(self, day: str) -> None:
        """It is noon of that day; the source has everything before it."""
        now = datetime.fromisoformat(f"{day}T12:00:00+00:00")
        sales.advance(now)
        files.replace(self.file, now.isoformat())

    def change(self, statement: str, known: Callable[[policy.Policy], object]) -> None:
        """Do as a person does in psql, and wait until the DAG processor schedules by it."""
        with warehouse.session("operator") as cursor:
            cursor.execute(statement)
        file = settings.get().policies_file
        self.platform.wait("the policy to be known", lambda: known(policy.read(file.read_text())["daily_sales"]))
        self.parsed_after(file.stat().st_mtime + reader.PAUSE)

    def parsed_after(self, moment: float) -> None:
        """Wait until the DAG's file was read after a moment, and with it the next run worked out again."""
        query = "SELECT extract(EPOCH FROM last_parsed_time)::float8 > %s FROM dag WHERE dag_id = %s"
        self.platform.wait("the DAG to be parsed", lambda: self.metadata(query, moment, DAG)[0][0])

    def states(self) -> dict[str, str]:
        """The state of each due window by its day of March; those of the history are left out."""
        found = self.platform.rows(
            "SELECT to_char(window_start, 'DD') AS day, state FROM ops.window_status"
            " WHERE dataset = 'daily_sales' AND is_due AND window_start >= '2026-03-01' ORDER BY 1"
        )
        return {row.day: row.state for row in found}

    def days(self) -> list[str]:
        """The days of March that Airflow has a run for, or more than one."""
        return [run.day.removeprefix("2026-03-") for run in self.platform.runs() if run.day >= "2026-03-01"]

    def next_day(self) -> str:
        """The day of the run that Airflow means to make next."""
        ((day,),) = self.metadata("SELECT to_char(next_dagrun, 'MM-DD') FROM dag WHERE dag_id = %s", DAG)
        return str(day)

    def pause(self, dag: str, *, on: bool = True) -> None:
        """Pause a DAG, or let it run again."""
        self.api.patch(f"/dags/{dag}", json={"is_paused": on}).raise_for_status()

    def watch(self) -> None:
        """Let catchup_control run now, and not whenever five minutes are over."""
        self.pause(CONTROL, on=False)
        run = self.api.post(f"/dags/{CONTROL}/dagRuns", json={"logical_date": None}).raise_for_status().json()
        query = "SELECT FROM dag_run WHERE run_id = %s AND state = 'success'"
        self.platform.wait("catchup_control", lambda: self.metadata(query, run["dag_run_id"]))
        self.pause(CONTROL)

    def ended(self) -> None:
        """Wait until every run of the month's DAG has ended."""
        self.platform.wait("every run to end", lambda: {run.state for run in self.platform.runs()} == {"success"})

    def metadata(self, query: str, *parameters: object) -> list[Any]:
        """The rows a query gives in Airflow's metadata."""
        with warehouse.session("airflow", settings.get().metadata_database) as cursor:
            cursor.execute(query, parameters)
            return cursor.fetchall()


@pytest.fixture(scope="module")
def story(scratch: Callable[[str], Path]) -> Iterator[Story]:
    home = scratch("policy")
    file = home / "now"
    file.write_text("2026-03-01T12:00:00+00:00")
    environment = {
        "HIGHWATER_ANCHOR": "2026-03-01",
        "HIGHWATER_HISTORY_DAYS": "1",
        "HIGHWATER_NOW_FILE": str(file),
        "SIMULATION_SHOP_ORDERS": "0",
        "SIMULATION_CHANNEL_SALES": "0",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "2",
    }
    with live.platform(home, dags=(DAG, CONTROL, "selective_backfill"), **environment) as platform:
        platform.airflow.wait_until_healthy()
        platform.wait("the history", lambda: platform.strip() == "landed")
        story = Story(platform, file)
        story.pause(CONTROL)
        yield story


def test_off_and_on_again_by_one_update_each_the_windows_between_are_absent_and_then_land(story: Story) -> None:
    story.change(OFF, lambda known: not known.is_on)
    story.move("2026-03-06")
    story.platform.wait("the newest", lambda: story.states()["05"] == "landed")
    story.ended()
    assert story.states() == dict.fromkeys(["01", "02", "03", "04"], "missing") | {"05": "landed"}
    assert (story.days(), story.next_day()) == (["05"], "03-06")
    ((reason,),) = story.platform.rows(
        "SELECT DISTINCT reason FROM ops.window_status WHERE dataset = 'daily_sales' AND state = 'missing' AND is_due"
    )
    assert reason == "catch-up is off since 2026-03-01 12:00 by operator: the servers move"

    story.change(ON, lambda known: known.is_on)
    story.watch()
    story.platform.wait("the windows between", lambda: set(story.states().values()) == {"landed"})
    story.platform.wait("its end", lambda: story.platform.value("SELECT state FROM control.backfills") == "done")
    assert story.days() == ["05"], "Airflow made no run for them"
    ((via, total, reason),) = story.platform.rows("SELECT via, windows_total, reason FROM ops.backfill_progress")
    assert (via, total) == ("policy", 4)
    assert reason.endswith("catch-up is on again since 2026-03-06 12:00 by operator")


def test_the_history_tells_the_story_and_the_incident_is_over(story: Story) -> None:
    story.platform.wait(
        "all to be announced",
        lambda: not story.platform.rows("SELECT FROM control.catchup_policy_history WHERE announced_at IS NULL"),
    )
    recorded = story.platform.rows(
        "SELECT changed_by, old ->> 'enabled' AS old, new ->> 'enabled' AS new, reason"
        " FROM control.catchup_policy_history ORDER BY change_id"
    )
    assert [tuple(row) for row in recorded] == [
        ("operator", "true", "false", "the servers move"),
        ("operator", "false", "true", "they have moved"),
    ]
    over = "SELECT subject FROM ops.incidents WHERE kind ~ '^catch-up off' AND closed_at IS NOT NULL"
    story.platform.wait("the incident to be over", lambda: story.platform.rows(over) == [("daily_sales",)])


def test_what_airflow_loses_behind_a_native_backfill_lands_and_closed_days_are_left_out(story: Story) -> None:
    story.change(CLOSE.format("2026-03-08"), lambda known: known.closed_days)
    story.pause(DAG)
    story.move("2026-03-12")
    story.platform.command(
        "backfill", "create", "--dag-id", DAG, "--from-date", "2026-03-08", "--to-date", "2026-03-11"
    )
    assert story.days() == ["05", "09", "10"], "it skips the closed day"
    story.parsed_after(story.file.stat().st_mtime)
    story.platform.wait("the jump", lambda: story.next_day() == "03-11")
    story.pause(DAG, on=False)
    story.platform.wait("the newest", lambda: story.states()["11"] == "landed")
    story.ended()
    assert story.states()["08"] == "skipped"
    assert [day for day, state in story.states().items() if state == "missing"] == ["06", "07"], "Airflow lost them"
    story.watch()
    story.platform.wait("what was lost", lambda: set(story.states().values()) == {"landed", "skipped"})
    assert story.days() == ["05", "09", "10", "11"]
    assert story.platform.rows(
        "SELECT version, count(*) FROM ops.window_ledger WHERE dataset = 'daily_sales' GROUP BY version"
    ) == [(1, 11)], "each once"


def test_with_the_warehouse_refusing_logins_the_scheduler_stays_healthy_by_the_last_good_policy(story: Story) -> None:
    story.change(CLOSE.format("2026-03-12"), lambda known: len(known.closed_days) == 2)
    assert story.next_day() == "03-13"
    name = settings.get().warehouse_database
    beats = "SELECT max(latest_heartbeat) FROM job WHERE job_type = 'SchedulerJob' AND state = 'running'"
    with closing(warehouse.connect("postgres", "postgres")) as link, link.cursor() as cursor:
        link.autocommit = True
        cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
            with pytest.raises(Exception, match="not currently accepting connections"):
                warehouse.connect("analyst")
            story.platform.airflow.kill("dag-processor")
            story.platform.airflow.launch("dag-processor")
            seen, parsed = set(), set()

            def goes_on() -> bool:
                seen.add(story.metadata(beats)[0][0])
                ((moment, day),) = story.metadata(
                    "SELECT last_parsed_time, to_char(next_dagrun, 'MM-DD') FROM dag WHERE dag_id = %s", DAG
                )
                assert day == "03-13", "decided by another policy"
                parsed.add(moment)
                return len(seen) > 3 and len(parsed) > 3

            wait_until("three heartbeats and three parses", goes_on)
            story.platform.airflow.wait_until_healthy()
        finally:
            cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
