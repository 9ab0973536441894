"""Which windows a run loads and skips, by case."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from highwater.model.catch_up import Situation, Trust, decide, newest_due, within_policy
from highwater.model.windows import Grid, Window

DAY = timedelta(days=1)
FIRST = datetime(2026, 10, 1, tzinfo=UTC)
DAYS, WEEKS = Grid(FIRST, DAY), Grid(datetime(2026, 10, 5, tzinfo=UTC), 7 * DAY)
STORE = Trust("all", True, "", 30 * DAY)
PARTNER = Trust("reliable", False, "5 of the last 10 checks were good", 4 * DAY)
RELIABLE = replace(PARTNER, catches_up=True, reason="9 of the last 10 checks were good")


def day(number: int) -> Window:
    """The day of October."""
    return Window(FIRST + DAY * (number - 1), FIRST + DAY * number)


def week(number: int) -> Window:
    """The week from the first Monday, counted from 1."""
    return Window(WEEKS.first + 7 * DAY * (number - 1), WEEKS.first + 7 * DAY * number)


def store(of: int, landed: tuple[int, ...] = ()) -> Situation:
    return Situation(day(of), day(20).end, DAYS, timedelta(0), STORE, {day(n): "" for n in landed})


def partner(of: int, trust: Trust = PARTNER, landed: tuple[int, ...] = (), today: int = 10) -> Situation:
    now = day(today).start + timedelta(seconds=30)
    return Situation(day(of), now, DAYS, timedelta(0), trust, {day(n): "" for n in landed})


def supplier(of: int, landed: dict[int, str], offered: dict[int, str]) -> Situation:
    def by_week(numbers: dict[int, str]) -> dict[Window, str]:
        return {week(n): revision for n, revision in numbers.items()}

    return Situation(day(of), day(31).end, WEEKS, 4 * DAY, STORE, by_week(landed), by_week(offered))


def test_a_source_that_catches_up_on_all_gets_the_day_of_the_run_and_every_gap_before_it_oldest_first() -> None:
    assert list(decide(store(5, landed=(1, 3))).load) == [day(2), day(4), day(5)]


def test_it_leaves_later_days_to_their_own_runs() -> None:
    decision = decide(store(2))
    assert (list(decision.load), decision.skip) == ([day(1), day(2)], [])


def test_the_day_of_the_run_is_loaded_again_when_it_has_landed() -> None:
    assert decide(store(3, landed=(1, 2, 3))).load == {day(3): "the window of this run"}


def test_a_run_that_nobody_asked_for_loads_no_window_again() -> None:
    unasked = replace(store(3, landed=(1, 3)), by_hand=False)
    assert list(decide(unasked).load) == [day(2)]
    assert list(decide(replace(unasked, landed={})).load) == [day(1), day(2), day(3)]
    for trust, caught_up in ((PARTNER, []), (RELIABLE, [day(8)])):
        covered = decide(replace(partner(9, trust, landed=(7, 9)), by_hand=False))
        assert (list(covered.load), covered.skip, covered.early) == (caught_up, [], {})


def test_the_current_window_is_loaded_and_nothing_else_while_the_source_is_not_reliable() -> None:
    decision = decide(partner(9))
    assert (list(decision.load), decision.skip) == ([day(9)], [])


def test_a_run_for_a_past_window_skips_it_and_says_why() -> None:
    decision = decide(partner(8))
    assert not decision.load
    ((skip),) = decision.skip
    assert (skip.window, skip.rule) == (day(8), "current window only")
    assert skip.reason == (
        "the current window is 2026-10-09, and past ones are not caught up on: 5 of the last 10 checks were good"
    )


def test_a_reliable_source_catches_up_on_what_is_missing_as_far_as_the_limit_allows() -> None:
    assert list(decide(partner(9, RELIABLE, landed=(8,))).load) == [day(7), day(9)]


def test_a_run_for_a_past_window_catches_up_on_it_and_those_before_it_but_not_on_later_ones() -> None:
    assert list(decide(partner(8, RELIABLE)).load) == [day(7), day(8)]


def test_a_past_window_older_than_the_limit_is_skipped_even_if_the_source_is_reliable() -> None:
    decision = decide(partner(6, RELIABLE))
    assert not decision.load
    assert [(skip.window, skip.rule) for skip in decision.skip] == [(day(6), "catch-up limit")]


def test_a_window_that_begins_exactly_at_the_limit_is_caught_up_on() -> None:
    at_limit = replace(partner(9, RELIABLE), now=day(10).start)
    assert list(decide(at_limit).load) == [day(6), day(7), day(8), day(9)]
    assert list(decide(replace(at_limit, day=day(6))).load) == [day(6)]


def test_a_source_that_never_catches_up_loads_the_current_window_alone() -> None:
    never = Trust("none", False, "control.sources says never to catch up", 30 * DAY)
    assert list(decide(partner(9, never)).load) == [day(9)]
    assert decide(partner(8, never)).skip[0].reason.endswith("control.sources says never to catch up")


def test_a_run_that_comes_before_its_window_has_ended_leaves_it_until_then_and_remarks_nothing() -> None:
    decision = decide(partner(10))
    assert (decision.load, decision.skip) == ({}, [])
    assert decision.early == {day(10): day(10).end}


def test_all_weeks_that_are_due_by_the_day_of_the_run_are_landed_oldest_first() -> None:
    offered = {1: "delivery 1", 2: "delivery 1", 3: "delivery 1"}
    assert list(decide(supplier(22, {}, offered)).load) == [week(1), week(2)]


def test_a_week_is_due_when_the_fourth_day_after_it_begins() -> None:
    offered = {1: "delivery 1"}
    assert list(decide(supplier(14, {}, offered)).load) == []
    assert list(decide(supplier(15, {}, offered)).load) == [week(1)]


def test_the_newest_window_that_is_due_waits_for_what_comes_after_its_end() -> None:
    known = supplier(22, {}, {})
    assert newest_due(known, day(22).end) == week(2)
    assert newest_due(known, day(22).start) == week(1)
    assert newest_due(known, day(14).end) is None


def test_a_run_within_a_week_passes_over_it_and_the_one_not_yet_due_and_remarks_nothing() -> None:
    decision = decide(supplier(14, {}, {}))
    assert decision.skip == []
    assert decision.early == {week(1): datetime(2026, 10, 16, tzinfo=UTC), week(2): datetime(2026, 10, 23, tzinfo=UTC)}


def test_a_week_that_came_early_and_landed_is_not_waited_for() -> None:
    assert list(decide(supplier(14, {1: "delivery 1"}, {1: "delivery 1"})).early) == [week(2)]


def test_a_corrected_week_replaces_what_landed_and_an_unchanged_one_is_left_alone() -> None:
    decision = decide(supplier(22, {1: "delivery 1", 2: "delivery 1"}, {1: "delivery 2", 2: "delivery 1"}))
    assert decision.load == {week(1): "delivery 2 has arrived, delivery 1 has landed"}


def test_a_week_that_is_due_but_was_not_delivered_is_late_and_no_rule_skips_it() -> None:
    decision = decide(supplier(22, {1: "delivery 1"}, {1: "delivery 1"}))
    assert decision.late == [week(2)]
    assert week(2) not in {skip.window for skip in decision.skip}


def test_what_the_policy_does_not_want_is_not_loaded_but_for_the_window_of_the_run_itself() -> None:
    decision = decide(store(5, landed=(1,)))
    unwanted = [Window(day(2).start, day(3).end), day(5)]
    assert list(within_policy(decision, day(5), unwanted, is_on=True).load) == [day(4), day(5)]


def test_while_catch_up_is_off_a_run_loads_its_own_window_alone_and_skips_no_other() -> None:
    decision = within_policy(decide(store(5)), day(5), [], is_on=False)
    assert (list(decision.load), decision.skip, decision.late) == ([day(5)], [], [])
    late = within_policy(decide(supplier(22, {}, {})), week(2), [], is_on=False)
    assert late.late == [week(2)]


def test_a_policy_that_wants_everything_changes_nothing() -> None:
    decision = decide(supplier(22, {}, {1: "delivery 1"}))
    assert within_policy(decision, day(22), [], is_on=True) == decision
