"""``scripts/chaos``: random faults on a whole platform, seed after seed, and checks that nothing is lost or wrong."""

from __future__ import annotations

import json
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from chaos import faults, report, schedule, stretch
from chaos.platform import Kept, Platform, platform
from highwater.model.errors import HighwaterError

FAILED, MISTAKE, INTERRUPTED = 1, 2, 130
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    runs: Annotated[int, typer.Option(min=1, help="Number of seeds, one after the other, on one platform.")] = 10,
    out: Annotated[
        Path | None, typer.Option(help="File of results, written after each seed; seeds that hold in it are left out.")
    ] = None,
    fault: Annotated[
        str | None, typer.Option(help="Replace the first fault of each seed by this one, such as 'restore source'.")
    ] = None,
    tables: Annotated[
        Path | None,
        typer.Option(help="Run nothing; write the tables of --out into this file."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Inject the faults of each seed into a new platform, and check the invariants after each.

    A seed is six hours of the simulated clock. The exit code is 0 if every invariant holds after every seed, else 1:
    then the schedule, the broken invariants and the command that replays the seed are printed, and the home of the
    platform is kept.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(stderr=True, soft_wrap=True)
    known = {found["seed"]: found for found in (report.read(out) if out else [])}
    held = {found["seed"] for found in known.values() if found["passed"] and found.get("fault") == fault}
    missing = [number for number in range(seed, seed + runs) if number not in held]
    try:
        if tables:
            report.write_tables(tables, [known[number] for number in range(seed, seed + runs) if number in known])
        else:
            _play_all([schedule.of(number, fault) for number in missing], known, out, console)
    except HighwaterError as error:
        console.print(f"chaos: {error}", markup=False, highlight=False)
        raise SystemExit(MISTAKE) from None
    except KeyboardInterrupt:
        console.print("stopped; with --out the same command continues from here")
        raise SystemExit(INTERRUPTED) from None
    seeds = [known[number] for number in range(seed, seed + runs) if number in known]
    if as_json:
        typer.echo(json.dumps({"seeds": seeds}, indent=1, default=str))
    else:
        Console(soft_wrap=True).print(report.table(seeds))
    for failed in (found for found in seeds if not found["passed"]):
        console.print(report.explain(failed), markup=False, highlight=False)
    console.print(report.summary(seeds), highlight=False)
    raise SystemExit(0 if all(found["passed"] for found in seeds) else FAILED)


def _play_all(
    wanted: list[schedule.Schedule], known: dict[int, report.Seed], out: Path | None, console: Console
) -> None:
    """Play seeds on as few platforms as may be: a new one begins after one that failed, and where some are left out."""
    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        shown = bar.add_task("starting", total=len(wanted))
        left = list(wanted)
        while left:
            kept = Kept()
            bar.update(shown, description="starting a platform")
            with ExitStack() as stack:
                struck = stack.enter_context(platform(left[0].begin, kept))
                stack.enter_context(faults.small_disk(struck))
                following = left[0].seed
                while left and left[0].seed == following and not kept.wanted:
                    plan = left.pop(0)
                    following = plan.seed + 1
                    bar.update(shown, description=str(plan))
                    known[plan.seed] = _play(struck, plan, kept)
                    if out:
                        report.write(out, known.values())
                    bar.advance(shown)
                    if not console.is_terminal:
                        result = known[plan.seed]
                        verdict = "holds" if result["passed"] else f"BROKEN: {report.broken(result)}"
                        console.print(f"{plan}: {result['seconds']} s, {verdict}", highlight=False, markup=False)


def _play(struck: Platform, plan: schedule.Schedule, kept: Kept) -> report.Seed:
    result = stretch.play(struck, plan)
    if not result.passed:
        kept.wanted = True
        result.home = str(struck.home)
    return result.as_json()


if __name__ == "__main__":
    app(prog_name="scripts/chaos")
