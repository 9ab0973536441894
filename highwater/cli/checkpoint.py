"""``highwater checkpoint …``: how far the datasets that are loaded by their changes have come."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from highwater.cli.options import AsJson, By, Yes
from highwater.cli.terminal import console
from highwater.store import checkpoints, reasons, warehouse

app = typer.Typer(no_args_is_help=True, help="Show or reset how far a dataset that is loaded by its changes has come.")
out = console()

Dataset = Annotated[str, typer.Argument(help="The dataset, e.g. orders.")]


@app.command()
def show(
    dataset: Dataset = "orders",
    as_json: AsJson = False,
    last: Annotated[int, typer.Option(help="So many of its moves.", min=0)] = 10,
) -> None:
    """Show the checkpoint of a dataset, what its strategy promises, and its last moves."""
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
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in ops.checkpoint_history.")],
    by: By = "",
    yes: Yes = False,
) -> None:
    """Forget how far a dataset has come: its next run reads everything. Published data stays as it is."""
    who, reason = reasons.who(by), reasons.said("reason", reason, dataset=dataset)
    with warehouse.session("analyst") as cursor:
        status = checkpoints.status(cursor, dataset)
        checkpoints.assert_resettable(cursor, dataset)
    if not yes:
        stands = status["watermark"] or "nowhere"
        typer.confirm(f"{dataset} stands at {stands}. Forget that, and read everything at the next run?", abort=True)
    revision = checkpoints.reset(dataset, who, reason)
    out.print(f"checkpoint of {dataset}: reset by {who} as revision {revision}; the next run is a full one")


def _line(move: dict[str, Any]) -> str:
    """One move in one line."""
    counts = f" +{move['rows_inserted']} ~{move['rows_updated']} -{move['rows_deleted']}"
    at = f"{move['recorded_at']:%Y-%m-%d %H:%M:%S}"
    return (
        f"{at}  {move['revision']:>4}  {move['change']} to {move['mode']}{counts}"
        f"  by {move['updated_by']} ({move['login']}): {move['reason']}"
    )
