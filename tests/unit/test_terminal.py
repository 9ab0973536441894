"""What people wrote is shown as they wrote it: no console of the commands takes it for markup."""

from __future__ import annotations

import importlib
import io
import pkgutil
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from highwater import cli
from highwater.cli.drawing import Bar
from highwater.cli.terminal import console

WRITTEN = "[/x] why [bold] a code is [a-z]{3}, [red]not[/] :x:"


def consoles() -> list[Any]:
    """The consoles of the commands, by where they are."""
    found = []
    for module in pkgutil.iter_modules(cli.__path__, "highwater.cli."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, Console):
                found.append(pytest.param(value, id=f"{module.name}.{name}"))
    return found


@pytest.mark.parametrize("out", consoles())
def test_what_people_wrote_is_printed_as_it_is(out: Console) -> None:
    table = Table(title=WRITTEN)
    table.add_column(WRITTEN)
    table.add_row(WRITTEN)
    out.width = 200
    with out.capture() as captured:
        out.print(table)
        out.print(WRITTEN)
    assert captured.get().count(WRITTEN) == 4


def test_the_note_of_a_backfill_that_is_watched_too() -> None:
    written = io.StringIO()
    out = console(file=written, force_terminal=True, width=200)
    now: dict[str, Any] = dict.fromkeys(
        ("backfill_id", "windows_total", "windows_done", "landed", "failed", "skipped"), 0
    )
    now |= {"cancelled": 0, "running": 0, "planned": 0, "windows_per_minute": None, "at_least": None, "at_most": None}
    now |= {"dataset": "daily_sales", "state": "paused", "note": "paused by [/x] ada", "ended_at": None}
    with Bar(out, now, quiet=False) as bar:
        bar.update(now)
    assert "paused by [/x] ada" in written.getvalue()
