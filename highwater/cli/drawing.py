"""Plans and backfills in a terminal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from highwater.backfill.requests import LOAD, Plan, Planned, Request, sentence
from highwater.model import estimates
from highwater.model.windows import Window

MANY = 150
"""Maximum number of windows listed one per line; beyond it, neighbours with the same outcome are grouped."""


def draw_plan(plan: Plan, *, every: bool = False) -> RenderableType:
    """One line per window, or per group of neighbours with the same outcome if there are many; then the totals."""
    together = len(plan.windows) > MANY and not every
    table = Table.grid(padding=(0, 2))
    for action, rule, reason, windows in _groups(plan.windows) if together else map(_alone, plan.windows):
        table.add_row(
            _span(windows[0], windows[-1]),
            _windows(len(windows)) if together else "",
            Text(action, style="green" if action == LOAD else "dim"),
            Text(reason if rule is None else f"{rule}: {reason}", style="" if action == LOAD else "dim"),
        )
    return Group(table, Text(summary(plan)))


def summary(plan: Plan) -> str:
    """The number of windows to load, and of windows skipped by each rule."""
    rules = Counter(window.rule for window in plan.windows if window.rule is not None)
    skipped = ", ".join(f"{count:,} {rule}" for rule, count in rules.most_common())
    return (
        f"{_windows(len(plan.windows))}: {plan.to_load:,} to load, {len(plan.windows) - plan.to_load:,} skipped"
        + (f" ({skipped})" if skipped else "")
        + f"; plan {plan.fingerprint[:12]}"
    )


def draw_difference(before: Plan, now: Plan) -> RenderableType:
    """The windows whose planned action has changed."""
    table = Table.grid(padding=(0, 2))
    changed = before.difference(now)
    for former, window in changed[:MANY]:
        was = "not in the plan" if former is None else _action(former)
        table.add_row(_span(window, window), was, "→", _action(window))
    more = len(changed) - MANY
    return Group(
        Text(f"the plan has changed since it was shown: {_windows(len(changed))}", style="yellow"),
        table,
        Text(f"and {more} more\n" if more > 0 else "") + Text(summary(now)),
    )


_SELECTION = ("dataset", "from_time", "to_time", "which", "excluded_dates", "weekdays", "closed_days", "direction")
"""The fields of a request that select its windows."""


def as_json(plan: Plan, wanted: Request) -> Iterator[str]:
    """A plan and its request as JSON, in pieces, since it may be long."""
    asked = {name: value for name, value in wanted.values().items() if name in _SELECTION}
    head = {"asked": asked, "fingerprint": plan.fingerprint, "total": len(plan.windows), "to_load": plan.to_load}
    yield json.dumps(head, default=lambda moment: moment.isoformat())[:-1] + ', "windows": [\n'
    for place, window in enumerate(plan.windows):
        yield (",\n" if place else "") + json.dumps(
            window._asdict() | {"start": window.start.isoformat(), "end": window.end.isoformat()}
        )
    yield "\n]}\n"


def request_fields(held: dict[str, Any]) -> dict[str, Any]:
    """The request fields of a plan that `as_json` wrote; empty in a plan of an older version.

    Raises:
        ValueError, KeyError, TypeError: it was not written by `as_json`.
    """
    if "asked" not in held:
        return {}
    asked = {name: held["asked"][name] for name in _SELECTION}
    return asked | {
        "from_time": datetime.fromisoformat(asked["from_time"]),
        "to_time": datetime.fromisoformat(asked["to_time"]),
        "excluded_dates": [date.fromisoformat(day) for day in asked["excluded_dates"]],
    }


def draw_list(found: Sequence[dict[str, Any]]) -> RenderableType:
    """A table with one row per backfill."""
    table = Table(title="backfills")
    numbers = ("no", "failed", "skipped")
    for heading in ("no", "dataset", "from", "to", "state", "landed", "failed", "skipped", "via", "by", "reason"):
        table.add_column(heading, overflow="fold", justify="right" if heading in numbers else "left")
    for row in found:
        table.add_row(
            str(row["backfill_id"]), row["dataset"], _moment(row["from_time"]), _last(row["to_time"]), row["state"],
            f"{row['landed']:,} of {row['windows_total']:,}", f"{row['failed']:,}", f"{row['skipped']:,}", row["via"],
            row["requested_by"], Text(row["reason"]),
        )  # fmt: skip
    return table


def draw_windows(now: dict[str, Any], windows: Sequence[dict[str, Any]]) -> RenderableType:
    """Each window of a backfill with its result; neighbours with the same result are grouped if there are many."""
    table = Table.grid(padding=(0, 2))
    together = len(windows) > MANY
    for outcome, group in groupby(windows, key=_outcome if together else lambda window: window["place"]):
        same = list(group)
        first, last = sorted((same[0], same[-1]), key=lambda window: window["start"])
        table.add_row(
            str(Window(first["start"], last["end"])), _windows(len(same)) if together else "", same[0]["state"],
            Text(outcome[1] if together else _outcome(same[0])[1]),
        )  # fmt: skip
    return Group(table, Text(sentence(now)))


class Bar:
    """The progress bar of a watched backfill, with messages above it; without a terminal, one line per change."""

    def __init__(self, out: Console, now: dict[str, Any], *, quiet: bool) -> None:
        self._out, self._quiet, self._last = out, quiet, ""
        self._counts: list[Any] = []
        self._bar = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[figures]}", markup=False), console=out, disable=quiet or not out.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task(f"backfill {now['backfill_id']}", total=now["windows_total"], figures="")

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if not self._quiet and self._out.is_terminal and self._last:
            self._out.print(self._last, markup=False, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a message above the bar."""
        if not self._quiet:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def update(self, now: dict[str, Any]) -> None:
        """Show the current progress."""
        rest = estimates.rest_in_words(now["at_least"], now["at_most"])
        rate = f"{now['windows_per_minute']:g}/min" if now["windows_per_minute"] else ""
        figures = (
            f"{now['landed']:,} landed, {now['failed']:,} failed, {now['skipped']:,} skipped, "
            f"{now['running']:,} running  {rate}  {f'{rest} left' if rest else ''}"
            if now["state"] == "running"
            else f"{now['state']}  {now['note'] or ''}"
        )
        self._bar.update(self._task, completed=now["landed"] + now["skipped"], figures=figures)
        self._last = sentence(now)
        counts = [now[name] for name in ("state", "note", "landed", "failed", "skipped", "cancelled")]
        if counts != self._counts and not self._out.is_terminal and not self._quiet:
            self._out.print(self._last, markup=False, highlight=False, soft_wrap=True)
        self._counts = counts


