"""When a task is tried again, by what failed."""

from __future__ import annotations

from typing import Any

import pytest

from highwater.model.errors import (
    AuditFailed,
    Busy,
    ConfigurationError,
    DataRejected,
    SourceIncomplete,
    SourceUnavailable,
    Unhealthy,
)

# Airflow is set up by the fixture, so what imports it is imported after that.
pytestmark = pytest.mark.usefixtures("airflow")


def wait(error: BaseException, try_number: int) -> float:
    """Seconds until the next try."""
    from airflow.sdk import RetryAction

    from highwater.airflow.retries import ByKind

    decision = ByKind().evaluate(error, try_number, 24)
    assert decision.action is RetryAction.RETRY
    assert decision.retry_delay is not None
    return decision.retry_delay.total_seconds()


@pytest.mark.parametrize("error", [DataRejected("x"), AuditFailed("x"), ConfigurationError("x")])
def test_what_a_retry_cannot_fix_is_not_tried_again(error: BaseException) -> None:
    from airflow.sdk import RetryAction

    from highwater.airflow.retries import ByKind

    assert ByKind().evaluate(error, 1, 24).action is RetryAction.FAIL


@pytest.mark.parametrize("error", [SourceUnavailable("x", "billing"), Unhealthy("x"), OSError("who knows")])
def test_what_is_away_is_waited_for_twice_as_long_each_time_up_to_a_bound(error: BaseException) -> None:
    longest = [5, 10, 20, 40, 80, 160, 320, 640, *[900] * 16]
    for tried, most in enumerate(longest, 1):
        assert most / 2 <= wait(error, tried) <= most


def test_two_that_failed_together_do_not_come_back_together() -> None:
    assert len({wait(SourceUnavailable("x"), 8) for _ in range(20)}) == 20


def test_busy_is_soon_and_an_open_window_is_checked_each_minute() -> None:
    assert all(2 <= wait(Busy("x"), tried) <= 10 for tried in (1, 5, 24))
    assert wait(SourceIncomplete("x"), 5) == 60


def test_it_is_what_the_tasks_of_the_recovery_use() -> None:
    from airflow.dag_processing.dagbag import DagBag

    from highwater.environment import settings

    dag = DagBag(dag_folder=settings.ROOT / "dags/system_recovery_processing.py").dags["system_recovery_processing"]
    tasks: list[Any] = dag.tasks
    kinds = {type(task.partial_kwargs["retry_policy"] if task.is_mapped else task.retry_policy) for task in tasks}
    assert [kind.__name__ for kind in kinds] == ["ByKind"]
    assert {task.pool for task in dag.tasks} == {"billing", "web", "default_pool"}
