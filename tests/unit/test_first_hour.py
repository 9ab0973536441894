"""docs/tutorial/first-hour.md: every command of Highwater in it exists, with its options."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer

from highwater.cli.main import app
from highwater.environment.settings import ROOT

TYPED = re.findall(r"^\$ scripts/highwater (.+)$", (ROOT / "docs/tutorial/first-hour.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", TYPED)
def test_a_command_is_there_with_its_options(line: str) -> None:
    words = shlex.split(line)
    command: Any = typer.main.get_command(app)
    context = command.make_context("highwater", [], resilient_parsing=True)
    while hasattr(command, "get_command") and words and (below := command.get_command(context, words[0])):
        command, words = below, words[1:]
        context = command.make_context(command.name, [], parent=context, resilient_parsing=True)
    assert not (hasattr(command, "get_command") and words)
    command.make_context(command.name, words)


def test_there_are_some() -> None:
    assert len(TYPED) > 15
