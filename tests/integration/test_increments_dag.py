"""The DAG of the orders, run by real Airflow: an hour, a covered hour, and what is asked for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg2.extensions import cursor as Cursor

from highwater import warehouse

pytestmark = pytest.mark.usefixtures("empty_warehouse")
RunDag = Callable[..., Any]
DAG = "incremental_data_processing"
TEN = datetime(2026, 10, 31, 10, tzinfo=UTC)
STAGES = ["determine_mode", "identify_changes", "process_changes", "update_checkpoint", "validate_consistency"]


def stages(cursor: Cursor) -> list[str]:
    cursor.execute("SELECT stage FROM ops.attempts WHERE state = 'succeeded' ORDER BY attempt_id")
    return [row.stage for row in warehouse.fetch_all(cursor)]


def test_an_hour_lands_through_five_tasks_and_the_next_ones_that_it_covers_end_at_once(
    airflow: RunDag, analyst: Cursor
) -> None:
    assert str(airflow(DAG, TEN).state) == "success"
    assert stages(analyst) == STAGES
    analyst.connection.rollback()
    assert str(airflow(DAG, TEN.replace(hour=9)).state) == "success"
    assert stages(analyst) == [*STAGES, "determine_mode"]
