"""``scripts/airflow`` is Airflow's command line with the settings of the platform that runs, and of no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from highwater.environment import settings


def typed(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What the command comes to in an environment that knows nothing of Airflow."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return subprocess.run(
        [sys.executable, "-m", "highwater.local.airflow_command", *words],
        env={**mine, "PYTHONPATH": str(settings.ROOT), **environment},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_speaks_to_the_airflow_of_the_platform_and_makes_none_of_its_own(airflow: object, tmp_path: Path) -> None:
    done = typed("config", "get-value", "core", "dags_folder", HOME=str(tmp_path))
    assert done.stdout.strip().endswith(str(settings.ROOT / "dags")), done.stderr
    pools = typed("pools", "list", "--output", "json", HOME=str(tmp_path))
    assert "default_pool" in [pool["pool"] for pool in json.loads(pools.stdout)], pools.stderr
    assert not (tmp_path / "airflow").exists()


def test_a_platform_that_is_stopped_is_one_sentence(platform: Path) -> None:
    done = typed("dags", "list", HIGHWATER_WAREHOUSE_PORT="1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("airflow: the warehouse at 127.0.0.1:1 does not answer: nothing listens there; ")
    assert done.stderr.count("\n") == 1


def test_where_nothing_was_started_there_is_no_airflow_either(platform: Path, tmp_path: Path) -> None:
    done = typed("dags", "list", HIGHWATER_HOME=str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith("airflow: Airflow is not running here: nothing was started from this checkout yet: ")
