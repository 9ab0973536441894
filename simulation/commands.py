"""``highwater outage …``: take a simulated source away for a while, for real, and bring it back."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table

from highwater.cli.options import AsJson, By, Yes
from highwater.cli.terminal import console
from highwater.environment import commands
from highwater.model import clock
from highwater.store import reasons
from simulation import drill, outages

app = typer.Typer(
    no_args_is_help=True,
    help="Take a simulated source (store, partner, supplier) away for a while: its login is refused. Or the platform.",
)

out = console()

Source = Annotated[str, typer.Argument(help="The source: store, partner or supplier.")]


@app.command()
def start(
    source: Source,
    hours: Annotated[float | None, typer.Option("--hours", help="For so long; else until it is stopped.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; shown by `list`.")] = "somebody wanted to see it",
    by: By = "",
) -> None:
    """Refuse the source's login from now on and end its sessions."""
    until = outages.start(source, clock.now(), hours, reason, reasons.who(by))
    end = f"until {_shown(until)} UTC" if until else f"until {commands.typed(f'outage stop {source}')}"
    _say(f"outage: {source} is away {end}")


@app.command()
def stop(source: Source, by: By = "") -> None:
    """End the source's outage, a scheduled one too: its login is taken again."""
    outages.stop(source, clock.now(), reasons.who(by))
    _say(f"outage: {source} is back")


@app.command("list")
def show(
    as_json: AsJson = False,
    last: Annotated[int, typer.Option(help="So many of the outages.", min=0)] = 20,
) -> None:
    """Show which sources are away and the latest outages, those of the partner's schedule too."""
    doors, found = outages.doors(clock.now()), outages.latest(last)
    if as_json:
        typer.echo(json.dumps({"sources": doors, "outages": found}, default=str, indent=2))
        return
    for door in doors:
        changes = "" if door["is_away"] is not door["may_log_in"] else ", until simulated_sources runs next"
        _say(f"{door['source']:<9} {'login taken' if door['may_log_in'] else 'login refused'}{changes}")
    table = Table(title="the latest outages, in UTC")
    for heading in ("source", "from", "until", "by", "reason", "ended by"):
        table.add_column(heading)
    for outage in found:
        began, ended = _shown(outage["started_at"]), _shown(outage["ended_at"])
        table.add_row(
            outage["source"], began, ended, outage["started_by"], outage["reason"], outage["stopped_by"] or ""
        )
    out.print(table, markup=False)


@app.command()
def simulate(
    hours: Annotated[int, typer.Option(help="So long before now nothing was recorded.", min=6, max=24 * 60)] = 72,
    yes: Yes = False,
) -> None:
    """Stage the scenario in a running platform: take the last hours of payments and page views out of its record.

    The sources have gone on meanwhile. The next run of system_recovery_processing (or one you trigger) brings it back.
    """
    since = clock.now() - timedelta(hours=hours)
    if not yes:
        typer.confirm(
            f"Forget what landed of payments and page_views since {since:%Y-%m-%d %H:%M} UTC, to load it again?",
            abort=True,
        )
    for hold in drill.held(since):
        _say(f"{hold.dataset} {hold.window} stays: it is held by {hold.held_by}: {hold.reason}")
    forgotten = drill.simulate(since)
    at_once = commands.typed("recovery request payments page_views --yes")
    watch = commands.typed("recovery --watch")
    out.print(
        f"outage: {forgotten} windows are missing since {since:%Y-%m-%d %H:%M} UTC; the next run of"
        " system_recovery_processing, every six hours, loads them; to have them now: scripts/airflow dags trigger"
        f" system_recovery_processing, or {at_once}; {watch} shows how far it is",
        soft_wrap=True,
        highlight=False,
    )


def _shown(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "open"


def _say(sentence: str) -> None:
    out.print(sentence, markup=False, highlight=False, soft_wrap=True)
