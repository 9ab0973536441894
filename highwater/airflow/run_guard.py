"""Refuses runs that nobody can mean, as Airflow makes them: for the UI, the API, ``airflow dags trigger`` or a task.

Airflow takes a run for a date to come, and lets it stand as running until then, so that no other run of the DAG is made
meanwhile; and it ends one for a date before the DAG begins as a success without a task.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from highwater.model import clock

AHEAD = timedelta(minutes=1)
"""So far may the clock of a browser be ahead of ours."""
NOT_ASKED = {"scheduled", "backfill", "asset_triggered", "asset_materialization"}
"""The types of runs that Airflow makes by itself; a native backfill also makes the tasks of a DAG that begins later."""


def install() -> None:
    """See to every run that this process puts into the metadata from now on; a second time changes nothing."""
    from sqlalchemy import event
    from sqlalchemy.orm import Session

    if not event.contains(Session, "before_flush", _before_flush):
        event.listen(Session, "before_flush", _before_flush)


def refusal(
    logical_date: datetime, dag_id: str, start_date: datetime | None, first: datetime | None, dataset: str | None
) -> str | None:
    """Why a run of a DAG for a logical date is refused, as a sentence; None where it may be.

    ``start_date`` is that of the DAG, ``first`` the start of the first window of its dataset, each None if not known.
    """
    now = clock.now() if dataset else clock.of_airflow()
    if logical_date > now + AHEAD:
        return (
            f"logical date {_shown(logical_date)} of {dag_id} is in the future, it is {_shown(now)}: the run"
            " would stay running until then and hold up those of the DAG; trigger one for a window that has ended"
        )
    if first is not None and logical_date < first:
        return (
            f"logical date {_shown(logical_date)} of {dag_id} is before the first window of {dataset}, {_shown(first)}:"
            " nothing would be loaded; to begin earlier raise HIGHWATER_HISTORY_DAYS or HIGHWATER_CHANNEL_DAYS"
        )
    if start_date is not None and logical_date < start_date:
        asked = f"logical date {_shown(logical_date)} of {dag_id}"
        return f"{asked} is before its start, {_shown(start_date)}: no task would run"
    return None


def _before_flush(session: Any, _context: object, _instances: object) -> None:
    """Look at the runs that are about to be written.

    Raises:
        ValueError: one is refused; the API answers 400 with the sentence, the command line ends with it.
    """
    for made in session.new:
        if type(made).__name__ != "DagRun" or made.logical_date is None:
            continue
        # A developer's own `dag.test` runs whatever it is told to.
        if made.run_type in NOT_ASKED or getattr(made.triggered_by, "value", made.triggered_by) == "test":
            continue
        from airflow.models.serialized_dag import SerializedDagModel

        from highwater.policy import reader

        dag = SerializedDagModel.get_dag(made.dag_id, session=session)
        dataset = getattr(dag.timetable, "dataset", None) if dag else None
        policy = reader.of(dataset) if dataset else None
        problem = refusal(
            made.logical_date,
            made.dag_id,
            dag.start_date if dag else None,
            policy.grid.first if policy else None,
            dataset,
        )
        if problem:
            raise ValueError(problem)


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
