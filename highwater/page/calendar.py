"""The coverage calendar: one row per dataset and one cell per window, laid out so that a year fits on the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from psycopg2.extensions import cursor as Cursor

from highwater.page.params import DayRange
from highwater.store import warehouse
from highwater.store.status import STATES

MOST_CELLS = 20_000
"""Maximum number of cells that are drawn."""
STRIP = 45
"""Maximum number of cells in one line; more are laid out by weeks."""

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Row:
    """The cells of a dataset, laid out.

    ``counts``: the number of all its due windows, in total and by state; ``elsewhere`` is the number of those that are
    in no cell. ``shape``: ``strip``, ``weeks`` (one column per week) or ``hours`` (one column per day). ``heads`` are
    the column labels with the number of columns under each, ``lines`` the lines with their labels; both are empty for
    a strip.
    """

    of: Any
    cells: Sequence[Any]
    counts: Mapping[str, int]
    shape: str
    heads: Sequence[tuple[str, int]]
    lines: Sequence[tuple[str, Sequence[Any]]]


def read(cursor: Cursor, datasets: Sequence[Any], day_range: DayRange) -> dict[str, list[Any]]:
    """The cells of each dataset in the range, in order."""
    warehouse.run_file(
        cursor,
        "page/calendar.sql",
        {
            "datasets": [row.dataset for row in datasets],
            "since": day_range.since,
            "until": day_range.until,
            "folded": day_range.folded,
            "most": MOST_CELLS,
        },
    )
    return {name: list(cells) for name, cells in groupby(warehouse.fetch_all(cursor), lambda cell: cell.dataset)}


def totals(cursor: Cursor, datasets: Sequence[Any]) -> dict[str, dict[str, int]]:
    """The number of due windows of each dataset by state, in its whole history, as in `highwater status`."""
    warehouse.run_file(cursor, "page/totals.sql", {"datasets": [row.dataset for row in datasets]})
    return {row.dataset: {kind: getattr(row, kind) for kind in ("due", *STATES)} for row in warehouse.fetch_all(cursor)}


def rows(
    datasets: Sequence[Any],
    cells: Mapping[str, Sequence[Any]],
    counts: Mapping[str, Mapping[str, int]],
    day_range: DayRange,
) -> list[Row]:
    """The rows of the calendar: the cells laid out, with the `totals` of each dataset."""
    return [_row(of, cells.get(of.dataset, []), counts[of.dataset], day_range) for of in datasets]


def _row(of: Any, cells: Sequence[Any], counts: Mapping[str, int], day_range: DayRange) -> Row:
    counts = {**counts, "elsewhere": counts["due"] - sum(cell.due for cell in cells)}
    if not day_range.folded and of.step < DAY and not DAY % of.step:
        return Row(of, cells, counts, "hours", *_by_days(of, cells))
    if of.step <= DAY and len(cells) > STRIP:
        return Row(of, cells, counts, "weeks", *_by_weeks(cells))
    return Row(of, cells, counts, "strip", (), ())


Laid = tuple[Sequence[tuple[str, int]], Sequence[tuple[str, Sequence[Any]]]]


def _by_weeks(cells: Sequence[Any]) -> Laid:
    monday = _midnight(cells[0].cell_start)
    monday -= timedelta(days=monday.weekday())
    weeks = (cells[-1].cell_start - monday).days // 7 + 1
    grid: list[list[Any]] = [[None] * weeks for _ in range(7)]
    for cell in cells:
        place = (cell.cell_start - monday).days
        grid[place % 7][place // 7] = cell
    # The label of a month is above the first week that begins in it.
    mondays = [monday + timedelta(weeks=week) for week in range(weeks)]
    months = [(f"{month:%b}", len(list(part))) for month, part in groupby(mondays, lambda m: m.replace(day=1))]
    return months, list(zip(("Mon", "", "Wed", "", "Fri", "", "Sun"), grid, strict=True))


def _by_days(of: Any, cells: Sequence[Any]) -> Laid:
    if not cells:
        return (), ()
    first = _midnight(cells[0].cell_start)
    days = (cells[-1].cell_start - first).days + 1
    steps = DAY // of.step
    grid: list[list[Any]] = [[None] * days for _ in range(steps)]
    for cell in cells:
        since = cell.cell_start - first
        grid[(since % DAY) // of.step][since // DAY] = cell
    heads = [(f"{first + day * DAY:%d}", 1) for day in range(days)]
    labels = [f"{first + step * of.step:%H:%M}" for step in range(steps)]
    return heads, list(zip(labels, grid, strict=True))


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
