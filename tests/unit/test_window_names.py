"""How a person names a window on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from highwater.model.errors import ConfigurationError
from highwater.model.windows import Grid, Window
from highwater.store.rollback import window_named

FIRST = datetime(2026, 10, 1, tzinfo=UTC)
DAYS, WEEKS, QUARTERS = (Grid(FIRST, timedelta(hours=hours)) for hours in (24, 168, 6))


@pytest.mark.parametrize(
    ("name", "grid", "start", "hours"),
    [
        ("2026-10-24", DAYS, "2026-10-24T00:00", 24),
        (" 2026-10-24 ", DAYS, "2026-10-24T00:00", 24),
        ("2026-10-24", WEEKS, "2026-10-24T00:00", 168),
        ("2026-10-24T06:00", QUARTERS, "2026-10-24T06:00", 6),
        ("2026-10-24 06:00", QUARTERS, "2026-10-24T06:00", 6),
        ("2026-10-24T08:00+02:00", QUARTERS, "2026-10-24T06:00", 6),
        ("2026-10-24T06:00/2026-10-24T12:00", QUARTERS, "2026-10-24T06:00", 6),
        ("2026-10-24T00:00", QUARTERS, "2026-10-24T00:00", 6),
    ],
)
def test_a_window_is_named_by_when_it_begins(name: str, grid: Grid, start: str, hours: int) -> None:
    begin = datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert window_named(name, "sales", grid) == Window(begin, begin + timedelta(hours=hours))


@pytest.mark.parametrize("grid", [DAYS, WEEKS, QUARTERS])
def test_the_name_that_is_shown_names_the_window(grid: Grid) -> None:
    window = Window(grid.first + grid.step, grid.first + 2 * grid.step)
    assert window_named(str(window), "sales", grid) == window


@pytest.mark.parametrize("name", ["", "/", "tomorrow", "2026-13-01", "2026-10-24/", "2026-10-24/soon"])
def test_what_names_none_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"of sales: expected its start, such as 2026-10-01"):
        window_named(name, "sales", DAYS)


def test_a_day_of_several_windows_names_none_of_them() -> None:
    with pytest.raises(ConfigurationError, match=r"contains several windows of sales: .* such as 2026-10-01T00:00"):
        window_named("2026-10-24", "sales", QUARTERS)
