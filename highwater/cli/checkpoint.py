"""``highwater checkpoint …``: checkpoints of the datasets that are loaded incrementally."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from highwater.cli.options import AsJson, By, Yes
from highwater.cli.terminal import console
from highwater.store import checkpoints, reasons, warehouse

app = typer.Typer(no_args_is_help=True, help="Show or reset the checkpoint of an incrementally loaded dataset.")
out = console()

Dataset = Annotated[str, typer.Argument(help="The dataset, e.g. orders.")]


@app.command()
def show(
    dataset: Dataset = "orders",
    as_json: AsJson = False,
    last: Annotated[int, typer.Option(help="Number of latest moves to show.", min=0)] = 10,
) -> None:
    """Show the checkpoint of a dataset, the guarantees of its strategy, and its latest moves."""
    with warehouse.session("analyst") as cursor:
        status, moves = checkpoints.status(cursor, dataset), checkpoints.moves(cursor, dataset, last)
    if as_json:
        typer.echo(json.dumps({**status, "moves": moves}, default=str, indent=2))
        return
    table = Table(show_header=False, title=f"checkpoint of {dataset}")
    for name, value in status.items():
        table.add_row(name.replace("_", " "), "" if value is None else str(value))
    out.print(table)
    for move in moves:
        out.print(_line(move), markup=False, highlight=False, soft_wrap=True)


@app.command()
def reset(
    dataset: Dataset,
    reason: Annotated[str, typer.Option("--reason", help="The reason; stored in ops.checkpoint_history.")],
    by: By = "",
    yes: Yes = False,
) -> None:
    """Reset a checkpoint: the next run reads everything. Published data is kept."""
    who, reason = reasons.who(by), reasons.said("reason", reason, dataset=dataset)
    with warehouse.session("analyst") as cursor:
        status = checkpoints.status(cursor, dataset)
        checkpoints.assert_resettable(cursor, dataset)
    if not yes:
        at = status["watermark"] or "the start"
        typer.confirm(f"{dataset} is at {at}. Reset it, so that the next run reads everything?", abort=True)
    revision = checkpoints.reset(dataset, who, reason)
    out.print(f"checkpoint of {dataset}: reset by {who} as revision {revision}; the next run is a full load")


def _line(move: dict[str, Any]) -> str:
    """One move in one line."""
    counts = f" +{move['rows_inserted']} ~{move['rows_updated']} -{move['rows_deleted']}"
    at = f"{move['recorded_at']:%Y-%m-%d %H:%M:%S}"
    return (
        f"{at}  {move['revision']:>4}  {move['change']} to {move['mode']}{counts}"
        f"  by {move['updated_by']} ({move['login']}): {move['reason']}"
    )
