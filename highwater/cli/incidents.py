"""``highwater incidents …``: open incidents, advice on each, and alerts that were not delivered."""

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

app = typer.Typer(no_args_is_help=True, help="Show or acknowledge open incidents.")
out = console()


@app.command("list")
def list_open(
    as_json_: AsJson = False,
) -> None:
    """Show the open incidents, what to do about each, and undelivered alerts."""
    with warehouse.session("analyst") as cursor:
        incidents, undelivered = alerts.open_incidents(cursor), alerts.undelivered(cursor)
    if as_json_:
        typer.echo(json.dumps(as_json(incidents, undelivered), default=str, indent=2))
    else:
        out.print(
            draw(incidents, undelivered, advice=True) if incidents or undelivered else "no open incident",
            soft_wrap=True,
        )


@app.command()
def acknowledge(
    incident: Annotated[int, typer.Argument(help="Number of the incident, as shown by `list`.")],
    note: Annotated[str, typer.Option("--note", help="What is being done about it; stored with the incident.")],
    by: By = "",
) -> None:
    """Acknowledge an incident: it is no longer escalated, and one that needs a person may close."""
    who = reasons.who(by)
    alerts.acknowledge(incident, who, reasons.said("note", note))
    alerts.look()
    out.print(f"incident {incident}: acknowledged by {who}")


def as_json(incidents: list[Incident], undelivered: list[dict[str, Any]]) -> dict[str, Any]:
    """The incidents and undelivered alerts for a program."""
    return {"incidents": [asdict(incident) for incident in incidents], "undelivered_alerts": undelivered}


def draw(incidents: list[Incident], undelivered: list[dict[str, Any]], *, advice: bool = False) -> RenderableType:
    """For a person: one line per incident, then the undelivered alerts; empty without either."""
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
    for alert in undelivered:
        tried = f"{alert['tries']} tries, {alert['last_error']}" if alert["last_error"] else "not tried yet"
        lines.append(Text(f"not delivered to {alert['destination']}, {alert['state']} ({tried}): {alert['title']}"))
    return Group(*lines)
