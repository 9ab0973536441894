"""``highwater backfill …``: plan, run, watch, pause and cancel loads of a chosen range of windows."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from highwater.airflow import api
from highwater.airflow.api import ApiUnavailable
from highwater.backfill import options
from highwater.backfill import requests as backfill_requests
from highwater.backfill.requests import Plan, PlanChanged, Planned, Request
from highwater.cli import drawing
from highwater.cli.drawing import Bar, draw_difference, draw_list, draw_plan, draw_windows
from highwater.cli.options import AsJson, By, Yes
from highwater.cli.terminal import console
from highwater.environment import commands
from highwater.model import documents, moments
from highwater.model.errors import ConfigurationError
from highwater.model.weekdays import weekdays_of
from highwater.store import reasons, warehouse

app = typer.Typer(
    no_args_is_help=True, help="Load a range of windows: plan, run, watch, pause, resume or cancel a backfill."
)
# Do not wrap lines in a file or a pipe.
out = console(width=None if sys.stdout.isatty() else 240)

INCOMPLETE = 1
POLL = 0.5
"""Seconds between two polls of a watched backfill."""
LARGEST_PLAN = 64 * 1024 * 1024
"""Maximum size of a plan file in bytes; a plan of 100,000 windows takes a fifth of it."""

Dataset = Annotated[str, typer.Argument(help="The dataset, e.g. daily_sales.")]
From = Annotated[str, typer.Option("--from", metavar="WHEN", help=f"Start of the range (UTC): {moments.FORMS}.")]
To = Annotated[
    str,
    typer.Option(
        "--to", metavar="WHEN", help="End of the range: a day (included) or a moment (excluded), as for --from."
    ),
]
Which = Annotated[str, typer.Option(help=options.WHICH.usage)]
Exclude = Annotated[list[str], typer.Option("--exclude", metavar="DAY", help=f"Skip {moments.DAYS}; can be repeated.")]
Weekdays = Annotated[str, typer.Option(help="Load only these weekdays, e.g. mon,tue,fri.")]
ClosedDays = Annotated[str, typer.Option(help=f"Days in control.closed_days. {options.CLOSED_DAYS.usage}")]
Direction = Annotated[str, typer.Option(help=options.DIRECTION.usage)]
Number = Annotated[int, typer.Argument(help=f"Number of the backfill, as shown by {commands.typed('backfill list')}.")]


def _optional(option: options.Choice) -> Any:
    """An option of `run`, where a plan may give the value instead."""
    return typer.Option(help=f"{option.usage} Default: {option.default}.")


@app.command()
def plan(
    *,
    dataset: Dataset,
    from_: From,
    to: To,
    which: Which = options.WHICH.default,
    exclude: Exclude = [],  # noqa: B006 - typer does not change it
    weekdays: Weekdays = "",
    closed_days: ClosedDays = options.CLOSED_DAYS.default,
    direction: Direction = options.DIRECTION.default,
    every: Annotated[bool, typer.Option("--every", help="Print one line per window; never group them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show each window in the range, whether it would be loaded, and why. Changes nothing."""
    wanted = _request(dataset, from_, to, which, exclude, weekdays, closed_days, direction)
    found = _plan(wanted)
    if as_json:
        for line in drawing.as_json(found, wanted):
            typer.echo(line, nl=False)
    else:
        out.print(draw_plan(found, every=every), soft_wrap=True)


