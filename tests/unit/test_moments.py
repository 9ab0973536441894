"""Days and moments as people type them: absolute and relative, one parser for every command."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
import typer

from highwater.cli.main import app
from highwater.model import moments
from highwater.model.errors import ConfigurationError


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIGHWATER_NOW", "2026-10-31T12:34:56+00:00")


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2026-10-24", "2026-10-24T00:00", "2026-10-25T00:00"),
        ("today", "2026-10-31T00:00", "2026-11-01T00:00"),
        ("Yesterday", "2026-10-30T00:00", "2026-10-31T00:00"),
        ("1d", "2026-10-30T00:00", "2026-10-31T00:00"),
        (" 10d ", "2026-10-21T00:00", "2026-10-22T00:00"),
        ("0d", "2026-10-31T00:00", "2026-11-01T00:00"),
        ("2w", "2026-10-17T00:00", "2026-10-18T00:00"),
        ("2026-10-24T06:00", "2026-10-24T06:00", "2026-10-24T06:00"),
        ("2026-10-24 06:00", "2026-10-24T06:00", "2026-10-24T06:00"),
        ("2026-10-24T06:00+02:00", "2026-10-24T04:00", "2026-10-24T04:00"),
        ("2026-10-24T06:00Z", "2026-10-24T06:00", "2026-10-24T06:00"),
        ("10dT06:00", "2026-10-21T06:00", "2026-10-21T06:00"),
        ("yesterdayT18:00", "2026-10-30T18:00", "2026-10-30T18:00"),
        ("today 06:00", "2026-10-31T06:00", "2026-10-31T06:00"),
        ("36h", "2026-10-30T00:00", "2026-10-30T00:00"),
        ("0h", "2026-10-31T12:00", "2026-10-31T12:00"),
        ("now", "2026-10-31T12:34:56", "2026-10-31T12:34:56"),
    ],
)
def test_a_day_or_a_moment_is_what_it_says(text: str, start: str, end: str) -> None:
    assert moments.moment(text, "--from") == datetime.fromisoformat(start).replace(tzinfo=UTC)
    assert moments.moment(text, "--to", end=True) == datetime.fromisoformat(end).replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["20th", "", " ", "2026-13-01", "10", "10x", "-3d", "999999d", "tomorrow", "9999999h"])
def test_what_is_neither_is_refused_with_all_that_may_be_typed(text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        moments.moment(text, "--from")
    assert str(refused.value) == f"invalid --from {text!r}: expected {moments.FORMS}"
    with pytest.raises(ConfigurationError, match="invalid --exclude"):
        moments.day(text, "--exclude")


def test_the_end_of_the_calendar_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="invalid --to"):
        moments.moment("9999-12-31", "--to", end=True)
    with pytest.raises(ConfigurationError, match="invalid --from"):
        moments.moment("0001-01-01T00:00+23:59", "--from")


def test_a_day_is_no_hour() -> None:
    assert moments.day("10d", "--exclude") == date(2026, 10, 21)
    with pytest.raises(ConfigurationError, match="invalid --exclude '36h': expected a day: "):
        moments.day("36h", "--exclude")
    assert moments.is_day("yesterday") and not moments.is_day("36h") and not moments.is_day("10dT06:00")


@pytest.mark.parametrize(
    "words", [["backfill", "plan"], ["backfill", "run"], ["verify"], ["rollback"], ["accept"]], ids=" ".join
)
def test_each_command_that_takes_one_says_so(words: list[str]) -> None:
    command = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]  # type: ignore[attr-defined]
    said = " ".join(str(getattr(parameter, "help", "")) for parameter in command.params)
    assert "yesterday" in said and "10d" in said and "36h" in said


def test_a_stretch_that_ends_before_it_begins_is_refused_as_it_was_typed() -> None:
    with pytest.raises(
        ConfigurationError, match=r"--from '1d' is not before --to '7d': did you mean them the other way"
    ):
        moments.parse_range("1d", "7d")
    first, last = moments.parse_range("7d", "7d")
    assert first is not None and last is not None and last - first == moments.DAY
    assert moments.parse_range("", "") == (None, None)
