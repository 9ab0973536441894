"""The integrity checks of a recovery: each compares windows that landed with their source or with other datasets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2.extensions import cursor as Cursor

from highwater.loading.stages import Pipeline
from highwater.model.errors import ConfigurationError
from highwater.model.windows import Window
from highwater.sources import sources
from highwater.store import statements, warehouse


@dataclass(frozen=True)
class Check(ABC):
    """A check by statements in the folder of a pipeline; ``name`` is recorded in ops.integrity_checks."""

    name: str

    @abstractmethod
    def problem(self, pipeline: Pipeline, source: Cursor, target: Cursor, windows: Sequence[Window]) -> str | None:
        """What is wrong in these windows, of which there is at least one; None if nothing is.

        Args:
            pipeline: the dataset and its statements.
            source: a snapshot of its source.
            target: a session of the warehouse.
            windows: landed windows.
        """


@dataclass(frozen=True)
class SameTotals(Check):
    """The totals of each window in the warehouse (``published_totals.sql``) equal the source's (``source_totals.sql``).

    ``tolerance`` is the share by which they may differ. With ``without_refused``, ``refused.sql`` lists the keys in
    quarantine, and ``source_totals.sql`` leaves them out.
    """

    tolerance: float = 0
    without_refused: bool = False

    def problem(self, pipeline: Pipeline, source: Cursor, target: Cursor, windows: Sequence[Window]) -> str | None:
        """The first window whose totals differ by more than the tolerance, with both.

        Raises:
            ConfigurationError: the two statements give different columns, or one breaks its contract.
        """
        values = span(windows)
        if self.without_refused:
            refused = statements.ask_one(target, f"{pipeline.folder}/refused.sql", values).refused
            expected = _totals(source, f"{pipeline.folder}/source_totals.sql", values | {"refused": refused})
        else:
            expected = _totals(source, f"{pipeline.folder}/source_totals.sql", values)
        published = _totals(target, f"{pipeline.folder}/published_totals.sql", values)
        for window in windows:
            if (found := published.get(window.start)) is None:
                continue
            there = expected.get(window.start, dict.fromkeys(found, 0))
            if there.keys() != found.keys():
                raise ConfigurationError(
                    f"sql/{pipeline.folder}/source_totals.sql gives the columns {', '.join(there)}: expected those of"
                    f" published_totals.sql, {', '.join(found)}"
                )
            if any(abs(found[name] - there[name]) > self.tolerance * float(max(there[name], 1)) for name in found):
                return f"{window} has {_words(found, pipeline.dataset)}, its source {_words(there, pipeline.dataset)}"
        return None


@dataclass(frozen=True)
class NoOrphans(Check):
    """No published row refers to a row that is missing in another dataset: ``orphans.sql`` counts those that do."""

    def problem(self, pipeline: Pipeline, source: Cursor, target: Cursor, windows: Sequence[Window]) -> str | None:
        """The number of rows that refer to missing ones."""
        count = statements.ask_one(target, f"{pipeline.folder}/orphans.sql", span(windows)).orphans
        return f"{count} {pipeline.dataset} refer to rows that should be there and are missing" if count else None


@dataclass(frozen=True)
class NoGaps(Check):
    """Between the first and the last of the windows each has landed once or is skipped by a rule."""

    name: str = "windows without gap or overlap"

    def problem(self, pipeline: Pipeline, source: Cursor, target: Cursor, windows: Sequence[Window]) -> str | None:
        """The number of gaps and the start of the first."""
        target.execute(
            "SELECT count(*) AS gaps, min(gap_start) AS first_gap FROM ops.gaps"
            " WHERE dataset = %(dataset)s AND window_range && tstzrange(%(window_start)s, %(window_end)s)",
            span(windows) | {"dataset": pipeline.dataset},
        )
        row = warehouse.fetch(target)
        return f"{row.gaps} gaps, the first at {row.first_gap:%Y-%m-%d %H:%M}" if row.gaps else None


def span(windows: Sequence[Window]) -> dict[str, Any]:
    """The parameters window_start and window_end of statements, from the first to the last of the windows."""
    return sources.bounds(Window(min(windows).start, max(windows).end))


def _totals(cursor: Cursor, statement: str, values: dict[str, Any]) -> dict[datetime, dict[str, int]]:
    """By the start of a window, its totals by column."""
    rows = [row._asdict() for row in statements.ask(cursor, statement, values)]
    return {row.pop("window_start"): row for row in rows}


def _words(totals: dict[str, int], dataset: str) -> str:
    more = ", ".join(f"{name} {value}" for name, value in totals.items() if name != "row_count")
    return f"{totals['row_count']} {dataset}" + (f" ({more})" if more else "")
