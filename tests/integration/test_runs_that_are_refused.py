"""What Airflow would let through: a run for a date to come, one before the first window, more at once than promised."""

from __future__ import annotations

import json
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
"""Number of tasks of a DAG that run at once, of any kind of run."""


@pytest.fixture
def trigger(airflow: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Makes a run as ``airflow dags trigger``, the API and TriggerDagRunOperator do; the runs go behind the test."""
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType

    manager = DagBundlesManager()  # type: ignore[no-untyped-call]
    manager.sync_bundles_to_db()
    for bundle in manager.get_all_dag_bundles():
        bundle.initialize()
        bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
        sync_bag_to_db(bag, bundle.name, bundle.version)
    run_guard.install()
    with create_session() as session:
        session.query(DagRun).delete()  # Another file's test may have left runs: here they are counted.
    cli = DagRunTriggeredByType.CLI
    yield lambda dag_id, moment, **more: trigger_dag(dag_id, logical_date=moment, triggered_by=cli, **more)
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


@pytest.mark.parametrize("moment", [datetime(2026, 10, 5, 2, tzinfo=UTC), None])
def test_one_that_would_wait_for_a_date_to_come_is_not_made(
    trigger: Callable[..., Any], moment: datetime | None
) -> None:
    with pytest.raises(ValueError, match=f"a run of {SALES} that waits until 2127-10-05 00:00 UTC is refused"):
        trigger(SALES, moment, run_after=datetime(2127, 10, 5, tzinfo=UTC))
    assert runs() == 0


def test_what_another_dag_triggers_nobody_asked_for(airflow: Callable[..., Any]) -> None:
    from airflow.utils.types import DagRunType

    from highwater.airflow import tasks

    assert {kind.value for kind in DagRunType} - tasks.AUTOMATIC == {"manual", "backfill"}


def test_the_command_line_of_airflow_is_refused_too(trigger: Callable[..., Any]) -> None:
    """In a process of its own, which nothing but Airflow's settings has prepared."""
    asked = [sys.executable, "-m", "airflow", "dags", "trigger", WATCH, "--logical-date", "2127-06-01T00:00:00+00:00"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"logical date 2127-06-01 00:00 UTC of {WATCH} is in the future" in done.stdout + done.stderr
    assert runs() == 0


def test_a_second_run_of_a_date_is_not_made_and_the_way_to_load_it_again_is_said(trigger: Callable[..., Any]) -> None:
    trigger(SALES, datetime(2026, 10, 5, 2, tzinfo=UTC))
    with pytest.raises(ValueError, match=r"has a run already, manual__.* \(queued\): .*clear that run in ") as no:
        trigger(SALES, datetime(2026, 10, 5, 2, tzinfo=UTC))
    again = "scripts/highwater backfill run daily_sales --from 2026-10-05 --to 2026-10-05 --which all --reason …"
    assert str(no.value).endswith(again)
    assert runs() == 1


def test_a_native_backfill_from_before_the_first_window_is_not_made(trigger: Callable[..., Any]) -> None:
    from airflow.models.backfill import Backfill, InvalidBackfillDate, ReprocessBehavior, _create_backfill
    from airflow.utils.session import create_session

    with pytest.raises(InvalidBackfillDate, match=r"from 2026-09-29 .* is before the first window of daily_sales"):
        _create_backfill(
            dag_id=SALES,
            from_date=datetime(2026, 9, 29, tzinfo=UTC),
            to_date=datetime(2026, 10, 2, tzinfo=UTC),
            max_active_runs=1,
            reverse=False,
            dag_run_conf=None,
            triggering_user_name="kim",
            reprocess_behavior=ReprocessBehavior.NONE,
        )
    with create_session() as session:
        assert (session.query(Backfill).count(), runs()) == (0, 0)


REFUSED = {
    "a date to come": ([WATCH, "--logical-date", "2127-06-01T00:00:00+00:00"], "is in the future"),
    "no such DAG": (["nope"], "Dag id nope not found"),
    "a form that is not filled in": (["selective_backfill"], "Invalid input for param"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_at_the_command_line_is_one_sentence(trigger: Callable[..., Any], what: str) -> None:
    words, said = REFUSED[what]
    asked = [sys.executable, "-m", "highwater.airflow.command_line", "dags", "trigger", *words]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("airflow: ") and said in done.stderr.splitlines()[-1], done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert runs() == 0


def test_nothing_but_what_was_asked_for_is_on_stdout(trigger: Callable[..., Any]) -> None:
    asked = [sys.executable, "-m", "highwater.airflow.command_line", "dags", "list", "--output", "json"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert SALES in [dag["dag_id"] for dag in json.loads(done.stdout)], done.stdout[:500]


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
