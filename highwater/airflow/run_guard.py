"""Refuses runs that make no sense when they are created, by the UI, the API, ``airflow dags trigger`` or a task.

Airflow accepts a run for a future date and keeps it running until then, so that no other run of the DAG is created
meanwhile; and it ends a run for a date before the DAG's start as a success without a task.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from highwater.environment import project
from highwater.model import clock

AHEAD = timedelta(minutes=1)
"""How far the clock of a browser may be ahead of ours."""
AUTOMATIC = {"scheduled", "backfill", "asset_triggered", "asset_materialization"}
"""The run types that Airflow creates automatically, which are not checked. A native backfill runs the tasks even of a
date before the DAG's start."""


def install() -> None:
    """Check every run that this process adds to the metadata database from now on. Idempotent."""
    from sqlalchemy import event
    from sqlalchemy.orm import Session

    if not event.contains(Session, "before_flush", _before_flush):
        event.listen(Session, "before_flush", _before_flush)


def refusal(
    logical_date: datetime, dag_id: str, start_date: datetime | None, first: datetime | None, dataset: str | None
) -> str | None:
    """Why a run of a DAG for a logical date is refused; None if it is allowed.

    ``start_date`` is that of the DAG, ``first`` the start of the first window of its dataset, each None if unknown.
    """
    now = clock.now() if dataset else clock.of_airflow()
    if logical_date > now + AHEAD:
        return (
            f"logical date {_shown(logical_date)} of {dag_id} is in the future, it is {_shown(now)}: the run"
            " would stay running until then and block those of the DAG; trigger one for a window that has ended"
        )
    if first is not None and logical_date < first:
        return (
            f"logical date {_shown(logical_date)} of {dag_id} is before the first window of {dataset}, {_shown(first)}:"
            f" nothing would be loaded; {_to_begin_earlier(dataset)}"
        )
    if start_date is not None and logical_date < start_date:
        asked = f"logical date {_shown(logical_date)} of {dag_id}"
        return f"{asked} is before its start, {_shown(start_date)}: no task would run"
    return None


def refusal_to_wait(run_after: datetime, dag_id: str) -> str | None:
    """Why a run that Airflow is to start at a later moment is refused; None if it is allowed."""
    now = clock.of_airflow()
    if run_after <= now + AHEAD:
        return None
    return (
        f"a run of {dag_id} that waits until {_shown(run_after)} is refused, it is {_shown(now)}: it would stay queued"
        " until then and keep gaps from being filled; trigger it when it is to run"
    )


def backfill_refusal(from_date: datetime, dag_id: str, first: datetime, dataset: str) -> str | None:
    """Why a native backfill that begins at a moment is refused; None if it is allowed."""
    if from_date >= first:
        return None
    return (
        f"from {_shown(from_date)} of {dag_id} is before the first window of {dataset}, {_shown(first)}: its runs would"
        f" fail; begin the backfill there; {_to_begin_earlier(dataset)}"
    )


def duplicate_refusal(dag_id: str, logical_date: datetime, run_id: str, state: str, dataset: str | None) -> str:
    """Why a second run of a DAG for one logical date is refused."""
    day = f"--from {logical_date:%Y-%m-%d} --to {logical_date:%Y-%m-%d}"
    again = f", or scripts/highwater backfill run {dataset} {day} --which all --reason …" if dataset else ""
    return (
        f"logical date {_shown(logical_date)} of {dag_id} has a run already, {run_id} ({state}): to load it again,"
        f" clear that run in Airflow{again}"
    )


def _to_begin_earlier(dataset: str | None) -> str:
    if setting := project.extension().begin_settings.get(dataset or ""):
        return f"to begin earlier, raise {setting} and start again"
    return f"to begin earlier, change first_window of {dataset} in its file of sql/datasets/"


def _before_flush(session: Any, _context: object, _instances: object) -> None:
    """Check the runs and native backfills that are about to be written.

    Raises:
        ValueError: a run is refused; the API answers 400 with the sentence, the command line ends with it.
        InvalidBackfillDate: a backfill is refused; the API answers 422.
    """
    for made in session.new:
        if type(made).__name__ == "Backfill":
            _check_backfill(session, made)
        # A developer's `dag.test` may run for any date.
        elif (
            type(made).__name__ == "DagRun"
            and made.run_type not in AUTOMATIC
            and getattr(made.triggered_by, "value", made.triggered_by) != "test"
        ):
            _check_run(session, made)


def _check_run(session: Any, made: Any) -> None:
    if made.run_after is not None and (problem := refusal_to_wait(made.run_after, made.dag_id)):
        raise ValueError(problem)
    if made.logical_date is None:
        return
    dag, dataset, first = _known_of(session, made.dag_id)
    if problem := refusal(made.logical_date, made.dag_id, dag.start_date if dag else None, first, dataset):
        raise ValueError(problem)
    with session.no_autoflush:
        kind = type(made)
        there = session.query(kind).filter(kind.dag_id == made.dag_id, kind.logical_date == made.logical_date).first()
    if there is not None:
        raise ValueError(duplicate_refusal(made.dag_id, made.logical_date, there.run_id, str(there.state), dataset))


def _check_backfill(session: Any, made: Any) -> None:
    from airflow.models.backfill import InvalidBackfillDate

    _dag, dataset, first = _known_of(session, made.dag_id)
    if first is not None and (problem := backfill_refusal(made.from_date, made.dag_id, first, str(dataset))):
        raise InvalidBackfillDate(problem)


def _known_of(session: Any, dag_id: str) -> tuple[Any, str | None, datetime | None]:
    """A DAG as Airflow stores it, its dataset, and the start of the dataset's first window; each None if unknown."""
    from airflow.models.serialized_dag import SerializedDagModel

    from highwater.policy import reader

    with session.no_autoflush:
        dag = SerializedDagModel.get_dag(dag_id, session=session)
    dataset = getattr(dag.timetable, "dataset", None) if dag else None
    policy = reader.of(dataset) if dataset else None
    return dag, dataset, policy.grid.first if policy else None


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
