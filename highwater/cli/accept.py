"""``highwater accept``: let one load of a window through that has much less than what is published."""

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
    window: Annotated[str, typer.Argument(help=f"The window, by when it begins (UTC): {moments.FORMS}.")],
    *,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; kept in control.accepted_reloads.")] = None,
    by: By = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what it is about, and accept nothing.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Accept that the next load of a window has much less than what is published, or nothing; one load uses it up."""
    who, why = reasons.who(by), "" if dry_run else reasons.said("reason", reason, dataset=dataset)
    plan = shrink.plan(dataset, window)
    if not as_json:
        _say(_sentence(plan))
    done: Accepted | None = None
    if not dry_run:
        if not yes:
            typer.confirm(f"Let the next load of {dataset} {plan.window} through?", abort=True, err=as_json)
        done = shrink.accept(plan, who, why)
    if as_json:
        answer = {**asdict(plan), "window": str(plan.window), "done": done and asdict(done)}
        typer.echo(json.dumps(answer, default=str, indent=2))
    elif done:
        again = commands.typed(f"backfill run {dataset} --from … --to … --which all --reason …")
        _say(
            f"{done.accepted_by} accepted it at {done.accepted_at:%Y-%m-%d %H:%M} UTC ({done.reason}); load the window"
            f" again: clear its run in Airflow, or {again}"
        )


def _sentence(plan: Plan) -> str:
    if plan.version is None:
        there = "nothing of it has landed"
    else:
        there = f"version {plan.version} with {plan.rows:,} rows is published"
    rule = (
        "a load with less is published without being asked"
        if plan.on_shrink == "accept"
        else f"a load that would lose more than {plan.max_shrink:.1%} of the rows stops"
    )
    accepted = plan.accepted and f"; {plan.accepted.accepted_by} accepted one already: {plan.accepted.reason}"
    return f"{plan.dataset} {plan.window}: {there}; {rule}{accepted or ''}"


def _say(sentence: str) -> None:
    out.print(sentence, markup=False, highlight=False, soft_wrap=True)
