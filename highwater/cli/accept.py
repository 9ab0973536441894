"""``highwater accept``: let one load of a window publish far fewer rows than are published now."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from highwater.cli.options import AsJson, By, Yes
from highwater.cli.terminal import console
from highwater.environment import commands
from highwater.model import moments
from highwater.store import reasons, shrink
from highwater.store.shrink import Accepted, Plan

out = console()


def accept(
    dataset: Annotated[str, typer.Argument(help="The dataset, e.g. daily_sales.")],
    window: Annotated[str, typer.Argument(help=f"Start of the window (UTC): {moments.FORMS}.")],
    *,
    reason: Annotated[
        str | None, typer.Option("--reason", help="The reason; stored in control.accepted_reloads.")
    ] = None,
    by: By = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the window and its rule without accepting anything.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Allow the next load of a window to publish far fewer rows, or none. Valid for one load."""
    who, why = reasons.who(by), "" if dry_run else reasons.said("reason", reason, dataset=dataset)
    plan = shrink.plan(dataset, window)
    if not as_json:
        _say(_sentence(plan))
    done: Accepted | None = None
    if not dry_run:
        if not yes:
            typer.confirm(f"Accept a smaller next load of {dataset} {plan.window}?", abort=True, err=as_json)
        done = shrink.accept(plan, who, why)
    if as_json:
        answer = {**asdict(plan), "window": str(plan.window), "done": done and asdict(done)}
        typer.echo(json.dumps(answer, default=str, indent=2))
    elif done:
        again = commands.typed(f"backfill run {dataset} --from … --to … --which all --reason …")
        _say(
            f"accepted by {done.accepted_by} at {done.accepted_at:%Y-%m-%d %H:%M} UTC ({done.reason}); load the window"
            f" again: clear its run in Airflow, or {again}"
        )


def _sentence(plan: Plan) -> str:
    if plan.version is None:
        there = "it has not landed"
    else:
        there = f"version {plan.version} with {plan.rows:,} rows is published"
    rule = (
        "a smaller load is published without confirmation"
        if plan.on_shrink == "accept"
        else f"a load that loses more than {plan.max_shrink:.1%} of the rows is stopped"
    )
    pending = plan.accepted and f"; already accepted by {plan.accepted.accepted_by}: {plan.accepted.reason}"
    return f"{plan.dataset} {plan.window}: {there}; {rule}{pending or ''}"


def _say(sentence: str) -> None:
    out.print(sentence, markup=False, highlight=False, soft_wrap=True)
