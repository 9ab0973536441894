"""A file of policies: what is wrong in it is named with what it may be, before any of it is applied."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from highwater.model.errors import ConfigurationError
from highwater.policy import file as policy_file

BAD = {
    "policies: {daily_sales: {enable: true}}": "unknown key 'enable' in policies.daily_sales: expected one of enabled, "
    "max_age, max_windows, skip_weekdays, skip_closed_days, conditions",
    "policy: {}": "unknown key 'policy' in the file: expected one of policies, closed_days",
    "closed_days: [{day: 2026-12-25, reason: x, dataset: a}]": "unknown key 'dataset' in closed_days.0: expected one of"
    " day, reason, datasets",
    "policies: {daily_sales: {max_age: -3 days}}": "policies.daily_sales.max_age '-3 days': expected a positive span",
    "policies: {daily_sales: {max_age: 0 hours}}": "expected a positive span",
    "policies: {daily_sales: {max_age: a month}}": "expected a span such as '90 days'",
    "policies: {daily_sales: {max_windows: 0}}": "policies.daily_sales.max_windows 0: expected at least 1",
    "policies: {daily_sales: {skip_weekdays: [caturday]}}": "'caturday': expected one of Monday,",
    "policies: {daily_sales: {skip_weekdays: [8]}}": "8: expected one of Monday",
    "policies: {daily_sales: {skip_weekdays: [1, 2, 3, 4, 5, 6, 7]}}": "expected at most 6 entries",
    "policies: {daily_sales: {enabled: perhaps}}": "policies.daily_sales.enabled 'perhaps'",
    "policies: {daily_sales: }": "policies.daily_sales None",
    "closed_days: [{day: 2026-02-30, reason: x}]": "line 1: invalid date 2026-02-30",
    "closed_days: [{day: 2026-12-25, reason: ''}]": "closed_days.0.reason ''",
    "policies: [": "is not YAML",
}


def written(folder: Path, text: str) -> Path:
    file = folder / "catchup.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("text", BAD)
def test_what_is_wrong_is_named_with_what_it_may_be(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        policy_file.load(written(tmp_path, text))
    assert BAD[text] in str(refused.value)


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"max_windows -1.*'enable'"):
        policy_file.load(written(tmp_path, "policies: {a: {enable: true, max_windows: -1}}"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        policy_file.load(tmp_path / "none.yaml")


def test_what_is_left_out_has_its_default_and_days_have_names(tmp_path: Path) -> None:
    file = written(tmp_path, "policies: {a: {max_age: 36 hours, skip_weekdays: [Sunday, 6]}}")
    entry = policy_file.load(file).policies["a"]
    assert entry.max_age == timedelta(hours=36)
    assert (entry.enabled, entry.skip_weekdays, entry.skip_closed_days, entry.conditions) == (True, [7, 6], True, [])


def test_the_file_that_a_new_warehouse_starts_with_wants_everything() -> None:
    wanted = policy_file.load(policy_file.DEFAULT)
    assert {entry == policy_file.PolicyEntry() for entry in wanted.policies.values()} == {True}
    assert wanted.closed_days == []
