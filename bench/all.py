"""Every benchmark, one after the other: a table, benchmark.json and benchmark.svg in docs/explanation/."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import measuring
import typer
from measuring import Figure
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.terminal_theme import DEFAULT_TERMINAL_THEME

from highwater.environment import settings
from highwater.model import clock

HERE = Path(__file__).parent
BENCHMARKS = (
    "moving_a_day",
    "whole_window",
    "publishing",
    "auditing",
    "increments",
    "plan",
    "ledger",
    "datasets",
    "page",
    "catch_up",
    "recovery",
    "memory",
)
"""In the order in which the chart shows them."""
# Rich's own format fetches its font from elsewhere.
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: monospace; font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-family: sans-serif; font-size: 18px; font-weight: bold; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main(
    only: Annotated[list[str] | None, typer.Option(help="Measure these again and keep the others' figures.")] = None,
    repeat: Annotated[
        int | None, typer.Option(min=1, help="Instead of what each benchmark measures by itself.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The file of figures; the chart is drawn beside it.")] = settings.ROOT
    / "docs/explanation/benchmark.json",
    draw: Annotated[bool, typer.Option("--draw", help="Measure nothing; draw the chart from the file.")] = False,
) -> None:
    """Measure all, an hour or two on a machine that should have nothing else to do.

    Figures are written down after each benchmark, so that an interruption loses only the one at work.
    """
    if unknown := sorted(set(only or ()) - set(BENCHMARKS)):
        raise typer.BadParameter(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}")
    known: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    wanted = [] if draw else [name for name in BENCHMARKS if name in (only or BENCHMARKS)]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=len(wanted))
        for name in wanted:
            progress.update(task, description=name)
            known[name] = _measure(name, repeat)
            out.write_text(json.dumps({name: known[name] for name in BENCHMARKS if name in known}, indent=1) + "\n")
            progress.advance(task)
    figures = [Figure(**figure) for name in BENCHMARKS for figure in known.get(name, {}).get("figures", ())]
    Console(width=measuring.WIDTH).print(measuring.chart(figures))
    picture = Console(record=True, width=measuring.WIDTH, file=io.StringIO())
    picture.print(measuring.chart(figures))
    title = "What it costs, beside what one would otherwise use"
    svg = picture.export_svg(title=title, theme=DEFAULT_TERMINAL_THEME, code_format=SVG)
    out.with_suffix(".svg").write_text(svg)


def _measure(name: str, repeat: int | None) -> dict[str, Any]:
    """Run one benchmark in a process of its own; its figures, with the machine and the moment they were measured."""
    facts = {"at": clock.now().isoformat(timespec="minutes"), **measuring.machine()}
    begun = perf_counter()
    command = [sys.executable, str(HERE / f"{name}.py"), "--json"]
    command += [] if repeat is None else ["--repeat", str(repeat)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {**facts, "seconds": round(perf_counter() - begun), "figures": json.loads(done.stdout)}


if __name__ == "__main__":
    typer.run(main)
