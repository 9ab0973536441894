"""The seam to the clock: pinned by the environment, or moved by a file while programs run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from highwater.model import clock
from highwater.model.errors import ConfigurationError


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file that moves the clock, which is pinned to another moment beside it."""
    monkeypatch.setenv("HIGHWATER_NOW", "2020-01-01T00:00:00+00:00")
    monkeypatch.setenv("HIGHWATER_NOW_FILE", str(tmp_path / "now"))
    return tmp_path / "now"


def test_without_either_time_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HIGHWATER_NOW", "HIGHWATER_NOW_FILE"):
        monkeypatch.setenv(name, "")
    assert clock.frozen() is None
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(minutes=1)


def test_the_file_is_read_at_each_call_and_goes_first(hand: Path) -> None:
    hand.write_text("2026-09-01T00:00:00+00:00\n")
    assert clock.now() == datetime(2026, 9, 1, tzinfo=UTC)
    hand.write_text("2026-09-02T02:00:00+02:00\n")
    assert clock.now() == datetime(2026, 9, 2, tzinfo=UTC)


def test_a_moment_without_a_zone_is_utc(hand: Path) -> None:
    hand.write_text("2026-09-01 06:00")
    assert clock.now() == datetime(2026, 9, 1, 6, tzinfo=UTC)


def test_a_file_that_is_not_there_is_refused_and_does_not_let_time_run(hand: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"HIGHWATER_NOW_FILE={hand} cannot be read: No such file"):
        clock.now()


@pytest.mark.parametrize("text", ["", "noon"])
def test_what_is_no_moment_is_refused(hand: Path, text: str) -> None:
    hand.write_text(text)
    with pytest.raises(ConfigurationError, match=f"HIGHWATER_NOW_FILE={hand} holds '{text}': expected a moment"):
        clock.now()


def test_a_setting_that_is_no_moment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIGHWATER_NOW", "noon")
    with pytest.raises(ConfigurationError, match="HIGHWATER_NOW holds 'noon': expected a moment in ISO 8601"):
        clock.now()
