"""``highwater release``: release windows that are held after a rollback."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from highwater.cli.backfill import From, To
from highwater.cli.options import AsJson, By, Yes
from highwater.cli.terminal import console
from highwater.environment import commands
from highwater.model import moments
from highwater.store import holds, reasons
from highwater.store.holds import Hold

out = console()


def release(
    dataset: Annotated[str, typer.Argument(help="The dataset, e.g. daily_sales.")],
    *,
    from_: From,
    to: To,
    reason: Annotated[str | None, typer.Option("--reason", help="The reason; stored in ops.holds.")] = None,
    by: By = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the held windows without releasing them.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Release held windows, such as those of a rollback, so that they may be loaded again. Loads nothing itself."""
    who, why = reasons.who(by), "" if dry_run else reasons.said("reason", reason, dataset=dataset)
    since, until = moments.parse_range(from_, to)
    found, others = holds.plan(dataset, since, until), holds.partly(dataset, since, until)
    if not as_json:
        for hold in found:
            _say(_sentence(hold))
        for hold in others:
            whole = f"--from {hold.window.start:%Y-%m-%dT%H:%M} --to {hold.window.end:%Y-%m-%dT%H:%M}"
            _say(f"{_sentence(hold)}; it stays held, since only part of it is in {from_} to {to}: use {whole}")
    done = 0
    if found and not dry_run:
        if not yes:
            typer.confirm(f"Release {len(found)} windows of {dataset}?", abort=True, err=as_json)
        done = holds.release(found, who, why)
    if as_json:
        held = [asdict(hold) | {"window": str(hold.window)} for hold in found]
        typer.echo(json.dumps({"held": held, "released": done}, default=str, indent=2))
    elif not found and not others:
        _say(f"{dataset} has no held window from {from_} to {to}")
    elif found and not dry_run:
        again = commands.typed(f"backfill run {dataset} --from {from_} --to {to} --which all --reason …")
        _say(f"{done} released by {who}; load them again: {again}")


def _sentence(hold: Hold) -> str:
    return (
        f"{hold.dataset} {hold.window} is held at version {hold.version} by {hold.held_by} since"
        f" {hold.held_at:%Y-%m-%d %H:%M} UTC: {hold.reason}"
    )


def _say(sentence: str) -> None:
    out.print(sentence, markup=False, highlight=False, soft_wrap=True)
