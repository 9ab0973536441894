"""``highwater outage …`` and ``highwater drill …``: bring about outages of simulated sources and losses on purpose."""

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
from simulation import drills, outages

outage = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Make a simulated source (store, partner, supplier) unavailable: its login is refused.",
)
drill = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Practise a recovery: delete landed windows on purpose."
)

out, err = console(), console(stderr=True)

Source = Annotated[str, typer.Argument(help="The source: store, partner or supplier.")]


@outage.command()
def start(
    source: Source,
    hours: Annotated[float | None, typer.Option("--hours", help="Length in hours; until `stop` by default.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="The reason; shown by `list`.")] = "started by hand",
    by: By = "",
) -> None:
    """Start an outage: refuse the source's login and end its sessions."""
    until = outages.start(source, clock.now(), hours, reason, reasons.who(by))
    end = f"until {_shown(until)} UTC" if until else f"until {commands.typed(f'outage stop {source}')}"
    _say(f"outage: {source} is unavailable {end}")


@outage.command()
def stop(source: Source, by: By = "") -> None:
    """End the outage of a source, even a scheduled one: its login is accepted again."""
    outages.stop(source, clock.now(), reasons.who(by))
    _say(f"outage: {source} is available again")


@outage.command("list")
def show(
    as_json: AsJson = False,
    last: Annotated[int, typer.Option(help="Number of outages to show, latest first.", min=0)] = 20,
) -> None:
    """Show which sources are available, and the latest outages, including those of the partner's schedule."""
    doors, found = outages.doors(clock.now()), outages.latest(last)
    if as_json:
        typer.echo(json.dumps({"sources": doors, "outages": found}, default=str, indent=2))
        return
    for door in doors:
        changes = "" if door["is_away"] is not door["may_log_in"] else ", until the next run of simulated_sources"
        _say(f"{door['source']:<9} {'login accepted' if door['may_log_in'] else 'login refused'}{changes}")
    table = Table(title="the latest outages, in UTC")
    for heading in ("source", "from", "until", "by", "reason", "ended by"):
        table.add_column(heading)
    for each in found:
        began, ended = _shown(each["started_at"]), _shown(each["ended_at"])
        table.add_row(each["source"], began, ended, each["started_by"], each["reason"], each["stopped_by"] or "")
    out.print(table, markup=False)


Hours = Annotated[int, typer.Option(help="Delete windows that end within this number of hours.", min=6, max=24 * 60)]


@drill.callback()
def group() -> None:
    """Practise a recovery: delete landed windows on purpose."""


@drill.command()
def forget(hours: Hours = 72, yes: Yes = False) -> None:
    """Delete the landed windows of payments and page_views of the last hours, as if the platform had been down.

    The sources continue meanwhile. The next run of system_recovery_processing, or one you trigger, loads the windows.
    """
    since = clock.now() - timedelta(hours=hours)
    if not yes:
        typer.confirm(
            f"Delete the landed windows of payments and page_views since {since:%Y-%m-%d %H:%M} UTC?",
            abort=True,
        )
    for hold in drills.held(since):
        _say(f"{hold.dataset} {hold.window} is kept: it is held by {hold.held_by}: {hold.reason}")
    forgotten = drills.forget_since(since)
    at_once = commands.typed("recovery request payments page_views --yes")
    watch = commands.typed("recovery --watch")
    out.print(
        f"drill: {forgotten} windows are missing since {since:%Y-%m-%d %H:%M} UTC; the next run of"
        " system_recovery_processing, every six hours, loads them; to load them now: scripts/airflow dags trigger"
        f" system_recovery_processing, or {at_once}; {watch} shows the progress",
        soft_wrap=True,
        highlight=False,
    )


@outage.command("simulate", hidden=True)
def simulate(hours: Hours = 72, yes: Yes = False) -> None:
    """Deprecated name of `drill forget`."""
    old, new = commands.typed("outage simulate"), commands.typed("drill forget")
    err.print(f"highwater: {old} is deprecated: use {new}", soft_wrap=True, highlight=False)
    forget(hours, yes)


def _shown(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "open"


def _say(sentence: str) -> None:
    out.print(sentence, markup=False, highlight=False, soft_wrap=True)
