"""What people type for a backfill, and how two plans differ: by case, with nothing running."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from highwater.backfill.requests import LOAD, SKIP, Plan, Planned
from highwater.model.errors import ConfigurationError
from highwater.model.weekdays import NAMES, weekdays_of

DAY = timedelta(days=1)
FIRST = datetime(2026, 10, 1, tzinfo=UTC)


def window(number: int, rule: str | None = None, reason: str = "it is missing") -> Planned:
    start = FIRST + number * DAY
    return Planned(start, start + DAY, SKIP if rule else LOAD, rule, reason)


@pytest.mark.parametrize(
    ("typed", "numbers"),
    [
        (["mon", "Wednesday", "7"], [1, 3, 7]),
        (["sun", "Sunday", " SUN "], [7]),
        (list(NAMES), None),
        (None, None),
    ],
)
def test_weekdays_are_known_by_name_by_three_letters_and_by_number(
    typed: list[str] | None, numbers: list[int] | None
) -> None:
    assert weekdays_of(typed) == numbers


@pytest.mark.parametrize("typed", [["mo"], ["8"], ["0"], [""], []])
def test_one_that_does_not_exist_is_refused_with_those_that_do(typed: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday"):
        weekdays_of(typed)


def test_plans_differ_by_what_happens_to_a_window_and_not_by_the_words_for_it() -> None:
    before = Plan([window(0), window(1), window(2, "landed"), window(3)], "a")
    later = Plan([window(0, reason="it failed"), window(1, "landed"), window(2, "max_age"), window(4)], "b")
    assert [(former and former.start.day, now.start.day, now.rule) for former, now in before.difference(later)] == [
        (2, 2, "landed"),
        (3, 3, "max_age"),
        (None, 5, None),
        (4, 4, "gone"),
    ]
    assert later.difference(later) == []
    assert (before.to_load, later.to_load) == (3, 2)
