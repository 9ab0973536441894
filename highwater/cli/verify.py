"""``highwater verify``: compare published data with the ledger."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Annotated, Any

import typer
from rich.progress import track
from rich.table import Table

from highwater.cli.options import AsJson
from highwater.cli.terminal import console
from highwater.environment import commands
from highwater.incidents import alerts
from highwater.model import moments
from highwater.model.errors import Busy
from highwater.store import verify as verifying
from highwater.store.verify import Compared

out = console()
err = console(stderr=True)
DIFFERENT = 1


def verify(
    dataset: Annotated[str | None, typer.Argument(help="The dataset, e.g. daily_sales; all by default.")] = None,
    from_: Annotated[
        str, typer.Option("--from", metavar="WHEN", help=f"Start of the range (UTC): {moments.FORMS}.")
    ] = "",
    to: Annotated[
        str, typer.Option("--to", metavar="WHEN", help="End of the range: a day (included) or a moment (excluded).")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Count and hash the published rows again and compare them with the ledger.

    Exits with 1 if something differs or could not be compared. A difference is an incident until its window is loaded.
    Changes nothing except the record of checks.
    """
    start, end = moments.parse_range(from_, to)
    windows = verifying.landed(dataset, start, end)
    comparing = verifying.compare("analyst", windows)
    checked = list(track(comparing, "comparing", len(windows), console=err, transient=True, disable=as_json))
    compared, busy_windows = [each for each in checked if not each.held], [each for each in checked if each.held]
    sums = verifying.sums("analyst", dataset)
    unaccounted: list[tuple[str, str]] = []
    partitions_busy = None
    try:
        unaccounted = verifying.unaccounted(dataset)
    except Busy as busy:
        partitions_busy = str(busy)
    alerts.look()
    different = sorted((each for each in compared if each.problem), key=lambda each: (each.dataset, each.window.start))
    if as_json:
        typer.echo(json.dumps(_as_json(compared, busy_windows, sums, unaccounted), indent=2))
    else:
        if different or sums or unaccounted:
            out.print(_draw(different, sums, unaccounted))
        if not windows:
            out.print(f"no window of {dataset or 'any dataset'} has landed in this range", soft_wrap=True)
        out.print(
            f"{len(compared)} landed windows compared with the ledger, {len(different)} differ"
            + (f"; {len(unaccounted)} partitions belong to no landed window" if unaccounted else ""),
            soft_wrap=True,
            highlight=False,
        )
        for each_of, _ in sums:
            again = f"SELECT ops.recount_months('{each_of}')"
            out.print(f"totals and gaps of {each_of} differ from its ledger; run as postgres: {again}", soft_wrap=True)
        for each in busy_windows:
            out.print(
                f"{each.dataset} {each.window} could not be compared: {each.held}", soft_wrap=True, highlight=False
            )
        if partitions_busy:
            out.print(f"partitions of no landed window could not be checked: {partitions_busy}", soft_wrap=True)
        if different:
            for name, found in groupby(different, key=lambda each: each.dataset):
                mine = list(found)
                first, last = mine[0].window.start, max(each.window.end for each in mine)
                days = f"--from {first:%Y-%m-%dT%H:%M} --to {last:%Y-%m-%dT%H:%M}"
                again = commands.typed(f"backfill run {name} {days} --which all --reason …")
                reset = commands.typed(f"checkpoint reset {name} --reason …")
                out.print(f"load {name} again: {again}", soft_wrap=True)
                out.print(f"if it is loaded incrementally: {reset}, and run its DAG", soft_wrap=True)
        if unaccounted:
            out.print(
                "a partition of no landed window was created by hand: detach or drop it as postgres", soft_wrap=True
            )
    if different or busy_windows or sums or unaccounted or partitions_busy:
        raise typer.Exit(DIFFERENT)


def _draw(different: list[Compared], sums: list[tuple[str, str]], unaccounted: list[tuple[str, str]]) -> Table:
    table = Table()
    for heading in ("dataset", "window", "what differs"):
        table.add_column(heading, overflow="fold")
    for each in different:
        table.add_row(each.dataset, str(each.window), each.problem)
    for dataset, problem in sums:
        table.add_row(dataset, "", problem)
    for dataset, partition in unaccounted:
        table.add_row(dataset, "", f"partition {partition} belongs to no landed window")
    return table


def _as_json(
    compared: list[Compared], held: list[Compared], sums: list[tuple[str, str]], unaccounted: list[tuple[str, str]]
) -> dict[str, Any]:
    return {
        "compared": len(compared),
        "differences": [
            {"dataset": each.dataset, "window": str(each.window), "problem": each.problem}
            for each in compared
            if each.problem
        ],
        "not_compared": [{"dataset": each.dataset, "window": str(each.window), "why": each.held} for each in held],
        "sums": [{"dataset": dataset, "problem": problem} for dataset, problem in sums],
        "unaccounted_partitions": [{"dataset": dataset, "partition": name} for dataset, name in unaccounted],
    }
