"""Validated request parameters: a range of days, a dataset, a window of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends
from psycopg2.extensions import cursor as Cursor

from highwater.model import clock, moments
from highwater.model.errors import ConfigurationError
from highwater.page.problems import Problem
from highwater.store import warehouse

if TYPE_CHECKING:
    from highwater.page.access import Visitor

MOST_DAYS = 400
"""Maximum number of days in the calendar if windows are folded into days."""
MOST_HOURS_DAYS = 31
"""Maximum number of days if each hour has its own cell."""


@dataclass(frozen=True)
class DayRange:
    """The whole days ``[since, until)`` that are shown, and whether shorter windows are folded into days."""

    since: datetime
    until: datetime
    folded: bool

    @property
    def days(self) -> int:
        """The number of days."""
        return (self.until - self.since).days


def day_range(
    days: int | None = None, since: str | None = None, until: str | None = None, hours: bool = False
) -> DayRange:
    """The requested days, up to today by default, cut to the maximum.

    Raises:
        Problem: a date is invalid, or ``since`` is not before ``until``.
    """
    most = MOST_HOURS_DAYS if hours else MOST_DAYS
    end = midnight(date_of("until", until) if until else clock.now().date() + timedelta(days=1))
    if since is None:
        wanted = min(max(days or (7 if hours else 365), 1), most)
        return DayRange(end - timedelta(days=wanted), end, not hours)
    start = midnight(date_of("since", since))
    if start >= end:
        raise Problem(400, f"invalid since={since}: expected a day before until={end:%Y-%m-%d}")
    return DayRange(max(start, end - timedelta(days=most)), end, not hours)


DayRangeDep = Annotated[DayRange, Depends(day_range)]


def datasets(cursor: Cursor, visitor: Visitor, dag_id: str | None = None) -> list[Any]:
    """The datasets that the visitor may read; only those of one DAG if it is given.

    Raises:
        Problem: the DAG does not exist, or the visitor may not read it.
    """
    warehouse.run_file(cursor, "page/datasets.sql")
    rows = warehouse.fetch_all(cursor)
    loading = {row.dag_id for row in rows}
    readable = visitor.readable(loading | ({dag_id} if dag_id else set()))
    if dag_id is not None and (dag_id not in readable or not (dag_id in loading or _is_dag(dag_id))):
        names = ", ".join(sorted(readable & loading)) or "none"
        raise Problem(404, f"unknown DAG {dag_id[:60]!r}, or not readable by you: expected one of {names}")
    return [row for row in rows if row.dag_id in readable and dag_id in (None, row.dag_id)]


def _is_dag(dag_id: str) -> bool:
    """Whether Airflow knows this DAG: a DAG without datasets is valid, and shows none."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    with create_session() as session:
        return session.get(DagModel, dag_id) is not None


def dataset(known: Sequence[Any], name: str) -> Any:
    """The dataset of this name.

    Raises:
        Problem: it does not exist, or the visitor may not read it.
    """
    for row in known:
        if row.dataset == name:
            return row
    names = ", ".join(sorted(row.dataset for row in known)) or "none"
    raise Problem(404, f"unknown dataset {name[:60]!r}: expected one of {names}")


def window_start(of: Any, key: str) -> datetime:
    """The start of the window in an address, such as ``2026-10-24`` or ``2026-10-24T06:00``.

    Raises:
        Problem: it is not a moment, or no window of the dataset begins then.
    """
    begins = moment("window", key)
    if begins < of.first_window:
        raise Problem(404, f"the first window of {of.dataset} begins at {of.first_window:%Y-%m-%d %H:%M}")
    if (begins - of.first_window) % of.step:
        near = of.first_window + (begins - of.first_window) // of.step * of.step
        raise Problem(
            404, f"no window of {of.dataset} begins at {begins:%Y-%m-%d %H:%M}; one does at {near:%Y-%m-%d %H:%M}"
        )
    return begins


def day(text: str) -> datetime:
    """The midnight at which a day begins.

    Raises:
        Problem: it is not a day.
    """
    return midnight(date_of("day", text))


def moment(name: str, text: str) -> datetime:
    """A moment from its text, in UTC unless it has an offset.

    Raises:
        Problem: it is not a moment.
    """
    try:
        return moments.moment(text[:40], name)
    except ConfigurationError as refusal:
        raise Problem(400, str(refusal)) from None


def date_of(name: str, text: str) -> date:
    """A date from its text.

    Raises:
        Problem: it is not a date, or out of range.
    """
    try:
        found = moments.day(text[:40], name)
    except ConfigurationError as refusal:
        raise Problem(400, str(refusal)) from None
    if not 1971 <= found.year <= 9000:
        raise Problem(400, f"invalid {name} {text[:40]!r}: expected a day from 1971 to 9000")
    return found


midnight = moments.midnight
