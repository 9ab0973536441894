"""``highwater incidents …``: what is wrong, since when, what to do about it, and whether people have been told."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from highwater.cli.options import AsJson, By
from highwater.cli.terminal import console
from highwater.incidents import alerts
from highwater.incidents.alerts import Incident
from highwater.store import reasons, warehouse

app = typer.Typer(no_args_is_help=True, help="Show the open incidents, or say that you have seen one.")
out = console()


@app.command("list")
def list_open(
    as_json_: AsJson = False,
) -> None:
    """Show the open incidents, what to do about each, and the alerts that were not delivered."""
    with warehouse.session("analyst") as cursor:
        incidents, untold = alerts.open_incidents(cursor), alerts.undelivered(cursor)
    if as_json_:
        typer.echo(json.dumps(as_json(incidents, untold), default=str, indent=2))
    else:
        out.print(draw(incidents, untold, advice=True) if incidents or untold else "no open incident", soft_wrap=True)


@app.command()
def acknowledge(
    incident: Annotated[int, typer.Argument(help="Its number, as the list shows it.")],
    note: Annotated[str, typer.Option("--note", help="What is being done; kept with the incident.")],
    by: By = "",
) -> None:
    """Say that you have seen an incident: it is not escalated any more, and one that waits for a person may close."""
    who = reasons.who(by)
    alerts.acknowledge(incident, who, reasons.said("note", note))
    alerts.look()
    out.print(f"incident {incident}: acknowledged by {who}")


def as_json(incidents: list[Incident], untold: list[dict[str, Any]]) -> dict[str, Any]:
    """For a program."""
    return {"incidents": [asdict(incident) for incident in incidents], "undelivered_alerts": untold}


def draw(incidents: list[Incident], untold: list[dict[str, Any]], *, advice: bool = False) -> RenderableType:
    """For a person: a line an incident, then the alerts that were not delivered; nothing when all is well."""
    lines: list[RenderableType] = []
    for incident in incidents:
        seen = f", acknowledged by {incident.acknowledged_by}" if incident.acknowledged_by else ""
        urgent = ", escalated" if incident.escalated else ""
        failed = f"{incident.attempts:,} failed attempt{'' if incident.attempts == 1 else 's'}"
        attempts = f" ({failed}{urgent}{seen})" if incident.attempts else f"{urgent}{seen}"
        if incident.is_trouble:
            lines.append(Text(f"incident {incident.incident_id}  {incident.title}{attempts}", style="bold red"))
        else:
            lines.append(Text(f"no incident  {incident.title}", style="dim"))
        if incident.windows:
            lines.append(Text(f"    windows {incident.windows}", style="red"))
        if incident.reason:
            lines.append(Text(f"    {incident.reason}", style="red"))
        if advice:
            lines.append(Text(f"    {incident.advice}", style="dim"))
    for alert in untold:
        tried = f"{alert['tries']} tries, {alert['last_error']}" if alert["last_error"] else "not tried yet"
        lines.append(Text(f"not delivered to {alert['destination']}, {alert['state']} ({tried}): {alert['title']}"))
    return Group(*lines)
