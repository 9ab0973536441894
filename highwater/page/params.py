"""What a request asks for, checked: a stretch of time, a dataset, a window of it."""

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
"""The calendar shows so many days at most, folded."""
MOST_HOURS_DAYS = 31
"""And so many with each hour by itself."""


@dataclass(frozen=True)
class Stretch:
    """Whole days ``[since, until)`` that are shown, and whether shorter windows are folded into them."""

    since: datetime
    until: datetime
    folded: bool

    @property
    def days(self) -> int:
        """How many."""
        return (self.until - self.since).days


def stretch(
    days: int | None = None, since: str | None = None, until: str | None = None, hours: bool = False
) -> Stretch:
    """The days that are asked for; bounded, and up to today unless said otherwise.

    Raises:
        Problem: a date is none, or they are reversed.
    """
    most = MOST_HOURS_DAYS if hours else MOST_DAYS
    end = midnight(date_of("until", until) if until else clock.now().date() + timedelta(days=1))
    if since is None:
        wanted = min(max(days or (7 if hours else 365), 1), most)
        return Stretch(end - timedelta(days=wanted), end, not hours)
    start = midnight(date_of("since", since))
    if start >= end:
        raise Problem(400, f"since={since} is not before until={end:%Y-%m-%d}")
    return Stretch(max(start, end - timedelta(days=most)), end, not hours)


StretchDep = Annotated[Stretch, Depends(stretch)]


def datasets(cursor: Cursor, visitor: Visitor, dag_id: str | None = None) -> list[Any]:
    """The datasets that the visitor may look at, those of one DAG if it is given.

    Raises:
        Problem: there is no such DAG, or none that the visitor may look at.
    """
    warehouse.run_file(cursor, "page/datasets.sql")
    rows = warehouse.fetch_all(cursor)
    loading = {row.dag_id for row in rows}
    readable = visitor.readable(loading | ({dag_id} if dag_id else set()))
    if dag_id is not None and (dag_id not in readable or not (dag_id in loading or _is_dag(dag_id))):
        names = ", ".join(sorted(readable & loading)) or "none"
        raise Problem(404, f"there is no DAG {dag_id[:60]!r} that you may look at; those with datasets are: {names}")
    return [row for row in rows if row.dag_id in readable and dag_id in (None, row.dag_id)]


def _is_dag(dag_id: str) -> bool:
    """Whether Airflow knows a DAG of that name: one without datasets shows none, and is no mistake."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    with create_session() as session:
        return session.get(DagModel, dag_id) is not None


def dataset(known: Sequence[Any], name: str) -> Any:
    """The one of that name.

    Raises:
        Problem: there is none, or none that the visitor may look at.
    """
    for row in known:
        if row.dataset == name:
            return row
    names = ", ".join(sorted(row.dataset for row in known)) or "none"
    raise Problem(404, f"there is no dataset {name[:60]!r}; there are: {names}")


def window_start(of: Any, key: str) -> datetime:
    """The start of the window of a dataset that an address names: ``2026-10-24`` or ``2026-10-24T06:00``.

    Raises:
        Problem: that is no moment, or none at which a window of the dataset begins.
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
    """The midnight with which a day begins."""
    return midnight(date_of("day", text))


def moment(name: str, text: str) -> datetime:
    """What a text says, in UTC unless it says otherwise.

    Raises:
        Problem: it is no moment.
    """
    try:
        return moments.moment(text[:40], name)
    except ConfigurationError as refusal:
        raise Problem(400, str(refusal)) from None


def date_of(name: str, text: str) -> date:
    """The date a text says.

    Raises:
        Problem: it is none, or none of our times.
    """
    try:
        found = moments.day(text[:40], name)
    except ConfigurationError as refusal:
        raise Problem(400, str(refusal)) from None
    if not 1971 <= found.year <= 9000:
        raise Problem(400, f"invalid {name} {text[:40]!r}: expected a day from 1971 to 9000")
    return found


midnight = moments.midnight
