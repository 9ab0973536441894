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


_OF_CHANNELS = ("store_sales", "partner_sales", "supplier_settlements", "channel_sales")
_BEGIN_SETTING = {
    "daily_sales": "HIGHWATER_HISTORY_DAYS",
    **dict.fromkeys(_OF_CHANNELS, "HIGHWATER_CHANNEL_DAYS"),
}
"""What says where a dataset of the simulated company begins; any other begins where its file in sql/datasets/ says."""


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
            f" nothing would be loaded; {_to_begin_earlier(dataset)}"
        )
    if start_date is not None and logical_date < start_date:
        asked = f"logical date {_shown(logical_date)} of {dag_id}"
        return f"{asked} is before its start, {_shown(start_date)}: no task would run"
    return None


def refusal_to_wait(run_after: datetime, dag_id: str) -> str | None:
    """Why a run that Airflow is to begin at that moment is refused, as a sentence; None where it may be."""
    now = clock.of_airflow()
    if run_after <= now + AHEAD:
        return None
    return (
        f"a run of {dag_id} that waits until {_shown(run_after)} is refused, it is {_shown(now)}: it would stay queued"
        " until then and hold up what fills gaps; trigger it when it is to run"
    )


def backfill_refusal(from_date: datetime, dag_id: str, first: datetime, dataset: str) -> str | None:
    """Why a native backfill that begins at a moment is refused, as a sentence; None where it may be."""
    if from_date >= first:
        return None
    return (
        f"from {_shown(from_date)} of {dag_id} is before the first window of {dataset}, {_shown(first)}: its runs would"
        f" fail; begin the backfill there; {_to_begin_earlier(dataset)}"
    )


def there_already(dag_id: str, logical_date: datetime, run_id: str, state: str, dataset: str | None) -> str:
    """Why a second run of a DAG for one logical date is refused, as a sentence."""
    day = f"--from {logical_date:%Y-%m-%d} --to {logical_date:%Y-%m-%d}"
    again = f", or scripts/highwater backfill run {dataset} {day} --which all --reason …" if dataset else ""
    return (
        f"logical date {_shown(logical_date)} of {dag_id} has a run already, {run_id} ({state}): to load it again clear"
        f" that one in Airflow{again}"
    )


def _to_begin_earlier(dataset: str | None) -> str:
    if setting := _BEGIN_SETTING.get(dataset or ""):
        return f"to begin earlier raise {setting} and start again"
    return f"first_window of {dataset}, in its file of sql/datasets/, says where it begins"


def _before_flush(session: Any, _context: object, _instances: object) -> None:
    """Look at the runs and native backfills that are about to be written.

    Raises:
        ValueError: a run is refused; the API answers 400 with the sentence, the command line ends with it.
        InvalidBackfillDate: a backfill is refused; the API answers 422.
    """
    for made in session.new:
        if type(made).__name__ == "Backfill":
            _look_at_backfill(session, made)
        # A developer's own `dag.test` runs whatever it is told to.
        elif (
            type(made).__name__ == "DagRun"
            and made.run_type not in NOT_ASKED
            and getattr(made.triggered_by, "value", made.triggered_by) != "test"
        ):
            _look_at_run(session, made)


def _look_at_run(session: Any, made: Any) -> None:
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
        raise ValueError(there_already(made.dag_id, made.logical_date, there.run_id, str(there.state), dataset))


def _look_at_backfill(session: Any, made: Any) -> None:
    from airflow.models.backfill import InvalidBackfillDate

    _dag, dataset, first = _known_of(session, made.dag_id)
    if first is not None and (problem := backfill_refusal(made.from_date, made.dag_id, first, str(dataset))):
        raise InvalidBackfillDate(problem)


def _known_of(session: Any, dag_id: str) -> tuple[Any, str | None, datetime | None]:
    """A DAG as Airflow keeps it, the dataset it loads, and the start of the first window; None what is not known."""
    from airflow.models.serialized_dag import SerializedDagModel

    from highwater.policy import reader

    with session.no_autoflush:
        dag = SerializedDagModel.get_dag(dag_id, session=session)
    dataset = getattr(dag.timetable, "dataset", None) if dag else None
    policy = reader.of(dataset) if dataset else None
    return dag, dataset, policy.grid.first if policy else None


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
