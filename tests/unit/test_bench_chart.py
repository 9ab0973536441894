"""The chart of the benchmarks: what is aimed at and whether it is kept, and the figures that the docs show."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from highwater.environment.settings import ROOT


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module that benchmarks share, which lies beside them and not in the package."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    import measuring

    yield measuring
    del sys.modules["measuring"]


def test_an_aim_is_a_ratio_or_an_amount_and_is_kept_or_not(measuring: ModuleType) -> None:
    def figure(**aims: float) -> Any:
        return measuring.Figure("a thing", "a case", 3.0, "another", 2.0, **aims)

    kept = [figure().kept, figure(aim=1.5).kept, figure(aim=1.4).kept, figure(most=3).kept, figure(most=2.9).kept]
    assert kept == [None, True, False, True, False]
    assert figure(aim=1.5, most=2.9).kept is False

    out = Console(width=measuring.WIDTH, record=True)
    out.print(measuring.chart([figure(), figure(aim=1.5, most=2.9)]))
    bare, aimed = [line.split() for line in out.export_text().splitlines() if "a case" in line]
    assert bare[:8] == ["a", "case", "3.00", "s", "another", "2.00", "s", "1.50"]
    assert aimed[8:13] == ["≤", "1.5,", "≤", "2.9", "s"]


def test_figures_of_one_thing_stand_together(measuring: ModuleType) -> None:
    figures = [measuring.Figure(what, case, 1, "x", 1) for case in ("small", "large") for what in ("first", "second")]
    out = Console(width=measuring.WIDTH, record=True)
    out.print(measuring.chart(figures))
    words = [line.split()[0] for line in out.export_text().splitlines() if line.strip()]
    assert words[2:] == ["first", "small", "large", "second", "small", "large"]


def test_the_figures_of_the_docs_are_all_there_and_fit_the_chart(measuring: ModuleType) -> None:
    known = json.loads((ROOT / "docs/explanation/benchmark.json").read_text())
    programs = {file.stem for file in (ROOT / "bench").glob("*.py")}
    assert set(known) == programs - {"all", "measuring", "sales_days", "scheduled"}
    figures = [measuring.Figure(**figure) for each in known.values() for figure in each["figures"]]
    out = Console(width=measuring.WIDTH, record=True)
    out.print(measuring.chart(figures))
    drawn = out.export_text()
    assert all(figure.case in drawn and figure.beside in drawn for figure in figures), "a column is too narrow"
