"""How the page lays out cells, says things, and reads what was chosen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from highwater.page import backfills, calendar, formatting, params
from highwater.page.backfills import Choice
from highwater.page.params import DayRange
from highwater.page.problems import Problem
from highwater.store.status import STATES

FIRST = datetime(2026, 10, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def dataset(step: timedelta) -> SimpleNamespace:
    return SimpleNamespace(dataset="sales", step=step, first_window=FIRST)


def cells(step: timedelta, many: int) -> list[SimpleNamespace]:
    return [SimpleNamespace(cell_start=FIRST + n * step, state="landed", due=1) for n in range(many)]


def totals(many: int) -> dict[str, dict[str, int]]:
    return {"sales": dict.fromkeys(STATES, 0) | {"due": many, "landed": many}}


@pytest.mark.parametrize(
    ("step", "many", "folded", "shape"),
    [
        (DAY, 30, True, "strip"),
        (DAY, 365, True, "weeks"),
        (7 * DAY, 52, True, "strip"),
        (HOUR, 24 * 30, False, "hours"),
        (timedelta(hours=5), 100, False, "weeks"),
        (DAY, 31, False, "strip"),
        (HOUR, 0, False, "hours"),
    ],
)
def test_the_shape_of_a_row(step: timedelta, many: int, folded: bool, shape: str) -> None:
    (row,) = calendar.rows(
        [dataset(step)], {"sales": cells(step, many)}, totals(many), DayRange(FIRST, FIRST + 400 * DAY, folded)
    )
    assert row.shape == shape


@pytest.mark.parametrize(("step", "many", "folded"), [(DAY, 365, True), (HOUR, 24 * 30 + 5, False)])
def test_every_cell_is_laid_out_once_and_in_its_place(step: timedelta, many: int, folded: bool) -> None:
    given = cells(step, many)
    (row,) = calendar.rows([dataset(step)], {"sales": given}, totals(many), DayRange(FIRST, FIRST + 400 * DAY, folded))
    laid = [cell for _, line in row.lines for cell in line if cell]
    assert sorted(laid, key=lambda cell: cell.cell_start) == given
    assert {len(line) for _, line in row.lines} == {sum(columns for _, columns in row.heads)}
    for place, (_, line) in enumerate(row.lines):
        starts = [cell.cell_start for cell in line if cell]
        assert {start.weekday() if folded else start.hour for start in starts} == {place}


@pytest.mark.parametrize(
    ("step", "chosen", "folded", "since", "until", "excluded", "warned"),
    [
        (DAY, "2026-10-05", True, "2026-10-05T00:00", "2026-10-06T00:00", "", False),
        (DAY, "2026-10-08,2026-10-05", True, "2026-10-05T00:00", "2026-10-09T00:00", "2026-10-06, 2026-10-07", False),
        (6 * HOUR, "2026-10-05,2026-10-07", True, "2026-10-05T00:00", "2026-10-08T00:00", "2026-10-06", False),
        (6 * HOUR, "2026-10-05T06:00,2026-10-05T18:00", False, "2026-10-05T06:00", "2026-10-06T00:00", "", True),
        (6 * HOUR, "2026-10-05T18:00,2026-10-07", False, "2026-10-05T18:00", "2026-10-07T06:00", "2026-10-06", False),
        (6 * HOUR, "2026-10-05T12:00,2026-10-07", False, "2026-10-05T12:00", "2026-10-07T06:00", "2026-10-06", True),
    ],
)  # fmt: skip
def test_what_was_chosen_fills_the_form(
    step: timedelta, chosen: str, folded: bool, since: str, until: str, excluded: str, warned: bool
) -> None:
    form, notice = backfills.for_cells(
        Choice.model_validate({"dataset": "sales", "chosen": chosen, "folded": folded}), dataset(step)
    )
    assert (form.since, form.until, form.excluded, form.which) == (since, until, excluded, "all")
    assert (notice is not None) == warned


def test_too_many_cells_are_refused() -> None:
    many = ",".join(f"{FIRST + n * DAY:%Y-%m-%d}" for n in range(backfills.MOST_CHOSEN + 1))
    with pytest.raises(Problem, match="expected at most 1,000"):
        backfills.for_cells(Choice.model_validate({"dataset": "sales", "chosen": many}), dataset(DAY))


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (timedelta(0), "0 s"),
        (timedelta(seconds=59), "59 s"),
        (timedelta(hours=2, minutes=5, seconds=9), "2 h 5 min"),
        (timedelta(days=3, minutes=1), "3 d 1 min"),
        (-timedelta(hours=1), "-1 h"),
        (None, ""),
    ],
)
def test_a_span_of_time_by_its_largest_units(span: timedelta | None, said: str) -> None:
    assert formatting.span(span) == said


def test_a_stretch_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIGHWATER_NOW", "2026-10-31T12:00:00+00:00")
    assert params.day_range(days=10**9).days == params.MOST_DAYS
    assert params.day_range(days=-5).days == 1
    assert params.day_range(days=365, hours=True).days == params.MOST_HOURS_DAYS
    assert params.day_range(since="1990-01-01").days == params.MOST_DAYS