def _groups(windows: Sequence[Planned]) -> Iterator[tuple[str, str | None, str, list[Planned]]]:
    for (action, rule, reason), group in groupby(windows, key=lambda w: (w.action, w.rule, w.reason)):
        yield action, rule, reason, list(group)


def _alone(window: Planned) -> tuple[str, str | None, str, list[Planned]]:
    return window.action, window.rule, window.reason, [window]


def _span(first: Planned, last: Planned) -> str:
    """The range from the earlier to the later of two windows."""
    earlier, later = sorted((first, last))
    if earlier == later:
        return str(Window(earlier.start, earlier.end))
    return f"{_moment(earlier.start)} to {_moment(later.end)}"


def _action(window: Planned) -> str:
    return window.action if window.rule is None else f"{window.action} ({window.rule}: {window.reason})"


def _outcome(window: dict[str, Any]) -> tuple[str, str]:
    """The state of a window and its detail: its error, the rule that skips it, or its version."""
    if window["error"]:
        return window["state"], window["error"]
    if window["rule"]:
        return window["state"], f"{window['rule']}: {window['reason']}"
    landed = f"version {window['version']}" if window["version"] else window["reason"]
    return window["state"], landed


def _windows(count: int) -> str:
    return f"{count:,} window{'' if count == 1 else 's'}"


def _last(end: datetime) -> str:
    """An end as ``--to`` takes it: for whole days, the last day included."""
    whole = (end.hour, end.minute, end.second) == (0, 0, 0)
    return f"{end - timedelta(days=1):%Y-%m-%d}" if whole else _moment(end)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}" if (moment.hour, moment.minute) == (0, 0) else f"{moment:%Y-%m-%d %H:%M}"
