"""The schedules of scripts/chaos: the same seed strikes the same, and the seeds strike everything there is."""

from __future__ import annotations

from collections import Counter

from chaos import faults, report, schedule

SEEDS = range(200)


def test_a_seed_gives_the_same_schedule_each_time_and_another_seed_another() -> None:
    assert [str(schedule.of(seed)) for seed in SEEDS] == [str(schedule.of(seed)) for seed in SEEDS]
    assert len({str(schedule.of(seed)).split(": ", 1)[1] for seed in SEEDS}) > 190


def test_two_hundred_seeds_strike_with_every_kind_of_fault_and_on_every_target() -> None:
    strikes = [strike for seed in SEEDS for strike in schedule.of(seed).strikes]
    assert min(Counter(strike.kind for strike in strikes).values()) >= 10
    assert {(kind, target) for kind, (_, *by) in schedule.KINDS.items() for targets in by for target in targets} == {
        (strike.kind, strike.target) for strike in strikes
    }
    assert set(schedule.KINDS) == set(faults.FAULTS)


def test_the_stretches_follow_one_another_so_that_seeds_share_a_platform() -> None:
    for seed in SEEDS:
        assert schedule.of(seed).end == schedule.of(seed + 1).begin
        assert (seed % 4 == schedule.NIGHT) == (schedule.of(seed).begin.date() != schedule.of(seed).end.date())


def test_the_tables_count_what_was_felt_and_name_what_is_broken() -> None:
    good = {
        "seed": 1,
        "schedule": "seed 1: …",
        "strikes": [{"kind": "kill task", "target": "ops.alerts", "at": 3, "outcome": "killed"}],
        "windows": 12,
        "attempts": 80,
        "lost": 1,
        "seconds": 20.0,
        "findings": [{"name": "no gap", "saw": "12 due windows", "wrong": []}],
        "error": None,
        "home": None,
        "passed": True,
    }
    bad = good | {
        "seed": 2,
        "strikes": [{"kind": "kill task", "target": "ops.alerts", "at": 3, "outcome": faults.MISSED}],
        "findings": [{"name": "no gap", "saw": "", "wrong": ["payments [2025-01-01, …)"]}],
        "passed": False,
        "home": "somewhere",
    }
    text = report.markdown([good, bad])
    assert "| kill task | 2 | 1 | 2 | 24 | 1 |" in text
    assert "| no gap | 2 | 1 |" in text
    assert "| 2 | kill task ops.alerts | 12 | 1 | 20 | no gap |" in text
    said = report.explain(bad)
    assert all(word in said for word in ("payments [2025-01-01", "somewhere", "scripts/chaos --seed 2 --runs 1"))
