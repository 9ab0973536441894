"""What the benchmarks share: a platform of its own for each, figures beside their baselines, and how they are shown."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import platform as system
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import psutil  # type: ignore[import-untyped]
import typer
from rich import box
from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from highwater.environment import settings
from highwater.local import server
from highwater.setup import bootstrap
from highwater.store import ledger, warehouse

Repeat = Annotated[
    int, typer.Option(min=1, help="So often each is measured, in turn with its baseline; the median counts.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
Rows = Annotated[list[int] | None, typer.Option(help="Rows a day; may be given several times.")]
WIDTH = 160
"""Characters that a row of the table takes at most."""
BAR = 26
"""Characters of the widest bar: ten times as much as the baseline, or more."""


@dataclass(frozen=True)
class Figure:
    """What something costs beside a baseline that was measured in the same run.

    ``value`` and ``beside_value`` are in ``unit``. An aim is the ratio to stay under, ``aim``, or the value, ``most``.
    ``more`` holds further figures, named with their units.
    """

    what: str
    case: str
    value: float
    beside: str
    beside_value: float
    unit: str = "s"
    aim: float | None = None
    most: float | None = None
    more: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """What it costs in baselines."""
        return self.value / self.beside_value

    @property
    def kept(self) -> bool | None:
        """Whether it is within its aim; None where it has none."""
        if self.aim is None and self.most is None:
            return None
        return self.ratio <= (self.aim or math.inf) and self.value <= (self.most or math.inf)


def medians(repeat: int, *works: Callable[[], float]) -> list[float]:
    """The median of what each gives, done in turn, so that a slow minute of the machine is slow for all."""
    given: list[list[float]] = [[] for _ in works]
    for _ in range(repeat):
        for work, values in zip(works, given, strict=True):
            values.append(work())
    return [statistics.median(values) for values in given]


def medians_of_pairs(repeat: int, work: Callable[[], tuple[float, float]]) -> tuple[float, float]:
    """The medians of what it measures of itself and of its baseline."""
    ours, theirs = zip(*(work() for _ in range(repeat)), strict=True)
    return statistics.median(ours), statistics.median(theirs)


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def apart(work: Callable[..., Any], *arguments: object) -> tuple[float, float, float]:
    """Do the work in a fresh process, as a task is one; its seconds, peak MiB, and MiB before the work began.

    Work that returns a callable has prepared itself: only what it returns is measured.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (work, *arguments))


def _measured(work: Callable[..., Any], *arguments: object) -> tuple[float, float, float]:
    prepared = work(*arguments)
    ledger.reset_peak_memory()
    rest = ledger.peak_memory_bytes() or 0
    took = seconds(prepared)
    return took, (ledger.peak_memory_bytes() or 0) / 2**20, rest / 2**20


@contextmanager
def platform(**variables: str) -> Iterator[Path]:
    """A bootstrapped server in a scratch folder, with these settings; yields its home. Nothing is left of it."""
    home = Path(tempfile.mkdtemp(prefix="highwater-bench-"))
    home.chmod(0o755)
    os.environ |= {"HIGHWATER_HOME": str(home), **variables}
    settings.get.cache_clear()
    try:
        server.start()
        bootstrap.run()
        yield home
    finally:
        server.remove()
        shutil.rmtree(home)


def tidy(role: str, database: str | None, *tables: str) -> None:
    """As autovacuum and the checkpointer do soon after a load, so that it is not in what comes next."""
    link = warehouse.connect(role, database)
    link.autocommit = True
    with link.cursor() as cursor:
        for table in tables:
            cursor.execute(f"VACUUM ANALYZE {table}")
        cursor.execute("CHECKPOINT")
    link.close()


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        system.processor(),
    )
    postgres = server.program("postgres")
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": system.python_version(),
        "kernel": system.release(),
        "postgres": subprocess.run([postgres, "--version"], capture_output=True, text=True, check=True).stdout.split()[
            -1
        ],
        "load_before": round(os.getloadavg()[0], 2),
    }


def show(figures: Sequence[Figure], as_json: bool) -> None:
    """Print the figures: a table for a person, or JSON for a program."""
    if as_json:
        typer.echo(json.dumps([asdict(figure) for figure in figures], indent=2))
    else:
        out = Console()
        Console(width=max(out.width, WIDTH)).print(chart(figures))


def chart(figures: Sequence[Figure]) -> Table:
    """The figures as a table with one bar per row, those of one thing together.

    Bars are of the logarithm, so that twice and half are as far from 1.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("beside", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("aim", justify="right", no_wrap=True)
    table.add_column(
        "a tenth".ljust(BAR // 2 - 2) + "same".ljust(BAR // 2 - 4) + "tenfold", width=BAR + 2, no_wrap=True
    )
    former = None
    order = list(dict.fromkeys(figure.what for figure in figures))
    for figure in sorted(figures, key=lambda figure: order.index(figure.what)):
        if figure.what != former:
            table.add_row(Text(figure.what, style="bold"))
        colour = {True: "green", False: "red", None: "blue"}[figure.kept]
        aims = [] if figure.aim is None else [f"≤ {figure.aim:g}"]
        aims += [] if figure.most is None else [f"≤ {figure.most:g} {figure.unit}"]
        table.add_row(
            f"  {figure.case}",
            _amount(figure.value, figure.unit),
            figure.beside,
            _amount(figure.beside_value, figure.unit),
            Text(f"{figure.ratio:.2f}", style=colour),
            ", ".join(aims),
            Bar(2, 0, min(2, max(0.05, 1 + math.log10(figure.ratio))), width=BAR, color=colour),
        )
        former = figure.what
    return table


def _amount(value: float, unit: str) -> str:
    if unit == "s" and value < 0.1:
        value, unit = 1000 * value, "ms"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}"
