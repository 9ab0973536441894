"""What Airflow would let through: a run for a date to come, one before the first window, more at once than promised."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from highwater.airflow import run_guard
from highwater.environment import settings
from highwater.setup import metadata

pytestmark = pytest.mark.usefixtures("empty_warehouse")
SALES, WATCH = "historical_sales_migration", "catchup_control"
PROMISED = {SALES: 3, "incremental_data_processing": 1, "multi_source_sync": 3}
"""So many tasks of a DAG are at work at once, whoever made the runs."""


@pytest.fixture
def trigger(airflow: Callable[..., Any]) -> Iterator[Callable[[str, datetime | None], Any]]:
    """Makes a run as ``airflow dags trigger``, the API and TriggerDagRunOperator do; the runs go behind the test."""
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType

    manager = DagBundlesManager()
    manager.sync_bundles_to_db()
    for bundle in manager.get_all_dag_bundles():
        bundle.initialize()
        bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
        sync_bag_to_db(bag, bundle.name, bundle.version)
    run_guard.install()
    with create_session() as session:
        session.query(DagRun).delete()  # Another file's test may have left runs: here they are counted.
    yield lambda dag_id, moment: trigger_dag(dag_id, logical_date=moment, triggered_by=DagRunTriggeredByType.CLI)
    with create_session() as session:
        session.query(DagRun).delete()


def runs() -> int:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    with create_session() as session:
        return int(session.query(DagRun).count())


@pytest.mark.parametrize("dag_id", [SALES, WATCH])
def test_a_run_for_a_date_to_come_is_not_made(trigger: Callable[..., Any], dag_id: str) -> None:
    with pytest.raises(ValueError, match=rf"logical date 2127-06-01 00:00 UTC of {dag_id} is in the future"):
        trigger(dag_id, datetime(2127, 6, 1, tzinfo=UTC))
    assert runs() == 0


def test_one_before_the_first_window_is_not_made(trigger: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"is before the first window of daily_sales, 2026-10-01 00:00 UTC"):
        trigger(SALES, datetime(2026, 9, 30, 23, 59, tzinfo=UTC))
    assert runs() == 0


def test_one_before_the_dag_begins_is_not_made(trigger: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"is before its start, 2026-10-31 00:00 UTC: no task would run"):
        trigger(WATCH, datetime(2026, 10, 30, tzinfo=UTC))


def test_the_command_line_of_airflow_is_told_so_too(trigger: Callable[..., Any]) -> None:
    """In a process of its own, which nothing but Airflow's settings has prepared."""
    asked = [sys.executable, "-m", "airflow", "dags", "trigger", WATCH, "--logical-date", "2127-06-01T00:00:00+00:00"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"logical date 2127-06-01 00:00 UTC of {WATCH} is in the future" in done.stdout + done.stderr
    assert runs() == 0


def test_others_are_made(trigger: Callable[..., Any]) -> None:
    trigger(SALES, datetime(2026, 10, 5, 2, tzinfo=UTC))
    trigger(WATCH, None)
    assert runs() == 2


@pytest.mark.parametrize("dag_id", PROMISED)
def test_a_native_backfill_keeps_to_what_is_promised_by_a_pool(airflow: Callable[..., Any], dag_id: str) -> None:
    from airflow.dag_processing.dagbag import DagBag

    dag = DagBag(dag_folder=settings.ROOT / f"dags/{dag_id}.py").dags[dag_id]
    slots = {task.task_id: metadata.pools()[task.pool][0] for task in dag.tasks}
    assert max(slots.values()) <= PROMISED[dag_id]
