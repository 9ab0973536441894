"""Backfills on the page: the form filled in for chosen cells, the plan, the progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Annotated, Any

from psycopg2.extensions import cursor as Cursor
from pydantic import BaseModel, ConfigDict, Field

from highwater.backfill import options, requests
from highwater.page import params
from highwater.page.problems import Problem
from highwater.store import warehouse

MOST_CHOSEN = 1_000
"""Maximum number of cells that can be chosen at once."""

DAY = timedelta(days=1)


Word = Annotated[str, Field(max_length=100)]
"""One of a few words, which the warehouse checks."""


class BackfillForm(BaseModel):
    """The fields of the backfill form; moments and dates are as typed."""

    model_config = ConfigDict(frozen=True)

    dataset: str = Field("", max_length=100)
    since: str = Field("", max_length=40)
    until: str = Field("", max_length=40)
    which: Word = options.WHICH.default
    excluded: str = Field("", max_length=12_000)
    weekdays: list[Annotated[int, Field(ge=1, le=7)]] = Field([], max_length=7)
    closed_days: Word = options.CLOSED_DAYS.default
    direction: Word = options.DIRECTION.default
    on_failure: Word = options.ON_FAILURE.default
    max_active: int = Field(options.MAX_ACTIVE.default, ge=options.MAX_ACTIVE.least, le=options.MAX_ACTIVE.most)

    def parameters(self) -> dict[str, Any]:
        """The parameters for the warehouse.

        Raises:
            Problem: a moment or a date is invalid.
        """
        return self.model_dump() | {
            "since": params.moment("from", self.since),
            "until": params.moment("to", self.until),
            "excluded_dates": [params.date_of("exclude", text) for text in self.excluded.replace(",", " ").split()],
            "weekdays": sorted(set(self.weekdays)) or None,
        }


class Choice(BackfillForm):
    """The form, opened from chosen cells of the calendar."""

    chosen: str = Field("", max_length=30_000)
    folded: bool = True


class Order(BackfillForm):
    """The form, submitted: ``shown`` is the fingerprint of the plan that the user saw."""

    token: str = Field("", max_length=500)
    why: str = ""
    shown: str = Field("", max_length=64)


def for_cells(choice: Choice, of: Any) -> tuple[BackfillForm, str | None]:
    """The form for the chosen cells, excluding the days between them, and a notice about it.

    Raises:
        Problem: one is not a cell of the dataset, or there are too many.
    """
    keys = sorted(set(filter(None, choice.chosen.split(","))))
    if len(keys) > MOST_CHOSEN:
        raise Problem(400, f"too many cells, {len(keys):,}: expected at most {MOST_CHOSEN:,}; type the range instead")
    by_days = choice.folded and of.step < DAY
    starts = [params.day(key) if by_days else params.window_start(of, key) for key in keys]
    if not starts:
        return choice, None
    long = DAY if by_days else of.step
    between = _between(starts, long)
    days = _whole_days(between)
    notice = None
    if len(days) * DAY < sum((end - start for start, end in between), timedelta()):
        notice = "The plan also includes windows between the chosen ones that do not fill whole days."
    # Choosing a landed cell means loading it again.
    filled = {
        "since": f"{max(starts[0], of.first_window):%Y-%m-%dT%H:%M}",
        "until": f"{starts[-1] + long:%Y-%m-%dT%H:%M}",
        "excluded": ", ".join(day.isoformat() for day in days),
        "which": "all",
    }
    return choice.model_copy(update=filled), notice


def plan(cursor: Cursor, form: BackfillForm) -> list[Any]:
    """The first windows of the plan, each row with the totals of all windows.

    Raises:
        Problem: the warehouse refuses it; contains its message.
    """
    warehouse.run_file(cursor, "page/plan.sql", form.parameters())
    return warehouse.fetch_all(cursor)


def request(cursor: Cursor, order: Order, by: str) -> int:
    """Request the backfill; returns its number.

    Raises:
        HighwaterError: the warehouse refuses it; contains its message.
    """
    wanted = order.parameters()
    requested = requests.Request(
        **{field.name: wanted[field.name] for field in fields(requests.Request) if field.name in wanted},
        from_time=wanted["since"],
        to_time=wanted["until"],
        reason=order.why,
        requested_by=by,
        via="form",
    )
    return requests.request(cursor, requested, shown=requests.Plan([], order.shown) if order.shown else None)


def read(cursor: Cursor, number: int, datasets: Sequence[Any]) -> dict[str, Any]:
    """One backfill and its first windows.

    Raises:
        Problem: it does not exist, or the visitor may not read its dataset.
    """
    if not 0 < number < 2**31:
        raise Problem(404, f"unknown backfill {number}")
    warehouse.run_file(cursor, "page/backfill.sql", {"backfill": number})
    found = warehouse.fetch(cursor)
    if found is None or found.dataset not in {row.dataset for row in datasets}:
        raise Problem(404, f"unknown backfill {number}")
    warehouse.run_file(cursor, "page/backfill_windows.sql", {"backfill": number})
    return {"backfill": found, "windows": warehouse.fetch_all(cursor)}


def _between(starts: Sequence[datetime], long: timedelta) -> list[tuple[datetime, datetime]]:
    return [(one + long, other) for one, other in pairwise(starts) if one + long < other]


def _whole_days(ranges: Sequence[tuple[datetime, datetime]]) -> list[date]:
    days = []
    for start, end in ranges:
        day = params.midnight(start.date())
        day += DAY if day < start else timedelta()
        while day + DAY <= end:
            days.append(day.date())
            day += DAY
    return days
