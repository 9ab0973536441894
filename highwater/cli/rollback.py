"""``highwater rollback``: restore a former version of a window."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from highwater.cli.options import AsJson, By, Yes
from highwater.cli.terminal import console
from highwater.environment import commands
from highwater.incidents import alerts
from highwater.model import moments
from highwater.store import reasons
from highwater.store import rollback as rollbacks
from highwater.store.rollback import Done, Plan

out = console()


def rollback(
    dataset: Annotated[str, typer.Argument(help="The dataset, e.g. daily_sales.")],
    window: Annotated[str, typer.Argument(help=f"Start of the window (UTC): {moments.FORMS}.")],
    *,
    reason: Annotated[str | None, typer.Option("--reason", help="The reason; stored in ops.rollbacks.")] = None,
    by: By = "",
    to: Annotated[
        int | None, typer.Option("--to", help="Version to restore; the latest former version by default.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, without changing anything.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Restore a former version of a window with its quarantined rows, and hold the window until it is released."""
    who, why = reasons.who(by), "" if dry_run else reasons.said("reason", reason, dataset=dataset)
    plan = rollbacks.plan(dataset, window, to)
    if not as_json:
        out.print(draw(plan))
    if dry_run:
        if as_json:
            typer.echo(json.dumps(_as_json(plan, None), default=str, indent=2))
        return
    if not yes:
        typer.confirm(f"Restore version {plan.former.version} of {dataset} {plan.window}?", abort=True, err=as_json)
    done = rollbacks.carry_out(plan, who, why)
    alerts.look()
    if as_json:
        typer.echo(json.dumps(_as_json(plan, done), default=str, indent=2))
    else:
        ends = f"--from {plan.window.start:%Y-%m-%dT%H:%M} --to {plan.window.end:%Y-%m-%dT%H:%M}"
        release = f"release {dataset} {ends} --reason …"
        out.print(
            f"rollback {done.rollback_id}: version {done.to_version} of {dataset} {plan.window} was restored as version"
            f" {done.as_version} by {who}; the window is held until {commands.typed(release)};"
            f" {commands.typed('incidents list')}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def draw(plan: Plan) -> Table:
    """For a person: both versions side by side, and the number of rows removed and added."""
    table = Table(
        title=f"{plan.dataset} {plan.window}",
        caption=f"{plan.rows_going:,} rows removed, {plan.rows_coming:,} added; replaced at"
        f" {plan.replaced_at:%Y-%m-%d %H:%M} UTC",
    )
    for heading in ("", "published now", "to be restored"):
        table.add_column(heading, overflow="fold")
    now, then = plan.present, plan.former
    table.add_row("version", f"{now.version}", f"{then.version}, as version {now.version + 1}")
    table.add_row("rows", f"{now.rows_published:,}", f"{then.rows_published:,}")
    table.add_row("in quarantine", f"{now.rows_quarantined:,}", f"{then.rows_quarantined:,}")
    table.add_row("landed, UTC", f"{now.landed_at:%Y-%m-%d %H:%M}", f"{then.landed_at:%Y-%m-%d %H:%M}")
    table.add_row("by", now.run_id, then.run_id)
    table.add_row("content", now.content_hash[:12], then.content_hash[:12])
    return table


def _as_json(plan: Plan, done: Done | None) -> dict[str, object]:
    return {**asdict(plan), "window": str(plan.window), "done": done and asdict(done)}
