"""Windows are half-open, in UTC, on a grid, and follow from the logical date alone."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from highwater.model.errors import ConfigurationError
from highwater.model.windows import Grid, Window, window_of

DAY = timedelta(days=1)
OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = Grid(OCTOBER, DAY)

steps = st.sampled_from([timedelta(minutes=5), timedelta(hours=1), timedelta(hours=6), DAY, timedelta(days=7)])
moments = st.integers(0, 365 * 24 * 3600).map(lambda seconds: OCTOBER + timedelta(seconds=seconds))


def test_a_nightly_run_is_about_the_day_of_its_logical_date() -> None:
    assert window_of(datetime(2026, 10, 24, 2, tzinfo=UTC), DAYS) == Window(
        datetime(2026, 10, 24, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)
    )


def test_the_end_belongs_to_the_next_window() -> None:
    assert window_of(OCTOBER + DAY, DAYS).start == OCTOBER + DAY
    assert window_of(OCTOBER + DAY - timedelta(microseconds=1), DAYS).start == OCTOBER


def test_a_logical_date_in_another_zone_is_read_in_utc() -> None:
    tokyo = timezone(timedelta(hours=9))
    assert window_of(datetime(2026, 10, 25, 8, tzinfo=tokyo), DAYS).start == datetime(2026, 10, 24, tzinfo=UTC)


@given(steps, moments)
def test_every_moment_lies_in_exactly_one_window(step: timedelta, moment: datetime) -> None:
    grid = Grid(OCTOBER, step)
    window = window_of(moment, grid)
    assert window.start <= moment < window.end
    assert window.end - window.start == step
    assert (window.start - OCTOBER) % step == timedelta(0)


@given(steps, moments, moments)
def test_the_windows_of_a_stretch_neither_overlap_nor_leave_a_hole(
    step: timedelta, one: datetime, other: datetime
) -> None:
    start, end = min(one, other), min(max(one, other), min(one, other) + 300 * step)
    windows = list(Grid(OCTOBER, step).windows(start, end))
    assert all(left.end == right.start for left, right in pairwise(windows))
    assert all(start <= window.start and window.end <= end for window in windows)
    assert len(windows) >= (end - start) // step - 1


def test_a_stretch_that_starts_before_the_grid_starts_with_the_first_window() -> None:
    assert next(DAYS.windows(OCTOBER - 5 * DAY, OCTOBER + 5 * DAY)).start == OCTOBER


@pytest.mark.parametrize(
    ("logical_date", "named"),
    [(None, "no logical date"), (OCTOBER - timedelta(seconds=1), "before the first window, 2026-10-01 00:00")],
)
def test_a_run_without_a_window_says_why(logical_date: datetime | None, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        window_of(logical_date, DAYS)


def test_a_window_is_in_utc_and_ends_after_it_starts() -> None:
    berlin = timezone(timedelta(hours=2))
    with pytest.raises(ConfigurationError, match="expected UTC"):
        Window(OCTOBER.astimezone(berlin), (OCTOBER + DAY).astimezone(berlin))
    with pytest.raises(ConfigurationError, match="expected an end after the start"):
        Window(OCTOBER, OCTOBER)
    with pytest.raises(ConfigurationError, match="expected more than zero"):
        Grid(OCTOBER, timedelta(0))


def test_a_window_reads_as_a_day_where_it_is_one() -> None:
    assert str(Window(OCTOBER, OCTOBER + DAY)) == "2026-10-01"
    assert str(Window(OCTOBER, OCTOBER + timedelta(hours=6))) == "2026-10-01T00:00/2026-10-01T06:00"
    assert Window(OCTOBER, OCTOBER + DAY).tag == "20261001"
    assert Window(OCTOBER + timedelta(hours=6), OCTOBER + DAY).tag == "20261001t0600"


def test_a_window_is_the_same_when_one_task_has_handed_it_on_to_another() -> None:
    window = Window(datetime(2026, 10, 24, 6, tzinfo=UTC), datetime(2026, 10, 24, 12, tzinfo=UTC))
    assert window.bounds() == ["2026-10-24T06:00:00+00:00", "2026-10-24T12:00:00+00:00"]
    assert Window.between(window.bounds()) == window
