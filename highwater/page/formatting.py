"""Formatting for the page: moments, spans, counts, states."""

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
    "held": ("◆", "held: a former version was restored"),
    "missing": ("?", "missing"),
    "not due": ("·", "not due yet"),
}
"""States of a window: the mark in its cell, so that no state depends on colour alone, and its meaning."""


def moment(value: datetime | None) -> str:
    """A moment to the minute, in UTC."""
    return "" if value is None else f"{value:%Y-%m-%d %H:%M}"


def span(value: timedelta | None) -> str:
    """A span of time in its two largest units."""
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
    """Estimated time left of a backfill or a recovery, as a range; empty if it is not known yet."""
    return estimates.rest_in_words(row.at_least, row.at_most)


def count(value: int | None) -> str:
    """A number with thousands separators."""
    return "" if value is None else f"{value:,}"


def window(start: datetime, end: datetime) -> str:
    """A window: ``2026-10-24`` for a whole day, else its start and end."""
    return str(Window(start, end))


def window_key(start: datetime) -> str:
    """The start of a window as it appears in addresses of the page."""
    return f"{start:%Y-%m-%d}" if start.hour == start.minute == start.second == 0 else f"{start:%Y-%m-%dT%H:%M:%S}"


def cell(cell: Any, folded: bool, above: str = "") -> Markup:
    """A cell as a link; built here and not in a template, since a page has thousands."""
    partly = " part" if 0 < cell.landed < cell.windows and cell.state not in ("landed", "held") else ""
    address, title = escape(above + cell_address(cell, folded)), escape(cell_title(cell))
    return Markup(  # noqa: S704 external values are escaped
        f'<a class="c {cell.state.replace(" ", "-")}{partly}" href="{address}" title="{title}"'
        f' data-w="{window_key(cell.cell_start)}">{STATES[cell.state][0]}</a>'
    )


def cell_title(cell: Any) -> str:
    """All facts of a cell in one line, for hover and screen readers."""
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
    # A landed window needs no reason, unless its latest reload failed.
    if cell.state != "landed" or "failed" in cell.reason:
        parts.append(shorten(cell.reason, 320))
    return " · ".join(parts)


def attempts(number: int, which: str = "") -> str:
    """The number of attempts at a window; ``which`` may be ``"failed "``."""
    return f"{number:,} {which}attempt{'' if number == 1 else 's'}"


def cell_address(cell: Any, folded: bool) -> str:
    """The link target of a cell, relative to the page: its window, or the day if it has several."""
    if folded and cell.windows > 1:
        return f"days/{cell.dataset}/{cell.cell_start:%Y-%m-%d}"
    return f"windows/{cell.dataset}/{window_key(cell.cell_start)}"


def shorten(text: str | None, most: int = 200) -> str:
    """A text cut to ``most`` characters."""
    text = text or ""
    return text if len(text) <= most else text[: most - 1] + "…"


def sums(rows: Any) -> dict[str, int]:
    """The number of windows in all rows of the calendar, by state."""
    return {kind: sum(row.counts[kind] for row in rows) for kind in (*statuses.STATES, "due", "elsewhere")}


def counts(of: Mapping[str, int]) -> Markup:
    """The number of due windows in each state; every window that has not landed is counted, so that it adds up."""
    parts = [Markup("{} of {} due windows landed").format(count(of["landed"]), count(of["due"]))]
    parts += [
        Markup('<span class="word {}">{} {}</span>').format(state, count(of[state]), state)
        for state in statuses.STATES
        if state != "landed" and of[state]
    ]
    if of["elsewhere"]:
        parts.append(Markup('<span class="quiet">{} outside the days shown</span>').format(count(of["elsewhere"])))
    return Markup(" · ").join(parts)


def tick(cell: Any, place: int) -> str:
    """The label above a cell of a strip: the day, with the month for the first cell and the first of a month."""
    begins: datetime = cell.cell_start
    return f"{begins:%b} {begins.day}" if place == 0 or begins.day == 1 else str(begins.day)


def observed(value: Any) -> str:
    """The value that an expectation observed."""
    return "" if value is None else json.dumps(value, default=str)


def policy(of: Any) -> str:
    """The policy of a dataset as a sentence."""
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
    """The differences between two versions of a row."""
    if old is None or new is None:
        return "added" if old is None else "removed"
    return ", ".join(
        f"{name} {file.shown(old.get(name), name)} → {file.shown(value, name)}"
        for name, value in new.items()
        if old.get(name) != value
    )
