"""``highwater policy …``: the catch-up policies, their changes, and their effect on each window."""

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

app = typer.Typer(
    no_args_is_help=True,
    help="Catch-up policies: which windows are wanted, and whether missing ones are loaded automatically.",
)
out = console()

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, without changing anything.")]
Dataset = Annotated[str, typer.Argument(help=f"The dataset, as shown by {commands.typed('status')}.")]
NONE = "none"


@app.command()
def show(as_json: AsJson = False) -> None:
    """Show the policy of each dataset, the conditions, the coming closed days, and invalid policies."""
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
        trouble = f"; it cannot be checked: {row['error']}" if row["error"] else ""
        out.print(f"{row['condition']} of {row['dataset']} {state} since {row['since']:%Y-%m-%d %H:%M}{trouble}")
    for row in closed:
        out.print(f"{row['day']} is closed for {row['dataset'] or 'every dataset'}: {row['reason']}")
    for row in problems:
        out.print(f"{row['subject']} is invalid and ignored: {row['problem']}", markup=False, soft_wrap=True)


@app.command("set")
def set_(
    dataset: Dataset,
    *,
    reason: Annotated[str, typer.Option("--reason", help="The reason; stored with the change.")],
    enabled: Annotated[
        bool | None, typer.Option("--enabled/--disabled", help="Whether missing windows are loaded automatically.")
    ] = None,
    max_age: Annotated[
        str | None, typer.Option(help="Skip windows older than this: '90 days', '36 hours', or none.")
    ] = None,
    max_windows: Annotated[
        str | None, typer.Option(help="Load only this number of the newest due windows; or none.")
    ] = None,
    skip_weekdays: Annotated[str | None, typer.Option(help="Weekdays to skip, e.g. sat,sun; or none.")] = None,
    skip_closed_days: Annotated[
        bool | None,
        typer.Option("--skip-closed-days/--load-closed-days", help="Whether to skip days in control.closed_days."),
    ] = None,
    conditions: Annotated[
        str | None, typer.Option(help="Conditions that must hold for catch-up to be on; or none.")
    ] = None,
    by: By = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Change the policy of a dataset. Options not given are unchanged. Takes effect within seconds."""
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
        raise ConfigurationError(f"nothing to set: give one of --{', --'.join(given).replace('_', '-')}")
    entry = policy_file.check(dataset, values)
    with _operator(by, dry_run=dry_run) as cursor:
        policy_file.refuse_unknown(cursor, {dataset}, set(entry.conditions))
        changed = policy_file.change(cursor, dataset, {name: getattr(entry, name) for name in values}, reason.strip())
    _say(changed, dry_run=dry_run, as_json=as_json)


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(help="A policy file such as config/catchup.yaml.")],
    by: By = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Apply a policy file: all of it, or nothing if it contains an error."""
    wanted = policy_file.load(file)
    with _operator(by, dry_run=dry_run) as cursor:
        changed = policy_file.apply(cursor, wanted, f"as {file.name} says")
    _say(changed, dry_run=dry_run, as_json=as_json)


@app.command()
def history(
    dataset: Annotated[str | None, typer.Argument(help="Only changes of this dataset.")] = None,
    most: Annotated[int, typer.Option(help="Number of latest changes to show.", min=1)] = 50,
    as_json: AsJson = False,
) -> None:
    """Show who changed the policies, when and why: by file, command or psql. Newest last."""
    with warehouse.session("analyst") as cursor:
        if dataset is not None:
            policy_file.refuse_unknown(cursor, {dataset}, set())
        changes = catchup_control.history(cursor, dataset, most)
    if as_json:
        typer.echo(catchup_control.as_json(changes))
    for change in changes if not as_json else ():
        out.print(str(change), markup=False, highlight=False, soft_wrap=True)
    if not changes and not as_json:
        out.print("no changes yet")


@app.command()
def explain(
    dataset: Dataset,
    last: Annotated[int, typer.Option(help="Number of windows that have begun.", min=0)] = 14,
    coming: Annotated[int, typer.Option("--next", help="Number of future windows.", min=0)] = 7,
    as_json: AsJson = False,
) -> None:
    """Show what the policy decides for the last and the next windows, and why."""
    with warehouse.session("analyst") as cursor:
        policy_file.refuse_unknown(cursor, {dataset}, set())
        values = {"dataset": dataset, "last": last, "next": coming}
        warehouse.run_file(cursor, "ops/explain_policy.sql", values)
        rows = warehouse.fetch_all(cursor)
    if as_json:
        typer.echo(json.dumps([row._asdict() for row in rows], default=str, indent=2))
        return
    table = Table("window", "state", "decision", "reason", box=None)
    for row in rows:
        table.add_row(str(Window(row.window_start, row.window_end)), row.state, row.verdict, row.reason)
    out.print(table)


@contextmanager
def _operator(by: str, *, dry_run: bool) -> Iterator[Cursor]:
    """A transaction that changes policies in the name of ``by``; a dry run is rolled back.

    Raises:
        ConfigurationError: the warehouse refuses a value; names the rule it breaks.
    """
    try:
        with warehouse.session("operator") as cursor:
            cursor.execute("SELECT set_config('highwater.by', %s, true)", (reasons.who(by),))
            yield cursor
            if dry_run:
                cursor.connection.rollback()
    except (psycopg2.errors.CheckViolation, psycopg2.errors.RaiseException) as error:
        raise ConfigurationError(f"invalid policy: {driver_errors.said(error)}") from None


def _value(name: str, given: Any) -> Any:
    """The value of an option in the form a policy file has it."""
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
        out.print("no changes: it is already so")
    elif dry_run:
        out.print("dry run: nothing was changed")
