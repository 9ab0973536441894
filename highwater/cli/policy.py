"""``highwater policy …``: what is wanted of each dataset, who changed it, and what follows for each window."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import psycopg2
import typer
from psycopg2.extensions import cursor as Cursor
from rich.table import Table

from highwater.airflow import catchup_control
from highwater.cli.options import AsJson, By
from highwater.cli.terminal import console
from highwater.environment import commands
from highwater.model import weekdays
from highwater.model.errors import ConfigurationError
from highwater.model.windows import Window
from highwater.policy import file as policy_file
from highwater.store import driver_errors, reasons, warehouse

app = typer.Typer(no_args_is_help=True, help="Which windows are wanted, and whether missing ones load by themselves.")
out = console()

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")]
Dataset = Annotated[str, typer.Argument(help=f"As {commands.typed('status')} names it.")]
NONE = "none"


@app.command()
def show(as_json: AsJson = False) -> None:
    """Show the policy of every dataset, the conditions, the closed days to come, and what of it cannot be read."""
    with warehouse.session("analyst") as cursor:
        cursor.execute(
            "SELECT s.*, p.changed_by, p.changed_at, p.reason, c.is_on, c.reason AS off_because"
            " FROM control.sound_policies AS s INNER JOIN control.catchup_policies AS p USING (dataset)"
            " CROSS JOIN LATERAL control.catchup_is_on(s.dataset) AS c ORDER BY s.dataset"
        )
        policies = [row._asdict() for row in warehouse.fetch_all(cursor)]
        cursor.execute("SELECT * FROM control.condition_states ORDER BY condition, dataset")
        conditions = [row._asdict() for row in warehouse.fetch_all(cursor)]
        cursor.execute(
            "SELECT day, dataset, reason FROM control.sound_closed_days"
            " WHERE day >= (ops.clock() AT TIME ZONE 'UTC')::date ORDER BY day, dataset"
        )
        closed = [row._asdict() for row in warehouse.fetch_all(cursor)]
        cursor.execute("SELECT DISTINCT subject, problem FROM ops.policy_problems ORDER BY subject")
        problems = [row._asdict() for row in warehouse.fetch_all(cursor)]
    if as_json:
        answer = {"policies": policies, "conditions": conditions, "closed_days": closed, "problems": problems}
        typer.echo(json.dumps(answer, default=str, indent=2))
        return
    table = Table("dataset", "catch-up", "max age", "max windows", "skips", "conditions", box=None)
    for row in policies:
        skips = [weekdays.NAMES[day - 1] for day in row["skip_weekdays"]]
        skips += ["closed days"] * row["skip_closed_days"]
        table.add_row(
            row["dataset"],
            "on" if row["is_on"] else f"off: {row['off_because']}",
            policy_file.shown(row["max_age"]),
            policy_file.shown(row["max_windows"]),
            ", ".join(skips) or NONE,
            policy_file.shown(row["conditions"]),
        )
    out.print(table)
    for row in conditions:
        state = "holds" if row["holds"] else "does not hold"
        trouble = f"; it cannot be looked at: {row['error']}" if row["error"] else ""
        out.print(f"{row['condition']} of {row['dataset']} {state} since {row['since']:%Y-%m-%d %H:%M}{trouble}")
    for row in closed:
        out.print(f"{row['day']} is closed for {row['dataset'] or 'every dataset'}: {row['reason']}")
    for row in problems:
        out.print(f"{row['subject']} cannot be read and is left out: {row['problem']}", markup=False, soft_wrap=True)


@app.command("set")
def set_(
    dataset: Dataset,
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the change.")],
    enabled: Annotated[
        bool | None, typer.Option("--enabled/--disabled", help="Whether missing windows are loaded by themselves.")
    ] = None,
    max_age: Annotated[str | None, typer.Option(help="'90 days', '36 hours', or none.")] = None,
    max_windows: Annotated[str | None, typer.Option(help="So many of the newest due windows, or none.")] = None,
    skip_weekdays: Annotated[str | None, typer.Option(help="sat,sun; or none.")] = None,
    skip_closed_days: Annotated[bool | None, typer.Option("--skip-closed-days/--load-closed-days")] = None,
    conditions: Annotated[str | None, typer.Option(help="Catch-up is on only while these hold; or none.")] = None,
    by: By = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Change the policy of a dataset; what is not named stays as it is. It holds within seconds."""
    reason = reasons.said("reason", reason)
    given: dict[str, Any] = {
        "enabled": enabled,
        "max_age": max_age,
        "max_windows": max_windows,
        "skip_weekdays": skip_weekdays,
        "skip_closed_days": skip_closed_days,
        "conditions": conditions,
    }
    values = {name: _value(name, value) for name, value in given.items() if value is not None}
    if not values:
        raise ConfigurationError(f"nothing to set: name one of --{', --'.join(given).replace('_', '-')}")
    entry = policy_file.check(dataset, values)
    with _operator(by, dry_run=dry_run) as cursor:
        policy_file.refuse_unknown(cursor, {dataset}, set(entry.conditions))
        changed = policy_file.change(cursor, dataset, {name: getattr(entry, name) for name in values}, reason.strip())
    _say(changed, dry_run=dry_run, as_json=as_json)


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(help="Like config/catchup.yaml.")],
    by: By = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make what is wanted what a file says: all of it, or, where something in it is wrong, nothing."""
    wanted = policy_file.load(file)
    with _operator(by, dry_run=dry_run) as cursor:
        changed = policy_file.apply(cursor, wanted, f"as {file.name} says")
    _say(changed, dry_run=dry_run, as_json=as_json)


@app.command()
def history(
    dataset: Annotated[str | None, typer.Argument(help="Of this one alone.")] = None,
    most: Annotated[int, typer.Option(help="So many of the latest changes.", min=1)] = 50,
    as_json: AsJson = False,
) -> None:
    """Show who changed what is wanted, when and why: by a file, a command or in psql. The newest comes last."""
    with warehouse.session("analyst") as cursor:
        if dataset is not None:
            policy_file.refuse_unknown(cursor, {dataset}, set())
        changes = catchup_control.history(cursor, dataset, most)
    if as_json:
        typer.echo(catchup_control.as_json(changes))
    for change in changes if not as_json else ():
        out.print(str(change), markup=False, highlight=False, soft_wrap=True)
    if not changes and not as_json:
        out.print("nothing was changed so far")


@app.command()
def explain(
    dataset: Dataset,
    last: Annotated[int, typer.Option(help="So many windows that have begun.", min=0)] = 14,
    coming: Annotated[int, typer.Option("--next", help="So many windows to come.", min=0)] = 7,
    as_json: AsJson = False,
) -> None:
    """Show of the last windows and the next ones what the policy says, and why."""
    with warehouse.session("analyst") as cursor:
        policy_file.refuse_unknown(cursor, {dataset}, set())
        values = {"dataset": dataset, "last": last, "next": coming}
        warehouse.run_file(cursor, "ops/explain_policy.sql", values)
        rows = warehouse.fetch_all(cursor)
    if as_json:
        typer.echo(json.dumps([row._asdict() for row in rows], default=str, indent=2))
        return
    table = Table("window", "state", "the policy says", "because", box=None)
    for row in rows:
        table.add_row(str(Window(row.window_start, row.window_end)), row.state, row.verdict, row.reason)
    out.print(table)


@contextmanager
def _operator(by: str, *, dry_run: bool) -> Iterator[Cursor]:
    """A transaction of whoever changes what is wanted; a dry run takes it back.

    Raises:
        ConfigurationError: the warehouse refuses a value; says which rule it breaks.
    """
    try:
        with warehouse.session("operator") as cursor:
            cursor.execute("SELECT set_config('highwater.by', %s, true)", (reasons.who(by),))
            yield cursor
            if dry_run:
                cursor.connection.rollback()
    except (psycopg2.errors.CheckViolation, psycopg2.errors.RaiseException) as error:
        raise ConfigurationError(f"the policy is refused: {driver_errors.said(error)}") from None


def _value(name: str, given: Any) -> Any:
    """An option's value as the file would have it."""
    if not isinstance(given, str):
        return given
    parts = [part.strip() for part in given.split(",") if part.strip()]
    empty = given.strip().lower() == NONE
    if name in ("skip_weekdays", "conditions"):
        return [] if empty else parts
    if name == "max_windows" and given.strip().isdecimal():
        return int(given)
    return None if empty else given


def _say(changed: list[str], *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"changed": changed, "dry_run": dry_run}, indent=2))
        return
    for line in changed:
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    if not changed:
        out.print("nothing changes: it is so already")
    elif dry_run:
        out.print("dry run: nothing was changed")
