"""The word check of `scripts/test checks`: what it finds, and what it leaves alone."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from highwater.environment import settings

PROGRAM = settings.ROOT / "scripts/lib/plain_words.py"


def load() -> ModuleType:
    """The program as a module: scripts/ is no package."""
    spec = importlib.util.spec_from_file_location("plain_words", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


plain_words = load()
RULES, SKIPS = plain_words.read_list(plain_words.LIST.read_text(encoding="utf-8"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.example)
def test_each_rule_finds_its_example(rule: Any) -> None:
    found = [instead for _, _, instead in plain_words.find(f"x {rule.example} x", RULES)]
    assert rule.instead in found


@pytest.mark.parametrize(
    "text",
    [
        "understands that it withstands",
        "as everything, mendacious, tolda, lesta, a newt",
        "a new row, one row per dataset, 30 rows a day",
        "no more than three, no more windows",
        "the source is not ready",
    ],
)
def test_plain_text_is_left_alone(text: str) -> None:
    assert list(plain_words.find(text, RULES)) == []


def test_a_phrase_is_found_in_names_in_capitals_and_over_the_lines_of_a_comment() -> None:
    first, second = "SO", "Many"
    text = f"x = {first}_{second}\n# {first}\n# {second}\n  -- {first}\n  -- {second} rows\n{first} {second}"
    assert [line for line, _, _ in plain_words.find(text, RULES)] == [1, 2, 4, 6]


def test_only_the_words_that_are_named_are_left_out_of_a_file() -> None:
    skip = plain_words.Skip("*/old.sql", plain_words.re.compile("NotThis"))
    assert skip.covers("a/old.sql", "NotThis")
    assert not skip.covers("a/old.sql", "NotThat")
    assert not skip.covers("a/old.sql")
    assert not skip.covers("a/new.sql", "NotThis")


def test_a_line_that_is_no_rule_is_refused() -> None:
    with pytest.raises(ValueError, match=r"invalid line 2 of \.plain-words: 'a = b'"):
        plain_words.read_list("# x\na = b\n")


@pytest.mark.parametrize(("word", "code"), [("le" + "st", 1), ("so that", 0)])
def test_it_names_the_place_and_what_to_say_and_fails(tmp_path: Path, word: str, code: int) -> None:
    file = tmp_path / "text.md"
    file.write_text(f"first\n{word} it\n")
    done = subprocess.run([PROGRAM, file], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert (f"{file}:2: {word!r}: say instead: so that" in done.stdout) == bool(code)
