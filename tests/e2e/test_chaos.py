"""Ten seeds of scripts/chaos: whatever they strike, all that must hold does."""

from __future__ import annotations

import json
import subprocess

import pytest

from chaos import invariants
from highwater.environment import settings

pytestmark = pytest.mark.timeout(1800)
FIRST, SEEDS = 200, 10
"""Others than those of docs/explanation/chaos.md."""


def test_ten_seeds_of_faults_leave_all_as_it_is_without() -> None:
    done = subprocess.run(
        ["scripts/chaos", "--seed", str(FIRST), "--runs", str(SEEDS), "--json"],
        cwd=settings.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    seeds = json.loads(done.stdout)["seeds"]
    assert [seed["seed"] for seed in seeds] == list(range(FIRST, FIRST + SEEDS))
    names = [finding["name"] for finding in seeds[0]["findings"]]
    assert len(names) == len(invariants.CHECKS)
    assert all([finding["name"] for finding in seed["findings"]] == names for seed in seeds)
    outcomes = [strike["outcome"] for seed in seeds for strike in seed["strikes"]]
    assert sum(not outcome.startswith(("missed", "left out")) for outcome in outcomes) > len(outcomes) / 2
    assert sum(seed["windows"] for seed in seeds) > 2 * SEEDS
