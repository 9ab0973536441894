"""How the page says things: moments, spans, counts, states."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from markupsafe import Markup, escape

from highwater.model import estimates, weekdays
from highwater.model.windows import Window
from highwater.policy import file
from highwater.store import status as statuses

STATES = {
    "landed": ("", "landed"),
    "running": ("▶", "running"),
    "failed": ("✕", "failed"),
    "skipped": ("-", "skipped by a rule"),
    "held": ("◆", "held: a former version was put back"),
    "missing": ("?", "missing"),
    "not due": ("·", "not due yet"),
}
"""A window's state: the mark in its cell, so that it is told without colour, and what it means."""


def moment(value: datetime | None) -> str:
    """To the minute, in UTC."""
    return "" if value is None else f"{value:%Y-%m-%d %H:%M}"


def span(value: timedelta | None) -> str:
    """About how long: its two largest units."""
    if value is None:
        return ""
    seconds = int(abs(value.total_seconds()))
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    parts = []
    for name, size in units:
        if seconds >= size:
            parts.append(f"{seconds // size} {name}")
            seconds %= size
    return ("-" if value < timedelta(0) else "") + (" ".join(parts[:2]) or "0 s")


def rest(row: Any) -> str:
    """How long the rest of a backfill or a recovery takes, as a range; empty where nobody can say yet."""
    return estimates.rest_in_words(row.at_least, row.at_most)


def count(value: int | None) -> str:
    """With its thousands apart."""
    return "" if value is None else f"{value:,}"


def window(start: datetime, end: datetime) -> str:
    """``2026-10-24`` for a whole day, else its start and end."""
    return str(Window(start, end))


def window_key(start: datetime) -> str:
    """A window in an address of the page: its start."""
    return f"{start:%Y-%m-%d}" if start.hour == start.minute == start.second == 0 else f"{start:%Y-%m-%dT%H:%M:%S}"


def cell(cell: Any, folded: bool, above: str = "") -> Markup:
    """A cell as a link: made here and not by a template, since a page has thousands."""
    partly = " part" if 0 < cell.landed < cell.windows and cell.state not in ("landed", "held") else ""
    address, title = escape(above + cell_address(cell, folded)), escape(cell_title(cell))
    return Markup(  # noqa: S704 what comes from elsewhere is escaped
        f'<a class="c {cell.state.replace(" ", "-")}{partly}" href="{address}" title="{title}"'
        f' data-w="{window_key(cell.cell_start)}">{STATES[cell.state][0]}</a>'
    )


def cell_title(cell: Any) -> str:
    """All of a cell in a line: what a hover or a screen reader tells."""
    parts = [window(cell.cell_start, cell.cell_end) if cell.windows == 1 else f"{cell.cell_start:%Y-%m-%d}"]
    if cell.windows > 1:
        parts.append(f"{cell.landed} of {cell.due} due windows landed")
    parts.append(STATES[cell.state][1])
    if cell.rows_published is not None:
        parts.append(f"{cell.rows_published:,} rows published, {cell.rows_quarantined:,} quarantined")
    if cell.version is not None:
        parts.append(f"version {cell.version}, landed at {moment(cell.landed_at)}")
    if cell.attempts:
        parts.append(attempts(cell.attempts))
    # What has landed has said so; but the latest reload of it may have failed.
    if cell.state != "landed" or "failed" in cell.reason:
        parts.append(shorten(cell.reason, 320))
    return " · ".join(parts)


def attempts(number: int, which: str = "") -> str:
    """So many times a window was tried; with ``"failed "`` before the noun, so many times in vain."""
    return f"{number:,} {which}attempt{'' if number == 1 else 's'}"


def cell_address(cell: Any, folded: bool) -> str:
    """Where a click on a cell leads, below the page's address: to its window, or to the day of several."""
    if folded and cell.windows > 1:
        return f"days/{cell.dataset}/{cell.cell_start:%Y-%m-%d}"
    return f"windows/{cell.dataset}/{window_key(cell.cell_start)}"


def shorten(text: str | None, most: int = 200) -> str:
    """The beginning of a text that may be long."""
    text = text or ""
    return text if len(text) <= most else text[: most - 1] + "…"


def sums(rows: Any) -> dict[str, int]:
    """The windows of all rows of the calendar, by kind."""
    return {kind: sum(row.counts[kind] for row in rows) for kind in (*statuses.STATES, "due", "elsewhere")}


def counts(of: Mapping[str, int]) -> Markup:
    """How many of the due windows are in each state: whatever did not land is told, so that it adds up."""
    parts = [Markup("{} of {} due windows landed").format(count(of["landed"]), count(of["due"]))]
    parts += [
        Markup('<span class="word {}">{} {}</span>').format(state, count(of[state]), state)
        for state in statuses.STATES
        if state != "landed" and of[state]
    ]
    if of["elsewhere"]:
        parts.append(Markup('<span class="quiet">{} of them not in these days</span>').format(count(of["elsewhere"])))
    return Markup(" · ").join(parts)


def tick(cell: Any, place: int) -> str:
    """What stands above a cell of a strip: the day, and the month where that begins."""
    begins: datetime = cell.cell_start
    return f"{begins:%b} {begins.day}" if place == 0 or begins.day == 1 else str(begins.day)


def observed(value: Any) -> str:
    """The value that an expectation saw."""
    return "" if value is None else json.dumps(value, default=str)


def policy(of: Any) -> str:
    """A dataset's policy in a sentence."""
    rules = [
        "catch-up is on" if of.enabled is not False else "catch-up is off",
        of.max_age and f"nothing older than {span(of.max_age)}",
        of.max_windows and f"the newest {of.max_windows:,} windows",
        of.skip_weekdays and "not on " + ", ".join(f"{weekdays.NAMES[day - 1]}s" for day in of.skip_weekdays),
        of.skip_closed_days and "not on closed days",
        of.conditions and "while " + ", ".join(of.conditions),
    ]
    return ", ".join(rule for rule in rules if rule)


def change(old: dict[str, Any] | None, new: dict[str, Any] | None) -> str:
    """What of a row is another now."""
    if old is None or new is None:
        return "added" if old is None else "taken out"
    return ", ".join(
        f"{name} {file.shown(old.get(name), name)} → {file.shown(value, name)}"
        for name, value in new.items()
        if old.get(name) != value
    )
