"""``highwater restore …``: the steps that scripts/restore runs in the warehouse's server; not for interactive use."""

from __future__ import annotations

import typer

from highwater.setup import restoration

app = typer.Typer(no_args_is_help=True, help="Steps of scripts/restore that run in the warehouse's server.")


@app.command()
def prepare() -> None:
    """Create the roles, and an empty database beside the warehouse."""
    restoration.prepare()


@app.command()
def settle() -> None:
    """Migrate the restored database and compare it with its ledger."""
    restoration.settle()


@app.command()
def swap() -> None:
    """Swap the restored database in as the warehouse."""
    restoration.swap()


@app.command("put-back")
def put_back() -> None:
    """Undo the swap, if it was done, and print where the former warehouse is."""
    typer.echo(restoration.put_back())


@app.command()
def finish() -> None:
    """Keep the former warehouse until the next restore, and print where it is."""
    typer.echo(restoration.finish())
