"""Days of the week as people type them: one parser for commands, files and forms; and policies as people read them."""

from __future__ import annotations

import pytest

from highwater.model import weekdays
from highwater.model.errors import ConfigurationError
from highwater.policy import file


@pytest.mark.parametrize("given", ["Friday", "fri", " FRI ", "5", 5])
def test_a_policy_takes_what_a_backfill_takes(given: object) -> None:
    assert file.check("daily_sales", {"skip_weekdays": [given]}).skip_weekdays == [5]
    assert weekdays.weekdays_of([str(given)]) == [5]


def test_invalid_weekdays_are_refused_alike_with_the_valid_ones() -> None:
    said = f"expected {weekdays.SAID}"
    assert "Monday, Tuesday, Wednesday" in said and "(mon), or 1 (Monday) to 7" in said
    with pytest.raises(ConfigurationError) as of_backfill:
        weekdays.weekdays_of(["mo"])
    assert str(of_backfill.value) == f"invalid weekday 'mo': {said}"
    with pytest.raises(ConfigurationError) as of_policy:
        file.check("daily_sales", {"skip_weekdays": ["mo"]})
    assert str(of_policy.value).endswith(said)


def test_a_change_of_a_policy_names_days_and_moments() -> None:
    assert file.shown([5, 7], "skip_weekdays") == "Friday, Sunday"
    assert file.shown([5], "max_windows") == "5"
    assert file.shown("2026-10-24T06:00:00+00:00") == "2026-10-24 06:00"
    assert file.shown(False) == "off"
