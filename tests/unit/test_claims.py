"""docs/reference/claims.md: whatever it says to type is there, and it speaks of what the README has."""

from __future__ import annotations

import ast
import re

import pytest

from highwater.environment.settings import ROOT

PAGE = (ROOT / "docs/reference/claims.md").read_text()
ROWS = [line.rsplit(" | ", 1) for line in PAGE.splitlines() if re.match(r"\| (?!claim |---)", line)]
TYPED = [(claim, what) for claim, shown in ROWS for what in re.findall(r"`([^`]+)`", shown)]


def test_every_claim_has_something_that_shows_it() -> None:
    assert len(ROWS) > 50
    for claim, shown in ROWS:
        assert "`" in shown, claim


@pytest.mark.parametrize("what", sorted({what for _, what in TYPED}))
def test_what_is_to_be_typed_is_there(what: str) -> None:
    if what.startswith("scripts/"):
        program, *rest = what.split()
        assert (ROOT / program).exists()
        assert program != "scripts/bench" or (ROOT / f"bench/{rest[0]}.py").exists()
        return
    file, *names = what.split("::")
    assert file.startswith("tests/")
    within: ast.AST = ast.parse((ROOT / file).read_text())
    for name in names:
        known = {node.name: node for node in ast.iter_child_nodes(within) if hasattr(node, "name")}
        assert name in known
        within = known[name]


def test_its_headings_are_those_of_the_readme_and_none_is_left_out() -> None:
    readme = re.findall(r"^##+ (.+)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    claimed = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert claimed == [heading for heading in readme if heading in claimed]
    assert set(readme) - set(claimed) == {"The DAGs", "What is where", "Dependencies"}
