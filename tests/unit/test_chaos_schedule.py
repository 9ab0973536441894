"""The schedules of scripts/chaos: the same seed strikes the same, and the seeds strike everything there is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from chaos import faults, felt, report, schedule, source_faults
from highwater.environment import settings
from highwater.model.errors import ConfigurationError

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
    assert set(schedule.DRIPPING + schedule.DRIPPING_AT_NIGHT) == set(source_faults.SECONDS_A_ROW)


def test_a_fault_that_is_asked_for_takes_the_place_of_the_first_throw() -> None:
    for seed in SEEDS:
        asked, thrown = schedule.of(seed, schedule.RESTORE), schedule.of(seed)
        assert schedule.RESTORE in {strike.kind for strike in asked.strikes}
        assert len(asked.strikes) == len(thrown.strikes)
        assert "with restore source" in str(asked)
    with pytest.raises(ConfigurationError, match=r"invalid --fault 'flood': expected one of .*restore source"):
        schedule.of(1, "flood")


def test_what_a_restore_waits_for_is_a_task_that_comes_after_another() -> None:
    for target in schedule.RESTORED:
        what, stage = target.split(" before ")
        assert what in {*schedule.SOURCES, source_faults.ALL_SOURCES}
        assert stage in source_faults.STAGES[1:]


def test_the_stretches_follow_one_another_so_that_seeds_share_a_platform() -> None:
    for seed in SEEDS:
        assert schedule.of(seed).end == schedule.of(seed + 1).begin
        assert (seed % 4 == schedule.NIGHT) == (schedule.of(seed).begin.date() != schedule.of(seed).end.date())


def test_the_tables_count_what_was_felt_and_name_what_is_broken(tmp_path: Path) -> None:
    good = {
        "seed": 1,
        "schedule": "seed 1: …",
        "fault": None,
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
        "strikes": [{"kind": "kill task", "target": "ops.alerts", "at": 3, "outcome": felt.MISSED}],
        "findings": [{"name": "no gap", "saw": "", "wrong": ["payments [2025-01-01, …)"]}],
        "passed": False,
        "home": "somewhere",
    }
    file, names = tmp_path / "chaos.md", ("summary", "faults", "invariants", "seeds")
    file.write_text("# Chaos\n" + "".join(f"<!-- chaos: {name} -->\nold\n<!-- end -->\nprose\n" for name in names))
    report.write_tables(file, [good, bad])
    text = file.read_text()
    assert text.startswith("# Chaos\n")
    assert (text.count("prose\n"), text.count("old\n")) == (4, 0)
    assert "> 2 seeds, 2 faults, 24 windows" in text
    assert "| kill task | 2 | 1 | 2 | 24 | 1 |" in text
    assert "| no gap | 2 | 1 |" in text
    assert "| 2 | kill task ops.alerts | 12 | 1 | 20 | no gap |" in text
    said = report.explain(bad)
    assert all(word in said for word in ("payments [2025-01-01", "somewhere", "scripts/chaos --seed 2 --runs 1"))
    assert "--runs 1 --fault 'restore source'" in report.explain(bad | {"fault": "restore source"})


@pytest.mark.parametrize("text", [None, "# Chaos\n", "<!-- chaos: summary -->\nnot closed\n"])
def test_a_file_that_has_no_place_for_the_tables_is_left_as_it_is(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "chaos.md"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigurationError, match="invalid --tables"):
        report.write_tables(file, [])
    assert text is None or file.read_text() == text


def test_the_docs_have_a_place_for_the_tables(tmp_path: Path) -> None:
    file = tmp_path / "chaos.md"
    file.write_text((settings.ROOT / "docs/explanation/chaos.md").read_text())
    report.write_tables(file, [])
    assert "> 0 seeds" in file.read_text()
