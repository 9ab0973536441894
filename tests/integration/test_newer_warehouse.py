"""A run of a DAG in a warehouse that is newer than the code: it fails at its first task, and says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from highwater.store import warehouse

pytestmark = pytest.mark.usefixtures("empty_warehouse")


@pytest.fixture
def newer(airflow: Callable[..., Any]) -> Iterator[None]:
    """The warehouse is of a version to come while the test runs."""
    with warehouse.session("postgres") as cursor:
        cursor.execute("SELECT version_num FROM control.alembic_version")
        version = warehouse.fetch_value(cursor)
        cursor.execute("UPDATE control.alembic_version SET version_num = '99.0.0'")
    yield
    with warehouse.session("postgres") as cursor:
        cursor.execute("UPDATE control.alembic_version SET version_num = %s", (version,))


def test_a_run_fails_before_it_touches_anything(
    airflow: Callable[..., Any], newer: None, capfd: pytest.CaptureFixture[str]
) -> None:
    run = airflow("historical_sales_migration", datetime(2026, 10, 12, tzinfo=UTC))
    assert run.state == "failed"
    states = {task.task_id: str(task.state) for task in run.get_task_instances()}
    assert set(states.values()) <= {"failed", "upstream_failed"}, states
    assert "the warehouse's schema is version 99.0.0, newer than this code" in "".join(capfd.readouterr())
    with warehouse.session("postgres") as cursor:
        cursor.execute("SELECT (SELECT count(*) FROM ops.attempts) + (SELECT count(*) FROM ops.window_ledger)")
        assert warehouse.fetch_value(cursor) == 0