@app.command()
def run(
    *,
    dataset: Annotated[
        str | None, typer.Argument(help="The dataset, e.g. daily_sales; taken from --plan if not given.")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="WHEN", help=f"Start of the range (UTC): {moments.FORMS}.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="WHEN", help="End of the range: a day (included) or a moment (excluded)."),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="The reason; stored with the backfill.")],
    which: Annotated[str | None, _optional(options.WHICH)] = None,
    exclude: Exclude = [],  # noqa: B006
    weekdays: Annotated[str | None, typer.Option(help="Load only these weekdays, e.g. mon,tue,fri.")] = None,
    closed_days: Annotated[str | None, _optional(options.CLOSED_DAYS)] = None,
    direction: Annotated[str | None, _optional(options.DIRECTION)] = None,
    max_active: Annotated[int, typer.Option(help=options.MAX_ACTIVE.help)] = options.MAX_ACTIVE.default,
    on_failure: Annotated[str, typer.Option(help=options.ON_FAILURE.usage)] = options.ON_FAILURE.default,
    by: By = "",
    shown: Annotated[
        Path | None,
        typer.Option("--plan", help="Run the plan in this file, the output of `backfill plan --json`."),
    ] = None,
    watching: Annotated[
        bool, typer.Option("--watch", help="Wait until it ends; exit 1 if it failed, stopped or was cancelled.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Request and start a backfill. Exactly the plan that is shown is run.

    If the plan has changed since it was shown, the difference is shown for confirmation; with --yes nothing is started.
    """
    known, planned = _read_plan(shown) if shown else (None, {})
    given = _given(dataset, from_, to, which, exclude, weekdays, closed_days, direction)
    wanted = replace(
        _request_of_plan(planned, given) if planned else _request_of(given),
        reason=reasons.said("reason", reason),
        requested_by=reasons.who(by),
        max_active=max_active,
        on_failure=on_failure,
    )
    with warehouse.session("analyst") as cursor:
        backfill_requests.check(cursor, wanted)
    now = _plan(wanted)
    number = _submit(wanted, known, now, yes=yes, quiet=as_json)
    if number is None:
        return
    started = _start(number)
    if as_json:
        typer.echo(json.dumps(_progress(number) | {"start": started}, default=str, indent=2))
    else:
        out.print(f"backfill {number}: {started}; {commands.typed(f'backfill watch {number}')}", soft_wrap=True)
    if watching:
        watch(number, as_json=as_json)


@app.command()
def watch(number: Number, as_json: AsJson = False) -> None:
    """Watch a backfill: progress, rate, estimated time left, failures. Ctrl-C stops watching, not the backfill.

    The exit code is 1 if the backfill failed, stopped or was cancelled, else 0.
    """
    now = _progress(number)
    known: set[datetime] = set()
    with suppress(KeyboardInterrupt), Bar(out, now, quiet=as_json) as bar:
        while True:
            with warehouse.session("analyst") as cursor:
                now, failed = backfill_requests.progress(cursor, number), backfill_requests.failures(cursor, number)
            for start, error in failed:
                if start not in known:
                    bar.say(f"{start:%Y-%m-%d %H:%M} failed: {error}")
            # A window that failed may fail again after a resume.
            known = {start for start, _ in failed}
            bar.update(now)
            if (now["state"] in backfill_requests.OVER and not now["running"]) or now["state"] == "stopped":
                break
            time.sleep(POLL)
    if as_json:
        typer.echo(json.dumps(now, default=str, indent=2))
    if now["state"] in ("failed", "stopped", "cancelled"):
        raise typer.Exit(INCOMPLETE)


@app.command("list")
def list_(
    last: Annotated[int, typer.Option(help="Number of backfills to show, latest first.", min=1)] = 20,
    active: Annotated[bool, typer.Option("--active", help="Only backfills that have not ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the latest backfills and their progress."""
    with warehouse.session("analyst") as cursor:
        found = backfill_requests.latest(cursor, last, active=active)
    if as_json:
        typer.echo(json.dumps(found, default=str, indent=2))
    else:
        out.print(draw_list(found))


@app.command()
def show(number: Number, as_json: AsJson = False) -> None:
    """Show each window of a backfill: what was planned, why, and the result."""
    with warehouse.session("analyst") as cursor:
        now, windows = backfill_requests.progress(cursor, number), backfill_requests.windows(cursor, number)
    if as_json:
        typer.echo(json.dumps(now | {"windows": windows}, default=str, indent=2))
    else:
        out.print(draw_windows(now, windows), soft_wrap=True)


@app.command()
def cancel(number: Number, by: By = "", yes: Yes = False) -> None:
    """Cancel a backfill for good. Running windows finish; landed windows stay."""
    with warehouse.session("analyst") as cursor:
        effect = backfill_requests.cancelling(cursor, number)
    out.print(effect, soft_wrap=True)
    if not yes:
        typer.confirm("Cancel it for good?", abort=True)
    now = _change("cancel", number, by)
    out.print(f"backfill {number} is cancelled: {now['cancelled']} windows not started, {now['running']} still running")


@app.command()
def pause(number: Number, by: By = "") -> None:
    """Pause a backfill: no further windows are started until it is resumed. Running windows finish."""
    now = _change("pause", number, by)
    out.print(f"backfill {number} is paused: {now['planned']} windows waiting, {now['running']} still running")


@app.command()
def resume(number: Number, by: By = "") -> None:
    """Resume a backfill that was paused, stopped or failed; failed windows are tried again first."""
    now = _change("resume", number, by)
    out.print(f"backfill {number}: {now['planned']} windows to load; {_start(number)}")


def recover(
    datasets: Annotated[list[str], typer.Argument(help="Datasets to recover; all by default.")] = [],  # noqa: B006
    reason: Annotated[
        str, typer.Option("--reason", help="The reason; stored with each backfill.")
    ] = "recovery of missing windows",
    by: By = "",
    yes: Yes = False,
) -> None:
    """Load everything that is missing and wanted: one backfill for each dataset with missing windows.

    Windows whose data was rejected need a person and are left out, as are windows of another active backfill.
    """
    who, reason = reasons.who(by), reasons.said("reason", reason)
    with warehouse.session("analyst") as cursor:
        requests = backfill_requests.missing(cursor, datasets, reason, who)
        for wanted in requests:
            backfill_requests.check(cursor, wanted)
    plans = []
    for wanted in requests:
        try:
            found = _plan(wanted)
        except ConfigurationError as refused:
            out.print(f"{wanted.dataset}: {refused}", soft_wrap=True)
            continue
        if found.to_load:
            out.print(f"{wanted.dataset}: {found.to_load} windows from {wanted.from_time:%Y-%m-%d %H:%M}")
            plans.append((wanted, found))
    if not plans:
        out.print("nothing left to request" if requests else "nothing is missing")
        return
    if not yes:
        typer.confirm("Load them?", abort=True)
    for wanted, found in plans:
        try:
            with warehouse.session("operator") as cursor:
                number = backfill_requests.request(cursor, wanted, shown=found)
        except ConfigurationError as refused:
            out.print(f"{wanted.dataset}: {refused}", soft_wrap=True)
            continue
        out.print(f"{wanted.dataset}: backfill {number}, {_start(number)}", soft_wrap=True)


def _request(  # noqa: PLR0917 - the options as typer passes them
    dataset: str, from_: str, to: str, which: str, exclude: list[str], weekdays: str, closed_days: str, direction: str
) -> Request:
    return _request_of(_given(dataset, from_, to, which, exclude, weekdays, closed_days, direction))


def _given(  # noqa: PLR0917 - the options as typer passes them
    dataset: str | None,
    from_: str | None,
    to: str | None,
    which: str | None,
    exclude: list[str],
    weekdays: str | None,
    closed_days: str | None,
    direction: str | None,
) -> dict[str, Any]:
    """The fields of a request that were given on the command line, by name."""
    typed: dict[str, Any] = {
        "dataset": dataset,
        "from_time": moments.moment(from_, "--from") if from_ is not None else None,
        "to_time": moments.moment(to, "--to", end=True) if to is not None else None,
        "which": which,
        "excluded_dates": [moments.day(text, "--exclude") for each in exclude for text in each.split(",")] or None,
        "weekdays": weekdays_of(weekdays.replace(",", " ").split()) if weekdays else None,
        "closed_days": closed_days,
        "direction": direction,
    }
    return {name: value for name, value in typed.items() if value is not None}


def _request_of(given: dict[str, Any]) -> Request:
    """The request given on the command line.

    Raises:
        ConfigurationError: the dataset, ``--from`` or ``--to`` is missing.
    """
    if lacking := [typed for name, typed in _NEEDED.items() if name not in given]:
        raise ConfigurationError(f"{' and '.join(lacking)} missing: say what to load, or give a plan with --plan")
    return Request(**given)


def _request_of_plan(planned: dict[str, Any], given: dict[str, Any]) -> Request:
    """The request stored in a plan file.

    Raises:
        ConfigurationError: an option contradicts it.
    """
    for name, value in given.items():
        if value != planned[name]:
            raise ConfigurationError(
                f"invalid {name.replace('_', ' ')} {_in_words(value)!r}: expected {_in_words(planned[name])!r}, as in"
                " the plan; leave it out, or make a new plan"
            )
    return Request(**planned)


def _in_words(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


_NEEDED = {"dataset": "DATASET", "from_time": "--from", "to_time": "--to"}


def _plan(wanted: Request) -> Plan:
    with warehouse.session("analyst") as cursor:
        return backfill_requests.plan(cursor, wanted)


def _read_plan(file: Path) -> tuple[Plan, dict[str, Any]]:
    """A plan file: its plan and the fields of its request, which are empty in a file of an older version."""
    held = documents.read_json(file, name=f"--plan {file}", largest=LARGEST_PLAN)
    try:
        windows = [
            Planned(
                datetime.fromisoformat(w["start"]),
                datetime.fromisoformat(w["end"]),
                w["action"],
                w["rule"],
                w["reason"],
            )
            for w in held["windows"]
        ]
        return Plan(windows, held["fingerprint"]), drawing.request_fields(held)
    except (ValueError, KeyError, TypeError):
        plan_command = commands.typed("backfill plan … --json")
        raise ConfigurationError(f"invalid --plan {file}: expected the output of {plan_command}") from None


def _submit(wanted: Request, known: Plan | None, now: Plan, *, yes: bool, quiet: bool) -> int | None:
    """Show the plan, confirm and submit it, repeating while it changes; None if there is nothing to load."""
    while True:
        if known and known.fingerprint != now.fingerprint:
            console(stderr=True).print(draw_difference(known, now), soft_wrap=True)
            if yes:
                raise ConfigurationError(
                    "the plan has changed since it was shown, so nothing was started: run the command without --yes"
                )
        elif not quiet:
            out.print(draw_plan(now), soft_wrap=True)
        if not now.to_load:
            if quiet:
                typer.echo("null")
            return None
        if not yes:
            typer.confirm(f"Load {now.to_load} windows of {wanted.dataset}?", abort=True)
        try:
            with warehouse.session("operator") as cursor:
                return backfill_requests.request(cursor, wanted, shown=now)
        except PlanChanged:
            known, now = now, _plan(wanted)


def _start(number: int) -> str:
    """Start its Airflow run if Airflow is reachable; returns what happens next."""
    with warehouse.session("analyst") as cursor:
        run_id, conf = backfill_requests.conf_of(cursor, number)
    try:
        api.start(backfill_requests.DAG, run_id, conf)
    except ApiUnavailable as away:
        with warehouse.session("operator") as cursor:
            backfill_requests.note_not_started(cursor, number, str(away))
        return f"catchup_control will start it within five minutes ({away})"
    return "started"


def _change(verb: str, number: int, by: str) -> dict[str, Any]:
    with warehouse.session("operator") as cursor:
        backfill_requests.change(cursor, verb, number, reasons.who(by))
        return backfill_requests.progress(cursor, number)


def _progress(number: int) -> dict[str, Any]:
    with warehouse.session("analyst") as cursor:
        return backfill_requests.progress(cursor, number)
