"""Nobody watches the watcher but everybody who looks: what becomes of the platform's own DAGs and of the server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg2 import errors
from psycopg2.extensions import cursor as Cursor

from highwater.environment import settings
from highwater.incidents import alerts
from highwater.store import warehouse

pytestmark = pytest.mark.usefixtures("empty_warehouse")
OURS = {
    "catchup_control": {"look_at_conditions", "announce_changes", "resume_stopped", "end_without_run", "fill_gaps"},
    "incident_watch": {"look", "prune_versions"},
    "content_check": {"compare_a_share"},
    "simulated_sources": {"legacy", "shop", "channels", "batches"},
}


def troubles() -> list[tuple[str, str]]:
    """The open incidents of the platform itself, after a look."""
    alerts.look()
    with warehouse.session("analyst") as cursor:
        cursor.execute(
            "SELECT kind, subject FROM ops.incidents WHERE closed_at IS NULL"
            " AND (kind LIKE 'platform%%' OR kind = 'warehouse restarts') ORDER BY 1, 2"
        )
        return [tuple(row) for row in cursor.fetchall()]


def went(dag_id: str, task_id: str, state: str = "succeeded", error: str | None = None) -> None:
    """A task of ours began and ended."""
    with closing(warehouse.connect("loader")) as link, link.cursor() as cursor:
        link.autocommit = True
        cursor.execute("SELECT ops.begin_own_task(%s, %s, 'run')", (dag_id, task_id))
        cursor.execute("SELECT ops.end_own_task(%s, %s, %s, %s)", (dag_id, task_id, state, error))


def test_a_task_that_failed_is_an_incident_until_it_goes_well() -> None:
    went("simulated_sources", "shop", "retrying", "OperationalError: away")
    assert troubles() == []
    went("simulated_sources", "shop", "failed", "OperationalError: away")
    assert troubles() == [("platform task failed", "simulated_sources")]
    went("simulated_sources", "legacy")
    assert troubles() == [("platform task failed", "simulated_sources")]
    went("simulated_sources", "shop")
    assert troubles() == []


def test_one_that_is_cancelled_or_killed_is_known_by_its_session() -> None:
    with closing(warehouse.connect("loader")) as link, link.cursor() as cursor:
        link.autocommit = True
        cursor.execute("SELECT ops.begin_own_task('catchup_control', 'fill_gaps', 'run')")
        assert troubles() == []
    assert troubles() == [("platform task failed", "catchup_control")]
    went("catchup_control", "fill_gaps")
    assert troubles() == []


def test_what_begins_while_someone_looks_is_not_taken_for_dead() -> None:
    with warehouse.session("loader") as looking:
        # The look has asked who lives, and waits for its turn.
        looking.execute("SELECT count(*) FROM pg_stat_activity")
        with closing(warehouse.connect("loader")) as link, link.cursor() as cursor:
            link.autocommit = True
            cursor.execute("SELECT ops.begin_own_task('incident_watch', 'look', 'run')")
            cursor.execute(
                "SELECT ops.start_attempt('daily_sales', '[2026-10-01, 2026-10-02)', 'load', 'dag', 'run', 1, 'h', 1)"
            )
            looking.execute("SELECT kind FROM ops.platform_troubles")
            assert warehouse.fetch_all(looking) == []
            looking.execute("SELECT count(*) FROM ops.live_attempts")
            assert warehouse.fetch_value(looking) == 1


def test_a_watcher_that_does_not_run_is_missed_by_the_other_and_a_machine_that_was_off_missed_nothing(
    later: Callable[[timedelta], None],
) -> None:
    went("catchup_control", "fill_gaps")
    went("incident_watch", "look")
    later(timedelta(days=30))
    assert troubles() == []
    for _ in range(3):
        went("incident_watch", "look")
    assert troubles() == [("platform DAG does not run", "catchup_control")]
    went("catchup_control", "announce_changes")
    assert troubles() == []


def test_one_that_runs_and_fails_is_no_dag_that_does_not_run(later: Callable[[timedelta], None]) -> None:
    went("incident_watch", "look")
    went("content_check", "compare_a_share")
    for minute in range(0, 30, 5):
        later(timedelta(minutes=minute))
        went("incident_watch", "look", "failed", "it cannot")
        went("catchup_control", "fill_gaps")
    assert troubles() == [("platform task failed", "incident_watch")]


def test_one_that_failed_once_and_was_paused_then_is_over_when_a_person_says_so(
    later: Callable[[timedelta], None],
) -> None:
    went("simulated_sources", "shop", "failed", "OperationalError: away")
    assert troubles() == [("platform task failed", "simulated_sources")]
    later(timedelta(minutes=1))
    with warehouse.session("operator") as cursor:
        cursor.execute("SELECT ops.acknowledge_incident(max(incident_id), 'ada', 'paused') FROM ops.incidents")
    assert troubles() == []
    later(timedelta(minutes=2))
    went("simulated_sources", "shop", "failed", "OperationalError: away")
    assert troubles() == [("platform task failed", "simulated_sources")]


def test_the_nightly_check_may_miss_a_day() -> None:
    went("content_check", "compare_a_share")
    with warehouse.session("postgres") as cursor:
        cursor.execute("UPDATE ops.own_dags SET missed = 1151 WHERE dag_id = 'content_check'")
    assert troubles() == []
    went("incident_watch", "look")
    assert ("platform DAG does not run", "content_check") in troubles()


def test_a_server_that_is_started_again_and_again_is_an_incident_for_an_hour(
    admin: Cursor, later: Callable[[timedelta], None]
) -> None:
    assert troubles() == []
    assert troubles() == []
    admin.execute("SELECT count(*) FROM ops.server_starts")
    assert warehouse.fetch_value(admin) == 1
    admin.execute(
        "INSERT INTO ops.server_starts (started_at)"
        " SELECT now() - make_interval(mins => n) FROM generate_series(1, 4) AS n"
    )
    admin.connection.commit()
    assert troubles() == [("warehouse restarts", "warehouse")]
    later(timedelta(minutes=61))
    assert troubles() == []


@pytest.mark.parametrize("dag_id", ["incident_watch", "content_check"])
def test_a_run_of_ours_says_so(airflow: Callable[..., Any], dag_id: str) -> None:
    assert str(airflow(dag_id, datetime(2026, 10, 31, 11, 55, tzinfo=UTC)).state) == "success"
    with warehouse.session("analyst") as cursor:
        cursor.execute("SELECT dag_id, task_id, state FROM ops.own_tasks")
        assert {tuple(row) for row in cursor.fetchall()} == {(dag_id, task, "succeeded") for task in OURS[dag_id]}


@pytest.mark.parametrize("dag_id", OURS)
def test_every_task_of_ours_is_watched(airflow: Callable[..., Any], dag_id: str) -> None:
    from airflow.dag_processing.dagbag import DagBag

    dag = DagBag(dag_folder=settings.ROOT / f"dags/{dag_id}.py").dags[dag_id]
    found = {
        task.task_id: hasattr(task.python_callable, "__wrapped__")
        for task in dag.tasks
        if hasattr(task, "python_callable") and task.task_id != "waiting"
    }
    assert found == dict.fromkeys(OURS[dag_id], True)


def test_nobody_writes_what_is_watched_but_by_the_functions(loader: Cursor, analyst: Cursor, operator: Cursor) -> None:
    for cursor in (loader, analyst, operator):
        for table in ("own_tasks", "own_dags", "server_starts"):
            with pytest.raises(errors.InsufficientPrivilege):
                cursor.execute(f"DELETE FROM ops.{table}")
            cursor.connection.rollback()
