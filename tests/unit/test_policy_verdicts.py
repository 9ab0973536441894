"""Which windows a policy wants, by case."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from highwater.model import policy
from highwater.model.policy import Policy
from highwater.model.windows import Grid, Window

DAY = timedelta(days=1)
FIRST = datetime(2026, 10, 1, tzinfo=UTC)
DAYS, WEEKS = Grid(FIRST, DAY), Grid(datetime(2026, 10, 5, tzinfo=UTC), 7 * DAY)
ALL = Policy("daily_sales", DAYS, timedelta(hours=2))
NOON = datetime(2026, 10, 31, 12, tzinfo=UTC)
"""A Saturday: the window of the 30th is the newest that is due."""


def day(number: int) -> Window:
    """The day of October."""
    return Window(FIRST + DAY * (number - 1), FIRST + DAY * number)


def left_out(known: Policy, now: datetime = NOON) -> dict[int, str]:
    """The days up to the 31st that are not wanted, each with its rule."""
    verdicts = {n: known.verdict(day(n), now) for n in range(1, 32)}
    return {n: verdict.rule for n, verdict in verdicts.items() if verdict}


class TestVerdict:
    def test_without_a_rule_everything_is_wanted(self) -> None:
        assert left_out(ALL) == {}

    def test_a_window_is_too_old_once_it_ended_longer_ago_than_that(self) -> None:
        known = replace(ALL, max_age=2 * DAY, max_age_text="2 days")
        assert max(left_out(known)) == 28, "it ended 60 hours ago, the next one 36"
        at_midnight = datetime(2026, 10, 31, tzinfo=UTC)
        assert max(left_out(known, at_midnight)) == 27, "exactly two days is not longer"
        verdict = known.verdict(day(3), NOON)
        assert verdict is not None
        assert (verdict.reason, verdict.until) == ("it ended more than 2 days ago", day(28).end)

    def test_a_number_of_the_newest_due_windows_is_wanted(self) -> None:
        assert max(left_out(replace(ALL, max_windows=2))) == 28
        before_two = datetime(2026, 10, 31, 1, tzinfo=UTC)
        assert max(left_out(replace(ALL, max_windows=2), before_two)) == 27, "the 30th is not due yet"

    def test_weekends_and_closed_days_are_left_out_each_by_its_rule(self) -> None:
        known = replace(ALL, skip_weekdays=frozenset({6, 7}), closed_days=((date(2026, 10, 26), "national day"),))
        rules = left_out(known)
        assert [n for n, rule in rules.items() if rule == "skip_weekdays"] == [3, 4, 10, 11, 17, 18, 24, 25, 31]
        assert [n for n, rule in rules.items() if rule == "skip_closed_days"] == [26]
        verdict = known.verdict(day(26), NOON)
        assert verdict is not None and verdict.reason == "2026-10-26 is closed: national day"

    def test_a_week_is_left_out_only_if_every_day_of_it_is(self) -> None:
        week = Window(WEEKS.first, WEEKS.first + 7 * DAY)
        closed = tuple((date(2026, 10, n), "strike") for n in range(5, 10))
        known = replace(ALL, grid=WEEKS, closed_days=closed)
        assert known.verdict(week, NOON) is None
        verdict = replace(known, skip_weekdays=frozenset({6, 7})).verdict(week, NOON)
        assert verdict is not None and verdict.rule == "skip_closed_days"

    def test_the_strongest_rule_is_named(self) -> None:
        known = replace(ALL, max_age=20 * DAY, max_windows=25, skip_weekdays=frozenset({6, 7}))
        rules = left_out(known)
        assert (rules[3], rules[10], rules[17]) == ("max_age", "max_age", "skip_weekdays")


class TestWhatIsKept:
    def test_what_is_no_policy_is_refused(self) -> None:
        for text in ("", "{}x", '[{"dataset": "a"}]', '["a"]', "3"):
            with pytest.raises(ValueError, match=r".+"):
                policy.read(text)
