"""``highwater backfill …``: load just the windows one wants: shown before, watched, paused, cancelled."""

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

app = typer.Typer(no_args_is_help=True, help="Load just the windows that you want: plan, run, watch, pause.")
# Lines in a file or a pipe are as long as they are.
out = console(width=None if sys.stdout.isatty() else 240)

NOT_WHOLE = 1
POLL = 0.5
"""Seconds between two looks at a backfill that is watched."""
LARGEST_PLAN = 64 * 1024 * 1024
"""Bytes of a plan that was kept: one of a hundred thousand windows takes a fifth."""

Dataset = Annotated[str, typer.Argument(help="The dataset, e.g. daily_sales.")]
From = Annotated[str, typer.Option("--from", metavar="WHEN", help=f"Where it begins (UTC): {moments.FORMS}.")]
To = Annotated[
    str,
    typer.Option(
        "--to", metavar="WHEN", help="The last day, which is included, or the moment to stop before; as --from."
    ),
]
Which = Annotated[str, typer.Option(help=options.WHICH.usage)]
Exclude = Annotated[
    list[str], typer.Option("--exclude", metavar="DAY", help=f"A day to leave out, {moments.DAYS}; may be given again.")
]
Weekdays = Annotated[str, typer.Option(help="Only these: mon,tue,fri.")]
ClosedDays = Annotated[str, typer.Option(help=f"The days of control.closed_days. {options.CLOSED_DAYS.usage}")]
Direction = Annotated[str, typer.Option(help=options.DIRECTION.usage)]
Number = Annotated[int, typer.Argument(help=f"The number of the backfill: see {commands.typed('backfill list')}.")]


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
    every: Annotated[bool, typer.Option("--every", help="A line a window, however many there are.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show every window that a backfill would reach, what would happen to it and why. Changes nothing."""
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
    dataset: Annotated[str | None, typer.Argument(help="The dataset, e.g. daily_sales; or --plan names it.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="WHEN", help=f"Where it begins (UTC): {moments.FORMS}.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="WHEN", help="The last day, which is included, or the moment to stop before."),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the backfill.")],
    which: Annotated[str | None, _optional(options.WHICH)] = None,
    exclude: Exclude = [],  # noqa: B006
    weekdays: Annotated[str | None, typer.Option(help="Only these: mon,tue,fri.")] = None,
    closed_days: Annotated[str | None, _optional(options.CLOSED_DAYS)] = None,
    direction: Annotated[str | None, _optional(options.DIRECTION)] = None,
    max_active: Annotated[int, typer.Option(help=options.MAX_ACTIVE.help)] = options.MAX_ACTIVE.default,
    on_failure: Annotated[str, typer.Option(help=options.ON_FAILURE.usage)] = options.ON_FAILURE.default,
    by: By = "",
    shown: Annotated[
        Path | None,
        typer.Option("--plan", help="What `backfill plan --json` printed: that is asked, and nothing else is run."),
    ] = None,
    watching: Annotated[
        bool, typer.Option("--watch", help="Stay until it has ended; then the exit code tells.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Ask for a backfill and start it: exactly the plan that is shown runs.

    If the world changed since the plan was shown, the difference is shown and asked about; with --yes nothing starts.
    """
    known, asked = _read_plan(shown) if shown else (None, {})
    given = _given(dataset, from_, to, which, exclude, weekdays, closed_days, direction)
    wanted = replace(
        _ask_the_same(asked, given) if asked else _whole(given),
        reason=reasons.said("reason", reason),
        requested_by=reasons.who(by),
        max_active=max_active,
        on_failure=on_failure,
    )
    with warehouse.session("analyst") as cursor:
        backfill_requests.check(cursor, wanted)
    now = _plan(wanted)
    number = _ask(wanted, known, now, yes=yes, quiet=as_json)
    if number is None:
        return
    said = _start(number)
    if as_json:
        typer.echo(json.dumps(_progress(number) | {"start": said}, default=str, indent=2))
    else:
        out.print(f"backfill {number}: {said}; {commands.typed(f'backfill watch {number}')}", soft_wrap=True)
    if watching:
        watch(number, as_json=as_json)


@app.command()
def watch(number: Number, as_json: AsJson = False) -> None:
    """Watch a backfill: a bar, its rate, when the rest may be done, failures as they come. Ctrl-C ends the watching.

    The exit code is 0 when all of it landed, and 1 when it failed, stopped or was cancelled.
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
            # One that failed and was resumed may fail again.
            known = {start for start, _ in failed}
            bar.update(now)
            if (now["state"] in backfill_requests.OVER and not now["running"]) or now["state"] == "stopped":
                break
            time.sleep(POLL)
    if as_json:
        typer.echo(json.dumps(now, default=str, indent=2))
    if now["state"] in ("failed", "stopped", "cancelled"):
        raise typer.Exit(NOT_WHOLE)


@app.command("list")
def list_(
    last: Annotated[int, typer.Option(help="So many of the latest.", min=1)] = 20,
    active: Annotated[bool, typer.Option("--active", help="Only those in which something may still happen.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the latest backfills and how far they are."""
    with warehouse.session("analyst") as cursor:
        found = backfill_requests.latest(cursor, last, active=active)
    if as_json:
        typer.echo(json.dumps(found, default=str, indent=2))
    else:
        out.print(draw_list(found))


@app.command()
def show(number: Number, as_json: AsJson = False) -> None:
    """Show each window of a backfill: what was to happen to it and why, and what became of it."""
    with warehouse.session("analyst") as cursor:
        now, windows = backfill_requests.progress(cursor, number), backfill_requests.windows(cursor, number)
    if as_json:
        typer.echo(json.dumps(now | {"windows": windows}, default=str, indent=2))
    else:
        out.print(draw_windows(now, windows), soft_wrap=True)


@app.command()
def cancel(number: Number, by: By = "", yes: Yes = False) -> None:
    """Begin no more windows of a backfill, for good; asks first. Those in work finish; what has landed stays."""
    with warehouse.session("analyst") as cursor:
        meant = backfill_requests.cancelling(cursor, number)
    out.print(meant, soft_wrap=True)
    if not yes:
        typer.confirm("Cancel it for good?", abort=True)
    now = _change("cancel", number, by)
    out.print(f"backfill {number} is cancelled: {now['cancelled']} windows are not begun, {now['running']} finish")


@app.command()
def pause(number: Number, by: By = "") -> None:
    """Begin no more windows of a backfill until it is resumed. Those in work finish."""
    now = _change("pause", number, by)
    out.print(f"backfill {number} is paused: {now['planned']} windows wait, {now['running']} finish")


@app.command()
def resume(number: Number, by: By = "") -> None:
    """Let a backfill go on that was paused, stopped or failed: at the window that failed, if one did."""
    now = _change("resume", number, by)
    out.print(f"backfill {number}: {now['planned']} windows are to load; {_start(number)}")


def recover(
    datasets: Annotated[list[str], typer.Argument(help="Only these; all that have windows if none is given.")] = [],  # noqa: B006
    reason: Annotated[
        str, typer.Option("--reason", help="Why; kept with each backfill.")
    ] = "recovery of what is missing",
    by: By = "",
    yes: Yes = False,
) -> None:
    """Ask for everything that is missing and wanted: a backfill for each dataset that misses something.

    What was refused waits for a person and is left out; so is what another backfill is to load.
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
        out.print("nothing is left to ask for" if requests else "nothing is missing")
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


def _request(  # noqa: PLR0917 - as typer gives them
    dataset: str, from_: str, to: str, which: str, exclude: list[str], weekdays: str, closed_days: str, direction: str
) -> Request:
    return _whole(_given(dataset, from_, to, which, exclude, weekdays, closed_days, direction))


def _given(  # noqa: PLR0917 - as typer gives them
    dataset: str | None,
    from_: str | None,
    to: str | None,
    which: str | None,
    exclude: list[str],
    weekdays: str | None,
    closed_days: str | None,
    direction: str | None,
) -> dict[str, Any]:
    """What was typed of a request, by the names of its fields; what was not is not in it."""
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


def _whole(given: dict[str, Any]) -> Request:
    """The request that was typed.

    Raises:
        ConfigurationError: it names no dataset, or not from when to when.
    """
    if lacking := [said for name, said in _NEEDED.items() if name not in given]:
        raise ConfigurationError(f"{' and '.join(lacking)} missing: say what to load, or name a plan by --plan")
    return Request(**given)


def _ask_the_same(asked: dict[str, Any], given: dict[str, Any]) -> Request:
    """The request of a plan that was kept.

    Raises:
        ConfigurationError: something else was typed beside it.
    """
    for name, value in given.items():
        if value != asked[name]:
            raise ConfigurationError(
                f"{name.replace('_', ' ')} {_in_words(value)} is another question than that of the plan,"
                f" {_in_words(asked[name])}: leave it out, or make a plan of it"
            )
    return Request(**asked)


def _in_words(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


_NEEDED = {"dataset": "DATASET", "from_time": "--from", "to_time": "--to"}


def _plan(wanted: Request) -> Plan:
    with warehouse.session("analyst") as cursor:
        return backfill_requests.plan(cursor, wanted)


def _read_plan(file: Path) -> tuple[Plan, dict[str, Any]]:
    """A plan that was kept, and what it was asked by, as the fields of a request; empty in one of a version before."""
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
        return Plan(windows, held["fingerprint"]), drawing.asked_of(held)
    except (ValueError, KeyError, TypeError):
        made = commands.typed("backfill plan … --json")
        raise ConfigurationError(f"--plan {file} holds no plan: expected what {made} prints") from None


def _ask(wanted: Request, known: Plan | None, now: Plan, *, yes: bool, quiet: bool) -> int | None:
    """Show the plan and ask for it, again as long as it changes meanwhile; None where there is nothing to load."""
    while True:
        if known and known.fingerprint != now.fingerprint:
            console(stderr=True).print(draw_difference(known, now), soft_wrap=True)
            if yes:
                raise ConfigurationError(
                    "the plan changed since it was shown: nothing is started; run it without --yes"
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
    """Start a run for it where Airflow can be reached; says what follows."""
    with warehouse.session("analyst") as cursor:
        run_id, conf = backfill_requests.conf_of(cursor, number)
    try:
        api.start(backfill_requests.DAG, run_id, conf)
    except ApiUnavailable as away:
        with warehouse.session("operator") as cursor:
            backfill_requests.note_not_started(cursor, number, str(away))
        return f"it waits for catchup_control, which starts it within five minutes ({away})"
    return "started"


def _change(verb: str, number: int, by: str) -> dict[str, Any]:
    with warehouse.session("operator") as cursor:
        backfill_requests.change(cursor, verb, number, reasons.who(by))
        return backfill_requests.progress(cursor, number)


def _progress(number: int) -> dict[str, Any]:
    with warehouse.session("analyst") as cursor:
        return backfill_requests.progress(cursor, number)
