"""``highwater recovery``: progress of the recovery from an outage."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from highwater.cli import backfill
from highwater.cli.options import AsJson
from highwater.cli.terminal import console
from highwater.recovery import backlog
from highwater.recovery.backlog import Progress
from highwater.store import warehouse

POLL = 1.0
"""Seconds between two polls of the ledger."""

app = typer.Typer(invoke_without_command=True, help="Show the recovery from the last outage; request missing windows.")
app.command("request")(backfill.recover)
out = console()


@app.callback()
def show(
    context: typer.Context,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Wait until everything is recovered.")] = False,
) -> None:
    """Show the recovery from the last outage: progress, rate, estimated time left."""
    if context.invoked_subcommand:
        return
    now = _read()
    if as_json:
        typer.echo(json.dumps(None if now is None else asdict(now), default=str, indent=2))
    elif now is None:
        out.print("no outage found")
    elif not watch:
        out.print(draw(now))
    else:
        if not out.is_terminal:
            # A file cannot be redrawn: print a line now, and one at each change.
            out.print(draw(now), soft_wrap=True)
        with Live(draw(now), console=out, auto_refresh=False) as live:
            while now and now.recovered_at is None:
                time.sleep(POLL)
                now = _read()
                if now:
                    live.update(draw(now), refresh=True)


def draw(now: Progress) -> RenderableType:
    """For a person: a bar for critical windows, one for the others, and the line that the tasks log."""
    table = Table.grid(padding=(0, 1))
    for name, done, total in (
        ("critical", now.critical_done, now.critical_total),
        ("non-critical", now.non_critical_done, now.non_critical_total),
    ):
        table.add_row(name, ProgressBar(total=max(total, 1), completed=done, width=40), f"{done} of {total}")
    return Group(table, Text(str(now)))


def _read() -> Progress | None:
    with warehouse.session("analyst") as cursor:
        return backlog.progress(cursor)
