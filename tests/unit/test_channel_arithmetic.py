"""What the channels should hold is arithmetic: which days, of what kind, which deliveries, how many of each defect."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from highwater.environment import settings
from highwater.model.errors import ConfigurationError
from simulation import channels


@pytest.fixture(autouse=True)
def two_weeks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Fourteen days before Sunday 2024-03-10: from Sunday 2024-02-25 on, so the first whole week is of 2024-02-26."""
    for name, value in {"HIGHWATER_HOME": str(tmp_path), "HIGHWATER_ANCHOR": "2024-03-10"}.items():
        monkeypatch.setenv(name, value)
    settings.get.cache_clear()
    yield
    monkeypatch.undo()
    settings.get.cache_clear()


@pytest.mark.parametrize(("now", "last"), [("22:59:59", date(2024, 3, 9)), ("23:00:00", date(2024, 3, 10))])
def test_a_day_is_there_once_the_stores_have_closed_it(now: str, last: date) -> None:
    there = channels.days(datetime.fromisoformat(f"2024-03-10T{now}+00:00"))
    assert (there[0], there[-1]) == (date(2024, 2, 25), last)
    assert len(there) == (last - there[0]).days + 1


def test_the_day_is_one_of_utc() -> None:
    assert channels.days(datetime.fromisoformat("2024-03-11T00:59:00+02:00"))[-1] == date(2024, 3, 9)


def test_nothing_is_before_the_first_day() -> None:
    assert channels.days(datetime(2024, 1, 1, tzinfo=UTC)) == []
    assert channels.deliveries(datetime(2024, 1, 1, tzinfo=UTC)) == []


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="time zone"):
        channels.days(datetime(2024, 3, 10))  # noqa: DTZ001


def test_every_fortnight_has_a_missing_a_short_and_a_late_day(monkeypatch: pytest.MonkeyPatch) -> None:
    first = date(2024, 2, 25)
    for seed in ("0", "42", "43"):
        monkeypatch.setenv("SIMULATION_SEED", seed)
        settings.get.cache_clear()
        for shift in range(20):
            kinds = {channels.kind_of(first + timedelta(days=shift + n)) for n in range(14)}
            assert kinds == {"usual", "missing", "short", "late"}


def test_another_seed_plants_other_days(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [channels.kind_of(date(2024, 3, n)) for n in range(1, 27)]
    monkeypatch.setenv("SIMULATION_SEED", "43")
    settings.get.cache_clear()
    assert [channels.kind_of(date(2024, 3, n)) for n in range(1, 27)] != kinds


def test_a_week_is_delivered_just_before_its_fourth_day_and_the_second_again_three_days_later() -> None:
    found = channels.deliveries(datetime(2024, 3, 21, 22, tzinfo=UTC))
    assert [(f"{d.week:%m-%d}", d.number, f"{d.at:%m-%d %H}", d.has_errors) for d in found] == [
        ("02-26", 1, "03-07 22", False),
        ("03-04", 1, "03-14 22", True),
        ("03-04", 2, "03-17 22", False),
        ("03-11", 1, "03-21 22", False),
    ]
    assert channels.deliveries(datetime(2024, 3, 21, 21, 59, 59, tzinfo=UTC)) == found[:-1]


def test_the_counts_of_a_default_day() -> None:
    assert channels.partner_orders(2000) == 400
    assert channels.fulfilled(2000) == 200
    assert channels.deviating(2000) == 4
    assert channels.held_back(2000) == 40
    assert channels.resent(2000) == 8
    assert channels.flooded(2000) == 40
