"""One window: its ledger row, versions, audits, quarantined rows, attempts, and what the policy decides."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.utils.session import create_session
from psycopg2.extensions import cursor as Cursor
from sqlalchemy import select

from highwater.model.windows import Window
from highwater.page import rendering
from highwater.page.problems import Problem
from highwater.store import ledger, warehouse

PARTS = ("versions", "attempts", "validations", "quarantine")


def read(cursor: Cursor, of: Any, start: datetime, *, may_see_rows: bool) -> dict[str, Any]:
    """All facts about the window of a dataset that begins at ``start``.

    Raises:
        Problem: the window has not begun.
    """
    warehouse.run_file(cursor, "page/window.sql", {"dataset": of.dataset, "since": start})
    found = warehouse.fetch(cursor)
    if found is None:
        raise Problem(404, f"the window of {of.dataset} that begins at {start:%Y-%m-%d %H:%M} has not begun")
    window = Window(start, found.window_end)
    facts: dict[str, Any] = {"window": found, "of": of, "may_see_rows": may_see_rows}
    for part in PARTS:
        parameters = {
            "dataset": of.dataset,
            "since": window.start,
            "until": window.end,
            "window_range": ledger.as_range(window),
            "may_see_rows": may_see_rows,
        }
        warehouse.run_file(cursor, f"page/{part}.sql", parameters)
        facts[part] = warehouse.fetch_all(cursor)
    return facts | {
        "timings": timings(facts["attempts"]),
        "audits": audits(facts["validations"]),
    }


def audits(validations: Sequence[Any]) -> list[dict[str, Any]]:
    """The validation results by audit, newest first: what passed and what did not."""
    found: dict[tuple[str, str, int], dict[str, Any]] = {}
    for one in validations:
        audit = found.setdefault(
            (one.suite, one.run_id, one.try_number),
            {
                "suite": one.suite,
                "run_id": one.run_id,
                "try_number": one.try_number,
                "at": one.validated_at,
                "passed": [],
                "broken": [],
            },
        )
        audit["passed" if one.verdict == "passed" else "broken"].append(one)
    return list(found.values())


def timings(attempts: Sequence[Any]) -> list[Any]:
    """The attempts of the latest run, oldest first."""
    latest = attempts[0].run_id if attempts else None
    return [attempt for attempt in reversed(attempts) if attempt.run_id == latest]


def links(dag_id: str | None, run_id: str | None, attempts: Sequence[Any]) -> dict[str, str | None]:
    """Links to Airflow: the run of a window in the grid, and the log of the latest failed task."""
    found: dict[str, str | None] = {"run": None, "log": None}
    if attempts:
        dag_id, run_id = attempts[0].dag_id, attempts[0].run_id
    if dag_id and run_id:
        found["run"] = rendering.up("dags", dag_id, "runs", run_id)
    # A failure of an earlier run is of no interest.
    latest = attempts[0].run_id if attempts else None
    failed = next((each for each in attempts if each.state in ("failed", "lost", "retrying")), None)
    if failed is not None and failed.run_id == latest:
        found["log"] = _log(failed)
    return found


def _log(attempt: Any) -> str:
    """The log of an attempt's task, found by its process id; the run if there is no such task."""
    run = ("dags", attempt.dag_id, "runs", attempt.run_id)
    with create_session() as session:
        for table in (TaskInstance, TaskInstanceHistory):
            task = session.execute(
                select(table.task_id, table.map_index, table.try_number)
                .where(table.dag_id == attempt.dag_id, table.run_id == attempt.run_id, table.pid == attempt.pid)
                .order_by(table.start_date.desc())
                .limit(1)
            ).first()
            if task is not None:
                mapped = ("mapped", str(task.map_index)) if task.map_index >= 0 else ()
                return rendering.up(*run, "tasks", task.task_id, *mapped, try_number=str(task.try_number))
    return rendering.up(*run)
