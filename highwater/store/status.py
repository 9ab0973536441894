"""The status of every dataset by the ledger, as text for people or JSON for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg2.extensions import cursor as Cursor
from rich.console import Group, RenderableType
from rich.text import Text

from highwater.model.windows import Window
from highwater.store import warehouse

MARKS = {
    "L": ("█", "green", "landed"),
    "R": ("▶", "cyan", "running"),
    "F": ("✗", "red", "failed"),
    "S": ("·", "dim", "skipped"),
    "H": ("◆", "magenta", "held"),
    "M": ("░", "yellow", "missing"),
    "N": ("_", "dim", "not due"),
}
"""A window's state in a strip: letter, mark (readable without colour), colour, word."""

STATES = tuple(word for _, _, word in MARKS.values() if word != "not due")
"""States of due windows, as in ops.window_states."""

STRIP = 120
"""Number of recent windows drawn individually; totals cover all of them."""


TROUBLES = 20
"""Most ranges of windows that have not landed to explain."""


@dataclass(frozen=True)
class DatasetStatus:
    """One dataset: its windows up to now, its rows, its age. Times in UTC; ``strip``: a letter each for the newest."""

    dataset: str
    dag_id: str
    published_table: str
    landed_until: datetime | None
    lag: timedelta | None
    is_stale: bool
    windows_due: int
    windows_landed: int
    windows_running: int
    windows_failed: int
    windows_skipped: int
    windows_held: int
    windows_missing: int
    rows_extracted: int
    rows_published: int
    rows_quarantined: int
    rows_deduplicated: int
    last_landed_at: datetime | None
    windows_begun: int
    strip: str
    first_window: datetime | None
    checkpoint: dict[str, Any] | None
    """The row of ops.checkpoint_status as JSON; None for a dataset that is not loaded by its changes."""
    not_landed: str
    """The oldest ranges of due windows that have not landed, as Postgres writes them: the input of `troubles`."""

    @property
    def is_whole(self) -> bool:
        """Whether every due window landed, is skipped by a rule, or is held by a person's decision."""
        return self.windows_due == self.windows_landed + self.windows_skipped + self.windows_held


@dataclass(frozen=True)
class Trouble:
    """A range of due windows that have not landed, and why."""

    dataset: str
    window_start: datetime
    window_end: datetime
    state: str
    reason: str


def read(cursor: Cursor) -> list[DatasetStatus]:
    """The status of every dataset, by name."""
    warehouse.run_file(cursor, "ops/status.sql", {"strip": STRIP, "troubles": TROUBLES})
    return [warehouse.as_dataclass(DatasetStatus, row) for row in warehouse.fetch_all(cursor)]


def troubles(cursor: Cursor, statuses: list[DatasetStatus]) -> list[Trouble]:
    """The ranges of due windows that have not landed and why, oldest first, at most `TROUBLES`."""
    values = {
        "datasets": [status.dataset for status in statuses],
        "not_landed": [status.not_landed for status in statuses],
        "most": TROUBLES,
    }
    warehouse.run_file(cursor, "ops/troubles.sql", values)
    return [warehouse.as_dataclass(Trouble, row) for row in warehouse.fetch_all(cursor)]


def as_json(statuses: list[DatasetStatus], found: list[Trouble]) -> dict[str, Any]:
    """For a program: the same, times as ISO 8601, the lag in seconds."""
    datasets = [
        asdict(status) | {"lag": None if status.lag is None else status.lag.total_seconds()} for status in statuses
    ]
    for row in datasets:
        del row["not_landed"]
    return {"datasets": datasets, "not_landed": [asdict(trouble) for trouble in found]}


def draw(statuses: list[DatasetStatus], found: list[Trouble]) -> RenderableType:
    """For people: a strip for each dataset, then what has not landed and why."""
    lines: list[RenderableType] = []
    for status in statuses:
        lines += [_heading(status), _strip(status), _counts(status), *_checkpoint(status), Text()]
    legend = Text("  ".join(f"{mark} {word}" for mark, _, word in MARKS.values()), style="dim")
    lines.append(legend)
    for trouble in found:
        window = Window(trouble.window_start, trouble.window_end)
        lines.append(Text(f"{trouble.dataset} {window} {trouble.state}: {trouble.reason}", style="red"))
    return Group(*lines)


def _heading(status: DatasetStatus) -> Text:
    return Text.assemble((status.dataset, "bold"), f"  {status.published_table}, loaded by {status.dag_id}")


def _strip(status: DatasetStatus) -> Text:
    line = Text()
    if status.first_window is not None:
        hidden = status.windows_begun - len(status.strip)
        line.append(f"{status.first_window:%Y-%m-%d} ")
        line.append(f"… {hidden} older … " if hidden > 0 else "", style="dim")
    for letter in status.strip:
        mark, colour, _ = MARKS[letter]
        line.append(mark, style=colour)
    return line


def _checkpoint(status: DatasetStatus) -> list[Text]:
    """How far a dataset that is loaded by its changes has come, and what its strategy guarantees."""
    if (known := status.checkpoint) is None:
        return []
    lines = [Text(f"read by {known['strategy']}: {known['promise']}", style="dim")]
    if known["mode"] is None:
        return [Text("no checkpoint yet"), *lines]
    if known["mode"] == "reset":
        return [Text(f"checkpoint reset by {known['updated_by']}: {known['reason']}; the next run is full"), *lines]
    lag = "" if status.lag is None else f", {_short(status.lag)} ago"
    lines.insert(
        0, Text(f"checkpoint {known['watermark'][:19]}{lag} · last run {known['mode']}, because {known['reason']}")
    )
    if known["differing_keys"]:
        lines.append(Text(f"source and target differ in keys {', '.join(known['differing_keys'][:10])}", style="red"))
    return lines


def _short(lag: timedelta) -> str:
    return str(timedelta(seconds=int(lag.total_seconds())))


def _counts(status: DatasetStatus) -> Text:
    parts = [
        f"{status.windows_landed} of {status.windows_due} due windows landed",
        *(
            f"{count} {state}"
            for state in STATES
            if state != "landed" and (count := getattr(status, f"windows_{state}"))
        ),
        f"{status.rows_published:,} rows",
        f"{status.rows_quarantined:,} quarantined",
    ]
    if status.landed_until is not None and status.last_landed_at is not None:
        parts.append(f"landed up to {status.landed_until:%Y-%m-%d %H:%M}, last at {status.last_landed_at:%m-%d %H:%M}")
    if status.is_stale:
        parts.append("STALE")
    return Text(" · ".join(parts))
