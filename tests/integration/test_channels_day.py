"""The DAG of the three sources, a run at a time: what lands, what is skipped, what a day rests on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg2.extensions import cursor as Cursor

pytestmark = pytest.mark.usefixtures("empty_warehouse")
RunDag = Callable[..., Any]
DAG = "multi_source_sync"


def test_a_day(airflow: RunDag, analyst: Cursor) -> None:
    run = airflow(DAG, datetime(2026, 10, 30, tzinfo=UTC))
    analyst.execute(
        "SELECT dataset, window_range, version, rows_published, rows_deduplicated, source_snapshot FROM ops.window_ledger ORDER BY 1,2"
    )
    print(*analyst.fetchall(), sep="\n")
    analyst.execute("SELECT dataset, window_range, rule, reason FROM ops.skipped_windows ORDER BY 1,2")
    print(*analyst.fetchall(), sep="\n")
    analyst.execute("SELECT * FROM ops.source_checks")
    print(*analyst.fetchall(), sep="\n")
    analyst.execute("SELECT * FROM ops.source_reliability")
    print(*analyst.fetchall(), sep="\n")
    analyst.execute("SELECT dataset,stage,state, error FROM ops.attempts WHERE state<>'succeeded'")
    print(*analyst.fetchall(), sep="\n")
    analyst.execute(
        "SELECT window_range,expectation,column_name,verdict,observed FROM ops.validation_results WHERE suite='cross_source' order by 1 desc limit 12"
    )
    print(*analyst.fetchall(), sep="\n")
    print(
        {
            ti.task_id: (str(ti.state), ti.end_date - ti.start_date if ti.end_date else 0)
            for ti in run.get_task_instances()
        }
    )
    assert str(run.state) == "success"
