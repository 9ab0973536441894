"""``highwater restore …``: the steps of scripts/restore that are done in the warehouse's server; nobody types them."""

from __future__ import annotations

import typer

from highwater.setup import restoring

app = typer.Typer(no_args_is_help=True, help="The steps of scripts/restore in the warehouse's server.")


@app.command()
def prepare() -> None:
    """Make roles, and an empty database beside the warehouse."""
    restoring.prepare()


@app.command()
def settle() -> None:
    """Migrate what was restored, and compare it with its ledger."""
    restoring.settle()


@app.command()
def swap() -> None:
    """Let it take the warehouse's place."""
    restoring.swap()


@app.command("put-back")
def put_back() -> None:
    """Undo that, if it was done, and say where the former warehouse is."""
    typer.echo(restoring.put_back())


@app.command()
def finish() -> None:
    """Keep what was there until the next restore, and say where it is."""
    typer.echo(restoring.finish())
