"""What the seeds came to: kept in a file after each, shown as a table, written down for the docs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.table import Table

from highwater.environment import files
from highwater.model.errors import ConfigurationError

Seed = dict[str, Any]
"""A `stretch.Result` as JSON."""


def read(file: Path) -> list[Seed]:
    """The seeds that are in a file; none where there is no such file."""
    return json.loads(file.read_text())["seeds"] if file.exists() else []


def write(file: Path, seeds: Iterable[Seed]) -> None:
    """Keep the seeds, in their order; a reader never sees half a file."""
    ordered = sorted(seeds, key=lambda seed: seed["seed"])
    files.replace(file, json.dumps({"seeds": ordered}, indent=1, default=str) + "\n")


def table(seeds: Iterable[Seed]) -> Table:
    """One row a seed, for a terminal."""
    shown = Table("seed", "faults", "windows", "attempts", "lost", "seconds", "verdict")
    for seed in seeds:
        verdict = "[green]holds[/]" if seed["passed"] else f"[red]{broken(seed)}[/]"
        faults = ", ".join(_fault(strike) for strike in seed["strikes"])
        counts = (str(seed[name]) for name in ("seed", "windows", "attempts", "lost", "seconds"))
        number, *others = counts
        shown.add_row(number, faults, *others, verdict)
    return shown


def broken(seed: Seed) -> str:
    """Which of its invariants do not hold, or what came in between; empty where all is well."""
    if seed["error"]:
        return str(seed["error"]).splitlines()[0][:120]
    return ", ".join(finding["name"] for finding in seed["findings"] if finding["wrong"])


def explain(seed: Seed) -> str:
    """A seed that failed: its schedule, the broken invariants, its home, and the command that replays it."""
    wrong = [f"  {f['name']}: " + "\n    ".join(f["wrong"]) for f in seed["findings"] if f["wrong"]]
    if seed["error"]:
        wrong.append(f"  {seed['error']}")
    struck = [f"  {_fault(strike)} at attempt {strike['at']}: {strike['outcome']}" for strike in seed["strikes"]]
    kept = [f"  its home is kept: {seed['home']}"] if seed["home"] else []
    fault = f" --fault '{seed['fault']}'" if seed.get("fault") else ""
    again = f"  again: scripts/chaos --seed {seed['seed']} --runs 1{fault}"
    return "\n".join([f"FAILED {seed['schedule']}", *struck, *wrong, *kept, again])


def write_tables(file: Path, seeds: list[Seed]) -> None:
    """Put the tables of the seeds into a Markdown file, each between ``<!-- chaos: NAME -->`` and ``<!-- end -->``.

    Raises:
        ConfigurationError: the file is not there, or has no place for one of them.
    """
    try:
        text = file.read_text()
    except OSError as error:
        raise ConfigurationError(f"invalid --tables {file}: {error.strerror}") from None
    for name, lines in (
        ("summary", [f"> {summary(seeds)}"]),
        ("faults", _by_fault(seeds)),
        ("invariants", _by_invariant(seeds)),
        ("seeds", _by_seed(seeds)),
    ):
        begin, end = f"<!-- chaos: {name} -->\n", "<!-- end -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ConfigurationError(f"invalid --tables {file}: expected a line {begin.strip()} and below it {end}")
        text = before + begin + "\n".join([*lines, ""]) + end + after
    files.replace(file, text)


def _by_fault(seeds: list[Seed]) -> list[str]:
    lines = [
        "| fault | struck | felt | seeds | windows | seeds that hold |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kind in sorted({strike["kind"] for seed in seeds for strike in seed["strikes"]}):
        of_kind = [seed for seed in seeds if any(strike["kind"] == kind for strike in seed["strikes"])]
        strikes = [strike for seed in of_kind for strike in seed["strikes"] if strike["kind"] == kind]
        felt = sum(not strike["outcome"].startswith(("missed", "left out")) for strike in strikes)
        windows, holds = sum(seed["windows"] for seed in of_kind), sum(seed["passed"] for seed in of_kind)
        lines.append(f"| {kind} | {len(strikes)} | {felt} | {len(of_kind)} | {windows:,} | {holds} |")
    return lines


def _by_invariant(seeds: list[Seed]) -> list[str]:
    checked, failed = Counter[str](), Counter[str]()
    for finding in (finding for seed in seeds for finding in seed["findings"]):
        checked[finding["name"]] += 1
        failed[finding["name"]] += bool(finding["wrong"])
    head = ["| invariant | seeds it was checked after | broken |", "| --- | ---: | ---: |"]
    return head + [f"| {name} | {checked[name]} | {failed[name]} |" for name in checked]


def _by_seed(seeds: list[Seed]) -> list[str]:
    lines = ["| seed | faults | windows | lost | s | |", "| ---: | --- | ---: | ---: | ---: | --- |"]
    for seed in seeds:
        faults = ", ".join(_fault(strike) for strike in seed["strikes"])
        verdict = "holds" if seed["passed"] else broken(seed)
        lines.append(
            f"| {seed['seed']} | {faults} | {seed['windows']} | {seed['lost']} | {seed['seconds']:.0f} | {verdict} |"
        )
    return lines


def summary(seeds: list[Seed]) -> str:
    """One line over all."""
    holds = sum(seed["passed"] for seed in seeds)
    strikes = sum(len(seed["strikes"]) for seed in seeds)
    windows, lost = (sum(seed[name] for seed in seeds) for name in ("windows", "lost"))
    minutes = sum(seed["seconds"] for seed in seeds) / 60
    return (
        f"{len(seeds)} seeds, {strikes} faults, {windows:,} windows worked on, {lost} attempts lost, "
        f"{minutes:.0f} minutes: {holds} hold, {len(seeds) - holds} do not"
    )


def _fault(strike: dict[str, Any]) -> str:
    return f"{strike['kind']} {strike['target']}".strip()
