"""``highwater sources``: what each source is trusted with, how it is, and how far it has come."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from highwater import sources as connecting
from highwater import warehouse

out = Console()


def sources(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Show the sources that are loaded by windows: reachable now, reliability, how far landed, catch-up and why."""
    with warehouse.session("analyst") as cursor:
        warehouse.run_file(cursor, "ops/sources.sql")
        found = [dict(row._asdict()) for row in warehouse.fetch_all(cursor)]
    for source in found:
        source["away_because"] = connecting.why_away(source["source"])
        source["reachable"] = source["away_because"] is None
    if as_json:
        typer.echo(json.dumps(found, default=str, indent=2))
        return
    table = Table(title="sources")
    for heading in ("source", "reachable now", "reliability", "landed up to", "next expected", "catch-up"):
        table.add_column(heading, overflow="fold")
    for source in found:
        table.add_row(
            source["source"],
            "yes" if source["reachable"] else f"no: {source['away_because']}",
            _reliability(source),
            f"{_moment(source['landed_until'])}\n{source['landed']} landed, {source['skipped']} skipped, "
            f"{source['missing']} missing",
            _moment(source["next_expected"]),
            f"{'on' if source['catches_up'] else 'off'}: {source['reason']}",
        )
    out.print(table)


def _reliability(source: dict[str, Any]) -> str:
    if not source["checks"]:
        return "never checked"
    since: timedelta | None = source["since_last_failure"]
    failure = "no failure known" if since is None else f"last failure {_span(since)} ago"
    return f"{source['reliability']:.0%} of the last {source['checks']} checks\n{failure}"


def _span(length: timedelta) -> str:
    return f"{length.days} d" if length.days else f"{length.seconds / 3600:.1f} h"


def _moment(moment: datetime | None) -> str:
    return "nothing yet" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
