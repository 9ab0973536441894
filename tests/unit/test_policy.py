"""Which windows a policy wants, and which runs its timetable makes, by case."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from pendulum import instance

from highwater import clock, policy, policy_reader
from highwater.policy import Policy
from highwater.timetable import PolicyTimetable
from highwater.windows import Grid, Window

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

    def test_of_the_newest_due_windows_so_many_are_wanted(self) -> None:
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


RunDays = list[str]


def runs(
    known: Policy | None, now: datetime = NOON, latest: datetime | None = None, most: int = 40
) -> list[DagRunInfo]:
    """The runs that are made one after the other from the first on, up to the one to come."""
    timetable, last = PolicyTimetable("0 2 * * *", "daily_sales"), None
    restriction = TimeRestriction(instance(FIRST), None if latest is None else instance(latest), catchup=True)
    found: list[DagRunInfo] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(clock.SETTING, now.isoformat())
        patch.setattr(policy_reader, "of", lambda _dataset: known)
        while len(found) < most:
            info = timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
            if info is None:
                break
            found.append(info)
            assert isinstance(info.data_interval, DataInterval)
            last = info.data_interval
            if last.end > now:
                break
    return found


def days_of(found: list[DagRunInfo]) -> list[int]:
    return [info.data_interval.start.day for info in found if info.data_interval]


class TestTimetable:
    def test_a_run_has_a_real_interval_and_comes_at_its_end(self) -> None:
        (first, *_) = runs(ALL)
        assert first.data_interval is not None
        assert first.data_interval.end - first.data_interval.start == DAY
        assert first.run_after == first.data_interval.end == datetime(2026, 10, 2, 2, tzinfo=UTC)

    @pytest.mark.parametrize("known", [None, ALL], ids=["no policy was ever read", "all is wanted"])
    def test_every_day_gets_a_run(self, known: Policy | None) -> None:
        assert days_of(runs(known)) == [*range(1, 31), 31]

    def test_what_is_not_wanted_gets_none(self) -> None:
        known = replace(ALL, max_age=7 * DAY, skip_weekdays=frozenset({6, 7}), closed_days=((date(2026, 10, 26), ""),))
        assert days_of(runs(known))[:-1] == [27, 28, 29, 30]
        assert days_of(runs(known))[-1] == 2, "the next one is on Monday"

    def test_while_catch_up_is_off_only_the_newest_gets_one_and_then_the_next(self) -> None:
        assert days_of(runs(replace(ALL, is_on=False))) == [30, 31]

    def test_a_native_backfill_is_not_switched_off_but_leaves_out_what_is_not_wanted(self) -> None:
        known = replace(ALL, is_on=False, closed_days=((date(2026, 10, 8), "stocktaking"),))
        assert days_of(runs(known, latest=datetime(2026, 10, 10, tzinfo=UTC))) == [1, 2, 3, 4, 5, 6, 7, 9]

    def test_a_schedule_that_meets_nothing_but_unwanted_windows_has_no_run(self) -> None:
        known = replace(ALL, skip_weekdays=frozenset({1}))
        timetable = PolicyTimetable("0 2 * * 1", "daily_sales")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(policy_reader, "of", lambda _dataset: known)
            asked = TimeRestriction(instance(FIRST), None, catchup=True)
            assert timetable.next_dagrun_info(last_automated_data_interval=None, restriction=asked) is None

    def test_a_run_to_come_waits_for_our_clock_where_it_stands_apart_from_airflows(self) -> None:
        (*_, coming) = runs(ALL)
        assert coming.run_after > datetime.now(UTC) + timedelta(hours=13)

    def test_it_comes_back_from_the_metadata_as_it_was(self) -> None:
        timetable = PolicyTimetable("15 */6 * * *", "payments")
        again = PolicyTimetable.deserialize(json.loads(json.dumps(timetable.serialize())))
        assert (again.serialize(), again.dataset, again.summary) == (timetable.serialize(), "payments", "15 */6 * * *")


class TestWhatIsKept:
    def test_what_is_no_policy_is_refused(self) -> None:
        for text in ("", "{}x", '[{"dataset": "a"}]', '["a"]', "3"):
            with pytest.raises(ValueError, match=r".+"):
                policy.read(text)
