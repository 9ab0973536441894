"""Which runs the timetable makes of a policy, by case."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from highwater.model import clock
from highwater.model.policy import Policy
from highwater.model.windows import Grid
from highwater.policy import reader

DAY = timedelta(days=1)
FIRST = datetime(2026, 10, 1, tzinfo=UTC)
ALL = Policy("daily_sales", Grid(FIRST, DAY), timedelta(hours=2))
NOON = datetime(2026, 10, 31, 12, tzinfo=UTC)
"""A Saturday: the window of the 30th is the newest that is due."""


@pytest.fixture(autouse=True)
def airflow_is_ours(airflow: Callable[..., Any]) -> None:
    """The first import of Airflow settles which home and which plugins it has."""


def runs(known: Policy | None, now: datetime = NOON, latest: datetime | None = None, most: int = 40) -> list[Any]:
    """The runs that are made one after the other from the first on, up to the one to come."""
    from airflow.timetables.base import TimeRestriction
    from pendulum import instance

    from highwater.airflow.timetable import PolicyTimetable

    timetable = PolicyTimetable("0 2 * * *", "daily_sales")
    last: Any = None
    restriction = TimeRestriction(instance(FIRST), None if latest is None else instance(latest), catchup=True)
    found: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(clock.SETTING, now.isoformat())
        patch.setattr(reader, "of", lambda _dataset: known)
        while len(found) < most:
            info = timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
            if info is None:
                break
            found.append(info)
            last = info.data_interval
            if last.end > now:
                break
    return found


def days_of(found: list[Any]) -> list[int]:
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
        from airflow.timetables.base import TimeRestriction
        from pendulum import instance

        from highwater.airflow.timetable import PolicyTimetable

        known = replace(ALL, skip_weekdays=frozenset({1}))
        timetable = PolicyTimetable("0 2 * * 1", "daily_sales")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reader, "of", lambda _dataset: known)
            asked = TimeRestriction(instance(FIRST), None, catchup=True)
            assert timetable.next_dagrun_info(last_automated_data_interval=None, restriction=asked) is None

    def test_a_run_to_come_waits_for_our_clock_where_it_differs_from_airflows(self) -> None:
        (*_, coming) = runs(ALL)
        assert coming.run_after > datetime.now(UTC) + timedelta(hours=13)

    def test_it_comes_back_from_the_metadata_as_it_was(self) -> None:
        from highwater.airflow.timetable import PolicyTimetable

        timetable = PolicyTimetable("15 */6 * * *", "payments")
        again = PolicyTimetable.deserialize(json.loads(json.dumps(timetable.serialize())))
        assert (again.serialize(), again.dataset, again.summary) == (timetable.serialize(), "payments", "15 */6 * * *")

    @pytest.mark.parametrize(
        "name", ["highwater.airflow.timetable.PolicyTimetable", "highwater.timetable.PolicyTimetable"]
    )
    def test_airflow_finds_it_by_its_name_of_now_and_by_that_of_version_0_1(
        self, airflow: Callable[..., Any], name: str
    ) -> None:
        from airflow.serialization.decoders import decode_timetable

        from highwater.airflow.timetable import PolicyTimetable

        stored = {"__type": name, "__var": PolicyTimetable("15 */6 * * *", "payments").serialize()}
        found = decode_timetable(stored)
        assert isinstance(found, PolicyTimetable)
        assert found.dataset == "payments"
