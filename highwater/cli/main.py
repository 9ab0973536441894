"""``highwater …``: the command line of the platform."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import httpx
import psycopg2
import typer
import typer.core

from highwater.cli import (
    accept,
    backfill,
    checkpoint,
    policy,
    recovery,
    release,
    restore,
    rollback,
    sources,
    usage,
    verify,
)
from highwater.cli import incidents as cli_incidents
from highwater.cli.options import AsJson
from highwater.cli.terminal import console
from highwater.environment import commands, credentials, project, settings
from highwater.incidents import alerts
from highwater.model.errors import ConfigurationError, HighwaterError
from highwater.recovery import backlog
from highwater.setup import airflow_files, log_folder, metadata, secret_folders
from highwater.setup import bootstrap as bootstrapping
from highwater.store import sentences, warehouse
from highwater.store import status as statuses


class WithProject(typer.core.TyperGroup):
    """The commands of the engine, followed by those of the project."""

    def _added(self) -> dict[str, Any]:
        added = project.extension().commands()
        return {name: _command(name, group) for name, group in added.items()}

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands, the project's last."""
        return [*super().list_commands(ctx), *self._added()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, or None."""
        return super().get_command(ctx, cmd_name) or self._added().get(cmd_name)


def _command(name: str, group: typer.Typer) -> Any:
    command = typer.main.get_command(group)
    command.name = name
    return command


app = typer.Typer(
    cls=WithProject,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Operate a Highwater platform: see what has landed, load windows, roll back, answer incidents.",
)
app.add_typer(checkpoint.app, name="checkpoint")
app.add_typer(policy.app, name="policy")
app.add_typer(sources.app, name="sources")
app.add_typer(cli_incidents.app, name="incidents")
app.add_typer(recovery.app, name="recovery")
app.add_typer(backfill.app, name="backfill")
app.add_typer(restore.app, name="restore", hidden=True)
app.command()(rollback.rollback)
app.command()(release.release)
app.command()(verify.verify)
app.command()(accept.accept)
out = console()
err = console(stderr=True, soft_wrap=True)

INCOMPLETE = 1
ABORTED = 1
USAGE_ERROR = 2

Folders = Annotated[
    Path | None,
    typer.Option(
        "--folders", metavar="FOLDER", help="Also write each service's secrets into its own folder in this one."
    ),
]

Broker = Annotated[str, typer.Option("--broker", metavar="HOST:PORT/DB", help="Address of the task queue in Redis.")]


@app.command()
def bootstrap() -> None:
    """Create or update the databases: roles, schemas, functions, datasets. Never drops data."""
    bootstrapping.run()
    out.print("bootstrap: the databases are up to date")


@app.command()
def migrate(
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be done, without doing it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Migrate the warehouse's schema to the installed version; bootstrap, init and the demo do this too."""
    done = bootstrapping.plan() if plan else bootstrapping.migrate()
    if as_json:
        typer.echo(json.dumps(done.as_json(), indent=2))
        return
    out.print(f"from      {done.before or 'no version'}")
    out.print(f"to        {done.after}")
    for line in done.in_words() or ["nothing to do"]:
        out.print(f"{'would do' if plan else 'done':8}  {line}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def init() -> None:
    """Create or update everything, including Airflow's metadata; compose runs this before the services."""
    if home := os.environ.get("AIRFLOW_HOME"):
        log_folder.refuse_closed(Path(home) / "logs")
    bootstrapping.run()
    out.print("init: the warehouse is up to date")
    metadata.migrate(Path(tempfile.gettempdir()) / "migrate.log")
    out.print("init: Airflow's metadata is up to date")


@app.command()
def secrets(folders: Folders = None, broker: Broker = secret_folders.BROKER) -> None:
    """Generate missing secrets and the files Airflow reads them from. Existing secrets are kept."""
    made = credentials.ensure()
    airflow_files.write()
    if folders is not None:
        secret_folders.write(folders, broker)
    out.print(f"secrets: {len(made)} generated" if made else "secrets: all present")


@app.command()
def status(
    as_json: AsJson = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Exit 1 unless every due window has landed, is skipped by a rule, or is held."),
    ] = False,
) -> None:
    """Show what has landed, what is missing and why: one line per dataset, one mark per window."""
    with warehouse.session("analyst") as cursor:
        found = statuses.read(cursor)
        troubles = statuses.troubles(cursor, found)
        recoveries = backlog.recent(cursor)
        incidents, undelivered = alerts.open_incidents(cursor), alerts.undelivered(cursor)
    if as_json:
        answer = statuses.as_json(found, troubles) | cli_incidents.as_json(incidents, undelivered)
        answer |= {"recoveries": [asdict(each) for each in recoveries]}
        typer.echo(json.dumps(answer, default=str, indent=2))
    else:
        out.print(statuses.draw(found, troubles), soft_wrap=True)
        for each in recoveries:
            out.print(str(each), markup=False, highlight=False, soft_wrap=True)
        out.print(cli_incidents.draw(incidents, undelivered), soft_wrap=True)
    if check and not all(status.is_whole for status in found):
        raise typer.Exit(INCOMPLETE)


@app.command()
def login(
    role: Annotated[
        str | None, typer.Option("--role", help="Print the password of this warehouse role instead.")
    ] = None,
) -> None:
    """Show the address and login of Airflow's UI."""
    if role is not None:
        if role not in credentials.logins():
            raise ConfigurationError(f"unknown role {role!r}: expected one of {', '.join(credentials.logins())}")
        typer.echo(credentials.password(role))
        return
    out.print(f"address   {settings.get().ui_address}")
    out.print("user      admin")
    out.print(f"password  {credentials.secret('admin_password')}")
    if commands.place() is commands.Place.DEMO and not commands.demo_runs():
        out.print(f"the platform is stopped: {commands.how_to_start()}")


def main() -> None:
    """Run the command line; a user error is one line and exit code 2, never a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        code = app(prog_name=commands.PROGRAM, standalone_mode=False)
    except usage.NoArgsIsHelpError as asked:
        asked.show()
        raise SystemExit(USAGE_ERROR) from None
    except usage.ClickException as mistake:
        _refuse(_usage_sentence(mistake))
    except typer.Abort:
        err.print("highwater: nothing was done")
        raise SystemExit(ABORTED) from None
    except (HighwaterError, psycopg2.Error, httpx.HTTPError, OSError, UnicodeEncodeError) as error:
        _refuse(sentences.of(error))
    else:
        # A command returns nothing, or its exit code.
        raise SystemExit(code or 0)


def _usage_sentence(mistake: usage.ClickException) -> str:
    try:
        return usage.sentence(mistake, typer.main.get_command(app), sys.argv[1:])
    except ConfigurationError as error:
        return sentences.of(error)


def _refuse(sentence: str) -> NoReturn:
    err.print(f"highwater: {sentence}", markup=False, highlight=False)
    raise SystemExit(USAGE_ERROR)


if __name__ == "__main__":
    main()
