"""docs/reference/claims.md: every command and test it names exists; every link in the docs leads somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

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


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("docs/**/*.md")) + sorted(ROOT.glob("*.md")), ids=lambda page: page.name
)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
        assert "://" in target or (page.parent / target).exists(), target


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
