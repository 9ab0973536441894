"""When the demo may stop waiting."""

from __future__ import annotations

from dataclasses import replace

import pytest

from highwater.progress import Progress

ALL_LANDED = Progress(
    runs_active=0,
    due=30,
    landed=30,
    skipped=0,
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
        pytest.param({"landed": 29, "failed": 1, "gaps": 1}, True, False, id="the last one's run failed"),
        pytest.param({"landed": 29, "gaps": 1}, False, False, id="the last one has no run yet"),
        pytest.param({"runs_active": 1}, False, True, id="landed, but its run has still to summarise"),
        pytest.param({"due": 0, "landed": 0}, False, True, id="nothing is known yet"),
        pytest.param({"gaps": 1}, True, False, id="a gap the counts do not show"),
    ],
)
def test_over_and_whole(change: dict[str, int], over: bool, whole: bool) -> None:
    progress = replace(ALL_LANDED, **change)  # type: ignore[arg-type]
    assert (progress.is_over, progress.is_whole) == (over, whole)
