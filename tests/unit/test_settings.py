"""A bad setting is refused by name and value; unset ones have their defaults."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from highwater.environment import settings
from highwater.model.errors import ConfigurationError
from simulation import settings as simulation_settings


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("HIGHWATER_HOME", str(tmp_path))
    monkeypatch.delenv("HIGHWATER_ANCHOR", raising=False)
    monkeypatch.delenv("HIGHWATER_NOW", raising=False)
    settings.get.cache_clear()
    yield
    settings.get.cache_clear()


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("HIGHWATER_ANCHOR", "yesterday", "expected a date such as 2026-10-24"),
        ("HIGHWATER_HISTORY_DAYS", "0", "expected at least 1"),
        ("HIGHWATER_WAREHOUSE_SSLMODE", "on", "'disable', 'allow', 'prefer', 'require'"),
        ("HIGHWATER_WAREHOUSE_PORT", "70000", "expected at most 65535"),
        ("SIMULATION_ROWS_PER_DAY", "many", "expected a whole number"),
        ("HIGHWATER_CHANNEL_DAYS", "3661", "expected at most 3660"),
        ("SIMULATION_CHANNEL_SALES", "-1", "expected at least 0"),
    ],
)
def test_a_bad_setting_is_named_with_its_value_and_what_it_may_be(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as refusal:
        simulation_settings.get()
    assert f"{name}={value!r}" in str(refusal.value)
    assert why in str(refusal.value)


def test_an_empty_setting_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIGHWATER_HISTORY_DAYS", "")
    assert simulation_settings.get().history_days == 30


def test_what_the_local_platform_chose_is_read_from_its_home(tmp_path: Path) -> None:
    (tmp_path / "platform.env").write_text("HIGHWATER_WAREHOUSE_PORT=15999\n")
    assert settings.get().warehouse_port == 15999


@pytest.mark.parametrize(
    ("now", "anchor"),
    [("2026-11-24T01:59:59+00:00", "2026-11-23"), ("2026-11-24T02:00:00+00:00", "2026-11-24")],
)
def test_without_an_anchor_it_is_the_day_whose_newest_window_is_due(
    monkeypatch: pytest.MonkeyPatch, now: str, anchor: str
) -> None:
    monkeypatch.setenv("HIGHWATER_NOW", now)
    assert settings.get().anchor_date().isoformat() == anchor


def test_the_anchor_stays_once_it_is_stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "anchor").write_text("2026-10-31\n")
    monkeypatch.setenv("HIGHWATER_NOW", "2027-01-01T12:00:00+00:00")
    assert settings.get().days_before_anchor(30) == datetime(2026, 10, 1, tzinfo=UTC)
