"""``highwater sources``: availability, reliability and progress of each source; add sources and set their rules."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer
from rich.table import Table

from highwater.cli.options import AsJson
from highwater.cli.terminal import console
from highwater.model.errors import ConfigurationError
from highwater.policy import source_rules
from highwater.setup import airflow_files
from highwater.sources import sources as connecting
from highwater.store import warehouse
from highwater.store.status import STATES

app = typer.Typer(
    invoke_without_command=True,
    help="Show the sources: availability, reliability, progress; add a source or change its rules.",
)
out = console()

Source = Annotated[str, typer.Argument(help="The name of its connection in Airflow.")]


@app.callback()
def show(
    context: typer.Context,
    as_json: AsJson = False,
) -> None:
    """Show the sources loaded by windows: availability, reliability, progress, and whether catch-up is on."""
    if context.invoked_subcommand:
        return
    with warehouse.session("analyst") as cursor:
        warehouse.run_file(cursor, "ops/sources.sql")
        found = [dict(row._asdict()) for row in warehouse.fetch_all(cursor)]
    connections = airflow_files.connections()
    for source in found:
        source["reachable"] = source["away_because"] = None
        if known := connections.get(source["source"]):
            source["away_because"] = connecting.why_unavailable(source["source"], known)
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
            _reachable(source),
            _reliability(source),
            f"{_moment(source['landed_until'])}\n{source['landed']} of {source['due']} landed"
            + "".join(f", {source[state]} {state}" for state in STATES if state != "landed" and source[state]),
            _moment(source["next_expected"]),
            f"{'on' if source['catches_up'] else 'off'}: {source['reason']}",
        )
    out.print(table)


@app.command()
def add(
    source: Source,
    holds: Annotated[str, typer.Option("--holds", help="Short description of its data.")],
) -> None:
    """Register a source, so that rules can be set for it. Idempotent."""
    added = source_rules.add(source, holds.strip())
    _say(f"sources: {source} is {'registered' if added else 'already registered'}")


@app.command()
def trust(
    source: Source,
    *,
    dataset: Annotated[str | None, typer.Option(help="The dataset it feeds; required the first time.")] = None,
    catch_up: Annotated[
        str | None, typer.Option(help="Load past windows: all, reliable (only while it is reliable) or none.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Share of passed checks from which the source is reliable, e.g. 0.9.")
    ] = None,
    checks: Annotated[int | None, typer.Option(help="Number of latest checks that count for reliability.")] = None,
    limit: Annotated[
        str | None, typer.Option(help="How far back to catch up while it is reliable, e.g. '30 days'.")
    ] = None,
    timeout: Annotated[str | None, typer.Option(help="Statement timeout in the source, e.g. '2 minutes'.")] = None,
) -> None:
    """Set how far a source is trusted with past windows. Takes effect with its next run."""
    given: dict[str, Any] = {
        "catch_up": catch_up,
        "reliability_threshold": threshold,
        "reliability_checks": checks,
        "catch_up_limit": limit,
        "statement_timeout": timeout,
    }
    rules = {name: value for name, value in given.items() if value is not None}
    if not rules and dataset is None:
        raise ConfigurationError(
            "nothing to change: give one of --dataset, --catch-up, --threshold, --checks, --limit, --timeout"
        )
    source_rules.trust(source, dataset, rules)
    _say(f"sources: {source} " + (", ".join(f"{name} {value}" for name, value in rules.items()) or f"feeds {dataset}"))


def _reachable(source: dict[str, Any]) -> str:
    if source["reachable"] is None:
        return "unknown: its connection is stored in Airflow"
    return "yes" if source["reachable"] else f"no: {source['away_because']}"


def _reliability(source: dict[str, Any]) -> str:
    if not source["checks"]:
        return "never checked"
    since: timedelta | None = source["since_last_failure"]
    failure = "no failures" if since is None else f"last failure {_span(since)} ago"
    return f"{source['reliability']:.0%} of the last {source['checks']} checks\n{failure}"


def _span(length: timedelta) -> str:
    return f"{length.days} d" if length.days else f"{length.seconds / 3600:.1f} h"


def _moment(moment: datetime | None) -> str:
    return "nothing yet" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _say(sentence: str) -> None:
    out.print(sentence, markup=False, highlight=False, soft_wrap=True)
