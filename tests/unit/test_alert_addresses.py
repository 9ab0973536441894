"""The addresses of HIGHWATER_ALERT_URLS: how they are distinguished, and what a wrong one gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from highwater.environment import settings
from highwater.incidents import alerts
from highwater.model.errors import ConfigurationError


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Sets the addresses."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/loader_password").write_text("of this test\n")
    monkeypatch.setenv("HIGHWATER_HOME", str(tmp_path))

    def give(text: str) -> None:
        monkeypatch.setenv("HIGHWATER_ALERT_URLS", text)
        settings.get.cache_clear()

    yield give
    settings.get.cache_clear()


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("", []),
        ("json://a/1", ["json://a/1"]),
        (" json://a/1, json://b/2 json://c/3\njson://d/4 ", ["json://a/1", "json://b/2", "json://c/3", "json://d/4"]),
        ("json://a,json://b", ["json://a", "json://b"]),
        ("mailto://u:p@h.example?to=a@b.c,d@e.f,json://b", ["mailto://u:p@h.example?to=a@b.c,d@e.f", "json://b"]),
        ("json://a json://a", ["json://a"]),
    ],
)
def test_commas_and_blanks_part_them_but_not_within_an_address(
    given: Callable[[str], None], text: str, urls: list[str]
) -> None:
    given(text)
    assert [destination.url for destination in alerts.destinations()] == urls
    alerts.check_addresses()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("json://fine s1://s3cretword/x", "address 2 of 2 (s1://…)"),
        ("slack://s3cretword", "address 1 of 1 (slack://…)"),
        ("s3cretword", "address 1 of 1 (no scheme)"),
        ("json://", "address 1 of 1 (json://…)"),
        ("mailto://someone:s3cretword@", "address 1 of 1 (mailto://…)"),
    ],
)
def test_a_malformed_one_is_refused_by_name_and_its_secret_is_not_shown(
    given: Callable[[str], None], text: str, said: str, capfd: pytest.CaptureFixture[str], caplog: Any
) -> None:
    given(text)
    with pytest.raises(ConfigurationError) as refusal:
        alerts.check_addresses()
    shown = capfd.readouterr()
    assert f"HIGHWATER_ALERT_URLS is refused: {said}" in str(refusal.value)
    assert "s3cretword" not in str(refusal.value) + caplog.text + shown.out + shown.err + repr(settings.get())


def test_the_name_of_an_address_gives_nothing_away_and_stays(given: Callable[[str], None]) -> None:
    given("json://u:s3cretword@host/x json://other")
    first, second = alerts.destinations()
    assert first.name != second.name
    assert first.name.startswith("json://… ") and "host" not in first.name and "s3cret" not in first.name
    given("json://other json://u:s3cretword@host/x")
    assert {d.name for d in alerts.destinations()} == {first.name, second.name}


def test_those_of_a_file_come_with_those_of_the_setting(
    given: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "addresses").write_text("json://b/2\njson://c/3 json://a/1\n")
    monkeypatch.setenv("HIGHWATER_ALERT_URLS_FILE", str(tmp_path / "addresses"))
    given("json://a/1")
    assert [destination.url for destination in alerts.destinations()] == ["json://a/1", "json://b/2", "json://c/3"]
    (tmp_path / "addresses").write_text("slack://s3cretword")
    with pytest.raises(ConfigurationError, match=r"address 2 of 2 \(slack://…\)"):
        alerts.check_addresses()


@pytest.mark.parametrize(
    ("content", "said"), [(None, "cannot be read by user .*: No such file"), (b"\xff\xfe", "it is not a text file")]
)
def test_a_file_that_cannot_be_read_is_named(
    given: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "addresses").write_bytes(content)
    monkeypatch.setenv("HIGHWATER_ALERT_URLS_FILE", str(tmp_path / "addresses"))
    given("")
    with pytest.raises(ConfigurationError, match=f"HIGHWATER_ALERT_URLS_FILE={tmp_path}/addresses .*{said}"):
        alerts.check_addresses()
