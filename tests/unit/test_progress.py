"""When the demo may stop waiting."""

from __future__ import annotations

from dataclasses import replace

import psycopg2
import pytest
from psycopg2.errors import DeadlockDetected, LockNotAvailable

from highwater.local import progress
from highwater.local.progress import Progress

ALL_LANDED = Progress(
    runs_active=0,
    due=30,
    landed=30,
    skipped=0,
    held=0,
    failed=0,
    rows_extracted=600_000,
    rows_published=595_000,
    rows_quarantined=3_000,
    rows_deduplicated=2_000,
    gaps=0,
    most_at_once=3,
    rows_per_second=None,
    at_least=None,
    at_most=None,
)


@pytest.mark.parametrize(
    ("change", "over", "whole"),
    [
        pytest.param({}, True, True, id="all landed"),
        pytest.param({"landed": 28, "skipped": 2}, True, True, id="what a rule skips is accounted for"),
        pytest.param({"landed": 29, "held": 1}, True, True, id="what was rolled back is accounted for"),
        pytest.param({"landed": 29, "failed": 1, "gaps": 1}, True, False, id="the last one's run failed"),
        pytest.param({"landed": 29, "gaps": 1}, False, False, id="the last one has no run yet"),
        pytest.param({"runs_active": 1}, False, True, id="landed, but its run has still to summarise"),
        pytest.param({"due": 0, "landed": 0}, False, True, id="nothing is known yet"),
        pytest.param({"gaps": 1}, True, False, id="a gap the counts do not show"),
    ],
)
def test_over_and_whole(change: dict[str, int], over: bool, whole: bool) -> None:
    changed = replace(ALL_LANDED, **change)  # type: ignore[arg-type]
    assert (changed.is_over, changed.is_complete) == (over, whole)


def test_a_warehouse_that_is_busy_for_a_while_ends_nothing_and_is_logged_once() -> None:
    answers: list[Exception] = [
        DeadlockDetected("deadlock detected"),
        LockNotAvailable("held"),
        LockNotAvailable(),
    ]
    said: list[str] = []

    def ask() -> int:
        if answers:
            raise answers.pop(0)
        return 7

    assert progress.retry_until_answered(ask, said.append) == 7
    assert said == ["the warehouse does not answer, retrying: two sessions waited for each other (deadlock)"]


def test_one_that_stays_away_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0)
    tries = 0

    def ask() -> None:
        nonlocal tries
        tries += 1
        raise psycopg2.OperationalError("away")

    with pytest.raises(psycopg2.OperationalError, match="away"):
        progress.retry_until_answered(ask, lambda _said: None)
    assert tries == 1


def test_what_is_no_trouble_of_the_server_is_raised_at_once() -> None:
    with pytest.raises(ZeroDivisionError):
        progress.retry_until_answered(lambda: 1 // 0, lambda _said: None)
