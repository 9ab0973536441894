"""docs/explanation/security.md: each claim names tests that show it, and each of them is there."""

from __future__ import annotations

import ast
import re

import pytest

from highwater.environment.settings import ROOT
from highwater.setup import roles
from simulation import extension

PAGE = (ROOT / "docs/explanation/security.md").read_text()
NAMED = re.compile(r"`(tests/[^`]+)`")


def rows(heading: str) -> list[list[str]]:
    """The cells of the rows of the table under a heading."""
    part = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


@pytest.mark.parametrize("heading", ["Against whom it holds", "What the loader's own word is taken for"])
def test_every_claim_names_what_shows_it(heading: str) -> None:
    claims = rows(heading)
    assert len(claims) > 5
    for against, claim, shown in claims:
        assert NAMED.findall(shown), (against, claim)
        assert not NAMED.sub("", shown).strip(), f"{shown!r} holds more than names of tests"


@pytest.mark.parametrize("named", sorted(set(NAMED.findall(PAGE))))
def test_a_test_that_is_named_is_there(named: str) -> None:
    file, *names = named.split("::")
    within: ast.AST = ast.parse((ROOT / file).read_text())
    for name in names:
        known = {node.name: node for node in ast.iter_child_nodes(within) if hasattr(node, "name")}
        assert name in known
        within = known[name]
    assert names or any(
        isinstance(node, ast.FunctionDef) and node.name.startswith("test_") for node in ast.walk(within)
    )


def test_it_lists_every_role() -> None:
    listed = {name for row in rows("Who may what in the warehouse") for name in re.findall(r"`([a-z…_]+)`", row[0])}
    there = {"…_reader" if role in extension.READERS else role for role in (*roles.logins(), roles.PUBLISHER)}
    assert listed == there | {"postgres", "airflow"}


def test_the_bound_of_silent_transactions_is_the_one_that_is_set() -> None:
    minutes = roles.MAY_IDLE.removesuffix("min")
    assert f"ended after {minutes} minutes (`idle_in_transaction_session_timeout`" in PAGE
