"""Runs by a real scheduler: a platform with just the DAGs that are put into it, and how long their runs took."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import measuring

from highwater.environment import settings
from highwater.local.platform import LocalAirflow
from highwater.model.errors import HighwaterError
from highwater.store import warehouse

PATIENCE = 3600
"""Seconds after which waiting ends in an error."""
WARM_UP = """
from airflow.sdk import dag, task


@task
def nothing() -> None: ...


@dag(schedule="@once")
def warm_up() -> None:
    nothing()


warm_up()
"""


@contextmanager
def platform(**variables: str) -> Iterator[Path]:
    """A running Airflow whose first task is over, which pays for what all later ones find in memory; yields the folder
    of its DAGs. Nothing is left of it."""
    with measuring.platform(**variables) as home:
        dags = home / "dags"
        dags.mkdir()
        bundle = {
            "name": "dags-folder",
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(dags), "refresh_interval": 1},
        }
        os.environ["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"] = json.dumps([bundle])
        with LocalAirflow():
            (dags / "warm_up.py").write_text(WARM_UP)
            seconds("warm_up")
            yield dags


def ours(dags: Path, dag_id: str) -> None:
    """Put the DAG of that name among those that run."""
    shutil.copy(settings.ROOT / f"dags/{dag_id}.py", dags)


def seconds(dag_id: str, runs: int = 1) -> float:
    """From the start of the DAG's first run to the end of its last, once that number succeeded and none is at work.

    Raises:
        HighwaterError: one failed, or they have not ended after `PATIENCE`.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with warehouse.session("postgres", settings.get().metadata_database) as cursor:
            cursor.execute(
                "SELECT count(*) AS runs, bool_and(state = 'success') AS ended, bool_or(state = 'failed') AS failed,"
                " extract(EPOCH FROM max(end_date) - min(start_date)) AS seconds FROM dag_run WHERE dag_id = %s",
                (dag_id,),
            )
            row = warehouse.fetch(cursor)
        if row.failed:
            raise HighwaterError(f"a run of {dag_id} failed")
        if row.ended and row.runs >= runs:
            return float(row.seconds)
        time.sleep(0.5)
    raise HighwaterError(f"{dag_id} has not ended within {PATIENCE} s")
