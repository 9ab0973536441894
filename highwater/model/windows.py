"""Windows of data and the grids they lie on: pure arithmetic in UTC, half-open ``[start, end)``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from highwater.model.errors import ConfigurationError


@dataclass(frozen=True, order=True)
class Window:
    """A half-open range of data time ``[start, end)``, both ends aware and in UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.utcoffset() != timedelta(0) or self.end.utcoffset() != timedelta(0):
            raise ConfigurationError(f"invalid window {self.start!r} to {self.end!r}: expected UTC")
        if self.start >= self.end:
            raise ConfigurationError(f"invalid window {self.start} to {self.end}: expected an end after the start")

    def __str__(self) -> str:
        """``2026-10-24`` for a whole day, else ``2026-10-24T06:00/2026-10-24T12:00``."""
        if self.end - self.start == timedelta(days=1) and self.start == _midnight(self.start):
            return self.start.date().isoformat()
        return f"{self.start:%Y-%m-%dT%H:%M}/{self.end:%Y-%m-%dT%H:%M}"

    def bounds(self) -> list[str]:
        """Start and end in ISO 8601, as tasks pass a window on."""
        return [self.start.isoformat(), self.end.isoformat()]

    @classmethod
    def between(cls, bounds: Sequence[str]) -> Window:
        """The window with these `bounds`."""
        start, end = map(datetime.fromisoformat, bounds)
        return cls(start, end)

    @property
    def tag(self) -> str:
        """The start as in table names: ``20261024`` or ``20261024t0600``."""
        form = "%Y%m%d" if self.start == _midnight(self.start) else "%Y%m%dt%H%M"
        return self.start.strftime(form)


@dataclass(frozen=True)
class Grid:
    """The windows of a dataset: the first one starts at ``first`` (UTC), each is ``step`` long."""

    first: datetime
    step: timedelta

    def __post_init__(self) -> None:
        if self.step <= timedelta(0):
            raise ConfigurationError(f"invalid step {self.step} of a grid: expected more than zero")

    def windows(self, start: datetime, end: datetime) -> Iterator[Window]:
        """Every window of the grid that lies wholly in ``[start, end)``, oldest first."""
        steps = max(0, -((self.first - start) // self.step))
        edge = self.first + steps * self.step
        while edge + self.step <= end:
            yield Window(edge, edge + self.step)
            edge += self.step


def window_of(logical_date: datetime | None, grid: Grid) -> Window:
    """The window of a run: the one of ``grid`` that contains its logical date.

    Airflow's data interval is not used, because it is wrong for triggered runs.

    Raises:
        ConfigurationError: the run has no logical date, or one before the grid begins.
    """
    if logical_date is None:
        raise ConfigurationError("this run has no logical date and so no window: trigger it with --logical-date")
    moment = logical_date.astimezone(UTC)
    if moment < grid.first:
        raise ConfigurationError(
            f"logical date {moment:%Y-%m-%d %H:%M} is before the first window, {grid.first:%Y-%m-%d %H:%M}: nothing"
            " is loaded for it; docs/how-to/operations.md says how to load days before it"
        )
    start = grid.first + (moment - grid.first) // grid.step * grid.step
    return Window(start, start + grid.step)


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
