"""Catch-up switched off and on again by a plain UPDATE under a real scheduler, Airflow's own trap, a warehouse away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import live
import pytest
from live import DAG, Live

from highwater import airflow_files, settings, simulation, warehouse

FIRST = datetime.fromisoformat("2026-02-26T00:00:00+00:00")
NOON = timedelta(hours=12)


class Story:
    """The platform, its clock, and what a person does to the policy."""

    def __init__(self, platform: Live, file: Path) -> None:
        self.platform, self.file = platform, file

    def move(self, day: str) -> None:
        """It is noon of that day; the source moves on to it."""
        now = datetime.fromisoformat(f"{day}T12:00:00+00:00")
        airflow_files.replace(self.file, now.isoformat())
        simulation.advance(now)

    def change(self, statement: str) -> None:
        """As a person does in psql."""
        with warehouse.session("operator") as cursor:
            cursor.execute(statement)

    def states(self) -> dict[str, str]:
        """The state of each due window by its day."""
        found = self.platform.rows(
            "SELECT window_start::date::text AS day, state FROM ops.window_status"
            " WHERE dataset = 'daily_sales' AND is_due ORDER BY 1"
        )
        return {row.day: row.state for row in found}

    def next_run(self) -> Any:
        """The logical date and the moment of the run that Airflow means to make next."""
        with warehouse.session("postgres", settings.get().metadata_database) as cursor:
            cursor.execute("SELECT next_dagrun, next_dagrun_create_after FROM dag WHERE dag_id = %s", (DAG,))
            return cursor.fetchone()

    def days_of_runs(self) -> list[str]:
        return [run.day for run in self.platform.runs()]


@pytest.fixture(scope="module")
def story(scratch: Callable[[str], Path]) -> Iterator[Story]:
    home = scratch("policy")
    file = home / "now"
    file.write_text("2026-03-01T12:00:00+00:00")
    environment = {
        "HIGHWATER_ANCHOR": "2026-03-01",
        "HIGHWATER_HISTORY_DAYS": "3",
        "HIGHWATER_NOW_FILE": str(file),
        "SIMULATION_SHOP_ORDERS": "0",
        "SIMULATION_CHANNEL_SALES": "0",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "1",
    }
    with live.platform(home, dags=(DAG,), **environment) as platform:
        platform.airflow.wait_until_healthy()
        yield Story(platform, file)


def test_catch_up_off_leaves_the_windows_of_the_time_between_out_but_for_the_newest(story: Story) -> None:
    story.platform.wait("the history", lambda: set(story.states().values()) == {"landed"} and story.states())
    story.change(
        "UPDATE control.catchup_policies SET enabled = false, reason = 'the servers move' WHERE dataset = 'daily_sales'"
    )
    story.move("2026-03-07")
    story.platform.wait("the newest", lambda: story.states().get("2026-03-06") == "landed")
    assert [day for day, state in story.states().items() if state == "missing"] == [
        f"2026-03-0{n}" for n in range(1, 6)
    ]
