"""Files that people write: what a parser would take in silence is refused, with its line."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from highwater.environment import settings
from highwater.model import documents
from highwater.model.errors import ConfigurationError
from highwater.policy import file as policy_file

BOMB = "a: &a [x, x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}, *{before}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)

BAD_YAML = {
    "policies:\n  orders: {}\n  orders: {enabled: false}\n": "line 3: 'orders' is already in line 2: keep one",
    "policies: {}\npolicies: {}\n": "line 2: 'policies' is already in line 1",
    "policies:\n  orders:\n    enabled: true\n    max_windows: 1\n    enabled: false\n": "line 5: 'enabled' is already",
    BOMB: "line 1: &a is refused, anchors and aliases are not supported: write it out",
    "policies: {}\nclosed_days: *x\n": "line 2: *x is refused",
    "policies:\n  orders:\n    enabled: yes\n": "line 3: yes is refused as ambiguous: write true",
    "a: no": "line 1: no is refused",
    "a: On": "line 1: On is refused",
    "a: off": "line 1: off is refused",
    "a: y": "line 1: y is refused",
    "a: TRUE": "line 1: TRUE is refused",
    "a: !!python/object/apply:os.getcwd []": "line 1: the tag tag:yaml.org,2002:python/object",
    "a: !!bool 'true'": "the tag tag:yaml.org,2002:bool is refused",
    "1: x": "line 1: a key must be a name, but is '1'",
    "? [a]\n: x": "line 1: a key must be a name, but is a list",
    "true: x": "line 1: a key must be a name",
    "a:\n- b\n---\nc: 1": "line 3 is not YAML",
    "a: [": "line 1 is not YAML",
    "a: \x07": "line 1 is not YAML: it has the character '\\x07'",
    "\n\na: 2026-02-30": "line 3: invalid date 2026-02-30",
    "[" * 5000: "line 1: more than 30 nested levels are refused",
    "a: " + "x" * 300_000: "is refused: it has 300,003 bytes, and at most 262,144 are read",
}


def written(folder: Path, text: str | bytes, name: str = "mine.yaml") -> Path:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


@pytest.mark.parametrize("text", BAD_YAML, ids=lambda text: text[:20])
def test_what_yaml_would_take_in_silence_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        documents.read_yaml(written(tmp_path, text))
    assert BAD_YAML[text] in str(refused.value)
    assert "mine.yaml" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="byte 4 is not UTF-8"):
        documents.read_yaml(written(tmp_path, b"a: \xff"))


def test_values_are_what_they_look_like(tmp_path: Path) -> None:
    text = (
        "a: true\nb: 12\nc: -3\nd: 2026-12-25\ne:\nf: ~\ng: 010\nh: 1:30\ni: 1_000\nj: 'yes'\nk: 0x10\nl: 1.5\nm: x y\n"
    )
    assert documents.read_yaml(written(tmp_path, text)).content == {
        "a": True, "b": 12, "c": -3, "d": date(2026, 12, 25), "e": None, "f": None, "g": "010", "h": "1:30",
        "i": "1_000", "j": "yes", "k": "0x10", "l": 1.5, "m": "x y",
    }  # fmt: skip


BAD_POLICIES = {
    "policies:\n  a:\n    max_windows: true\n": "line 3: policies.a.max_windows True: expected a whole number",
    "policies:\n  a:\n    max_windows: 1.0\n": "line 3: policies.a.max_windows 1.0",
    "policies:\n  a:\n    max_windows: '3'\n": "line 3: policies.a.max_windows '3'",
    "policies:\n  a:\n    enabled: 1\n": "line 3: policies.a.enabled 1",
    "policies:\n  a:\n    enabled: 'true'\n": "line 3: policies.a.enabled 'true'",
    "policies:\n  a:\n    max_age: 999999999 weeks\n": "line 3: policies.a.max_age '999999999 weeks': expected at",
    "policies:\n  a:\n    max_age: 40000 days\n": "expected at most 36600 days",
    "policies:\n  a:\n    max_age: 99999999999999 days\n": "expected a span such as '90 days'",
    "policies:\n  a:\n    skip_weekdays: [true]\n": "line 3: policies.a.skip_weekdays.0 True: expected one of Monday",
    "policies:\n  a:\n    conditions: [1]\n": "line 3: policies.a.conditions.0 1",
    "policies:\n  a:\n    enable: true\n": "line 3: unknown key 'enable' in policies.a",
    "closed_days:\n- day: 0\n  reason: x\n": "line 2: closed_days.0.day 0: expected a date such as 2026-12-25",
    "closed_days:\n- day: 9999-12-31\n  reason: x\n": "expected a date between 1900-01-01 and 2999-12-31",
    "closed_days:\n- day: infinity\n  reason: x\n": "closed_days.0.day 'infinity': expected a date such as 2026-12-25",
    "closed_days:\n- day: 2026-12-25 10:00:00\n  reason: x\n": "expected a date such as 2026-12-25",
    "closed_days:\n- day: 2026-12-25\n  reason: 5\n": "line 3: closed_days.0.reason 5",
    "[]": "line 1: the file []",
    "policies": "line 1: the file 'policies'",
}


@pytest.mark.parametrize("text", BAD_POLICIES)
def test_a_policy_is_taken_by_its_type_and_nothing_is_converted(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        policy_file.load(written(tmp_path, text))
    assert BAD_POLICIES[text] in str(refused.value)


def test_a_day_may_be_quoted(tmp_path: Path) -> None:
    file = written(tmp_path, "closed_days: [{day: '2026-12-25', reason: x}]")
    (day,) = policy_file.load(file).closed_days or []
    assert day.day == date(2026, 12, 25)


BAD_JSON = {
    '{\n"a": 1,\n"b": {"c": 1,\n "c": 2}}': "mine.json: the object that begins in line 3 names 'c' twice: keep one",
    '{"a": 1, "a": 1}': "the object that begins in line 1 names 'a' twice",
    "[NaN]": "mine.json is not JSON: NaN is not a number in JSON",
    "[-Infinity]": "-Infinity is not a number in JSON",
    "[1e999]": "1e999 is not a number in JSON",
    '{\n"a": ,}': "mine.json: line 2, column 6 is not JSON",
    "[" * 200_000: "nested too deeply to be read",
}


@pytest.mark.parametrize("text", BAD_JSON, ids=lambda text: text[:20])
def test_what_json_would_take_in_silence_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        documents.read_json(written(tmp_path, text, "mine.json"), name="mine.json")
    assert BAD_JSON[text] in str(refused.value)


@pytest.mark.parametrize("suite", sorted((settings.ROOT / "expectations").glob("*.json")), ids=lambda file: file.stem)
def test_json_is_read_as_it_is(suite: Path) -> None:
    assert documents.read_json(suite) == json.loads(suite.read_text())
