"""``highwater restore …``: the steps that scripts/restore runs in the warehouse's server; not for interactive use."""

from __future__ import annotations

import typer

from highwater.setup import restoring

app = typer.Typer(no_args_is_help=True, help="Steps of scripts/restore that run in the warehouse's server.")


@app.command()
def prepare() -> None:
    """Create the roles, and an empty database beside the warehouse."""
    restoring.prepare()


@app.command()
def settle() -> None:
    """Migrate the restored database and compare it with its ledger."""
    restoring.settle()


@app.command()
def swap() -> None:
    """Swap the restored database in as the warehouse."""
    restoring.swap()


@app.command("put-back")
def put_back() -> None:
    """Undo the swap, if it was done, and print where the former warehouse is."""
    typer.echo(restoring.put_back())


@app.command()
def finish() -> None:
    """Keep the former warehouse until the next restore, and print where it is."""
    typer.echo(restoring.finish())
