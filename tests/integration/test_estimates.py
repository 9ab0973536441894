"""The one model of how long the rest takes: random steady histories, with pauses, and what the views make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies
from psycopg2.extensions import cursor as Cursor
from rows import one

START = datetime(2026, 10, 31, tzinfo=UTC)
EXACT = 0.01
"""Seconds: a moment has microseconds, and sums of them are rounded."""
LOOKS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True)
class Work:
    """Windows that all take the same time, in lanes that begin one after the other; seconds of the work itself."""

    duration: float
    lanes: int
    stagger: float
    windows: int

    def ends(self) -> list[float]:
        """When each window ends."""
        return sorted(
            (n // self.lanes + 1) * self.duration + (n % self.lanes) * self.stagger for n in range(self.windows)
        )


@strategies.composite
def works(draw: Any) -> Work:
    """Of 5 to 120 windows in up to four lanes."""
    lanes = draw(strategies.integers(1, 4))
    duration = draw(strategies.floats(1, 600))
    stagger = draw(strategies.floats(0, 1)) * duration / lanes
    return Work(duration, lanes, stagger, draw(strategies.integers(5, 120)))


def by_the_clock(moment: float, pauses: Sequence[tuple[float, float]]) -> datetime:
    """When a second of the work is, where there were pauses: (after how many seconds, how long)."""
    return START + timedelta(seconds=moment + sum(long for after, long in pauses if after < moment))


def estimate(
    cursor: Cursor, work: Work, look: float, pauses: Sequence[tuple[float, float]] = ()
) -> tuple[float, float]:
    """Between what and what the rest takes, as it is said at a second of the work."""
    ended = [end for end in work.ends() if end <= look]
    edges = sorted({0.0, look, *(after for after, _ in pauses if after < look)})
    cursor.execute(
        "SELECT e.* FROM ops.estimate_rest(%s, %s, (SELECT range_agg(tstzrange(s, u))"
        " FROM unnest(%s::timestamptz[], %s::timestamptz[]) AS p (s, u)), %s) AS e",
        (
            work.windows - len(ended),
            [by_the_clock(end, pauses) for end in ended],
            # A stretch begins once the pause before it is over.
            [
                by_the_clock(edge, pauses) + timedelta(seconds=sum(long for after, long in pauses if after == edge))
                for edge in edges[:-1]
            ],
            [by_the_clock(edge, pauses) for edge in edges[1:]],
            by_the_clock(look, pauses),
        ),
    )
    row = one(cursor)
    return row.at_least.total_seconds(), row.at_most.total_seconds()


@LOOKS
@given(work=works(), part=strategies.floats(0, 1))
def test_the_rest_of_steady_work_lies_within_what_is_said(analyst: Cursor, work: Work, part: float) -> None:
    ends = work.ends()
    look = ends[2] + part * (ends[-1] - ends[2])
    low, high = estimate(analyst, work, look)
    assert low - EXACT <= ends[-1] - look <= high + EXACT


@LOOKS
@given(
    work=works(),
    part=strategies.floats(0, 1),
    pauses=strategies.lists(
        strategies.tuples(strategies.floats(0.01, 0.99), strategies.floats(60, 7200)),
        max_size=3,
        unique_by=lambda p: p[0],
    ),
)
def test_a_pause_changes_nothing(analyst: Cursor, work: Work, part: float, pauses: list[tuple[float, float]]) -> None:
    ends = work.ends()
    look = ends[2] + part * (ends[-1] - ends[2])
    paused = [(round(after * ends[-1], 6), long) for after, long in pauses]
    # Not at the very moment at which a window ends, or someone looks.
    paused = [(after, long) for after, long in paused if min(abs(after - other) for other in (*ends, look)) > EXACT]
    assert estimate(analyst, work, look, paused) == pytest.approx(estimate(analyst, work, look), abs=EXACT, rel=1e-6)


@LOOKS
@given(work=works())
def test_near_the_end_it_shrinks_with_every_round(analyst: Cursor, work: Work) -> None:
    # At the end of each round of all lanes, the last eight of them.
    ends = work.ends()
    rounds = [end for n, end in enumerate(ends) if (n + 1) % work.lanes == 0 and n >= 2][-8:]
    said = [estimate(analyst, work, look)[1] for look in rounds]
    assert all(later <= earlier + EXACT for earlier, later in pairwise(said))
    assert estimate(analyst, work, ends[-1]) == (0, 0)


@LOOKS
@given(work=works(), first=strategies.floats(0, 1), second=strategies.floats(0, 1))
def test_without_a_new_fact_it_moves_by_less_than_its_range(
    analyst: Cursor, work: Work, first: float, second: float
) -> None:
    ends = work.ends()
    since, until = ends[len(ends) // 2], next((end for end in ends if end > ends[len(ends) // 2]), ends[-1])
    looks = sorted(since + part * (until - since) * 0.999 for part in (first, second))
    (low, high), (later_low, later_high) = (estimate(analyst, work, look) for look in looks)
    assert abs(later_high - high) <= high - low + EXACT
    assert abs(later_low - low) <= high - low + EXACT


def test_nobody_says_anything_before_three_have_ended(analyst: Cursor) -> None:
    analyst.execute(
        "SELECT e.* FROM ops.estimate_rest(9, ARRAY[%s, %s]::timestamptz[], tstzmultirange(tstzrange(%s, %s)), %s)"
        " AS e",
        (START, START, START, START + timedelta(hours=1), START),
    )
    assert tuple(analyst.fetchone() or ()) == (None, None, None)


def test_a_window_that_takes_longer_than_any_before_widens_the_range_bit_by_bit(analyst: Cursor) -> None:
    work = Work(10, 1, 0, 20)
    ended = [START + timedelta(seconds=end) for end in work.ends()[:10]]
    said = []
    for late in range(0, 100, 5):
        now = ended[-1] + timedelta(seconds=late)
        analyst.execute(
            "SELECT e.at_most FROM ops.estimate_rest(10, %s, tstzmultirange(tstzrange(%s, %s)), %s) AS e",
            (ended, START, now, now),
        )
        said.append(analyst.fetchone()[0].total_seconds())  # type: ignore[index]
    steps = [later - earlier for earlier, later in pairwise(said)]
    assert max(map(abs, steps)) <= 20
    assert said[-1] > said[0]


def test_what_follows_within_a_lanes_pause_is_the_same_work_and_after_a_longer_one_is_not(analyst: Cursor) -> None:
    def at(second: int) -> datetime:
        return START + timedelta(seconds=second)

    analyst.execute(
        "SELECT ops.seconds_at_work(ops.time_at_work(tstzmultirange(tstzrange(%s, %s), tstzrange(%s, %s),"
        " tstzrange(%s, %s))), %s)",
        (at(0), at(10), at(25), at(30), at(3630), at(3640), at(9999)),
    )
    assert tuple(analyst.fetchone() or ()) == (40.0,)
