"""Real Airflow in the test's own process: a migrated metadata database and one run of a DAG at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from highwater import local_environment, settings


@pytest.fixture(scope="session")
def airflow(platform: Path) -> Iterator[Callable[[str, datetime], Any]]:
    """Runs a DAG of ``dags/`` for a logical date through `dag.test`; returns the finished run.

    Tasks run for real, one after the other, in this process, and are not retried: the end to end tests see to that.
    """
    local_environment.write_metadata_url()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in local_environment.environment(port=1).items():
            patch.setenv(name, value)
        (settings.get().home / "airflow").mkdir(exist_ok=True)
        subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True, env=dict(os.environ)
        )

        def run(dag_id: str, logical_date: datetime) -> Any:
            from airflow.dag_processing.dagbag import DagBag

            file = settings.ROOT / f"dags/{dag_id}.py"
            bag = DagBag(dag_folder=file, bundle_path=file.parent, bundle_name="dags-folder")
            assert not bag.import_errors
            dag = bag.dags[dag_id]
            for task in dag.tasks:
                task.retries = 0
            return dag.test(logical_date=logical_date)

        yield run
        from airflow import settings as airflow_settings

        airflow_settings.dispose_orm()
