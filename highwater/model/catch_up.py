"""Which windows to load from a source in a run, which to skip, and why: a pure decision from what is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from highwater.model.windows import Grid, Window

ALL, RELIABLE, NONE = "all", "reliable", "none"
"""Values of control.sources.catch_up."""

NOT_CURRENT, TOO_OLD = "current window only", "catch-up limit"
"""Rules by which a window is skipped, as in ops.skipped_windows."""


@dataclass(frozen=True)
class Trust:
    """The row of ops.source_reliability for a source: which past windows it may load, and whether it does now."""

    catch_up: str
    catches_up: bool
    reason: str
    limit: timedelta


@dataclass(frozen=True)
class Situation:
    """What a run knows: its day, the clock, the dataset's grid, what landed and what the source offers.

    ``landed``: the source revision of each landed window. ``offered``: the current revision of each window at the
    source; None for a source that never corrects windows. ``by_hand``: a person requested the day; it is loaded again.
    """

    day: Window
    now: datetime
    grid: Grid
    due_after: timedelta
    trust: Trust
    landed: Mapping[Window, str]
    offered: Mapping[Window, str] | None = None
    by_hand: bool = True

    @property
    def is_covered(self) -> bool:
        """Whether the day of the run has landed and was not requested again."""
        return not self.by_hand and self.day in self.landed


@dataclass(frozen=True)
class Skip:
    """A window that a rule says not to load."""

    window: Window
    rule: str
    reason: str


@dataclass(frozen=True)
class Decision:
    """The windows to load, oldest first, each with its reason; those to skip; those that are due but not delivered.

    ``early``: those that are not due yet, each with the moment when it will be; they are neither loaded nor skipped.
    """

    load: dict[Window, str] = field(default_factory=dict)
    skip: list[Skip] = field(default_factory=list)
    late: list[Window] = field(default_factory=list)
    early: dict[Window, datetime] = field(default_factory=dict)


def decide(known: Situation) -> Decision:
    """Decide what a run does with the windows of one source up to its day."""
    if known.trust.catch_up == ALL:
        return _all(known)
    return _current(known)


def within_policy(decision: Decision, own: Window, unwanted: Sequence[Window], *, is_on: bool) -> Decision:
    """The decision without the windows that the policy leaves out, and without past ones while catch-up is off.

    The window of the run itself is kept: had the policy left it out, only a person could have requested the run.
    """

    def wanted(window: Window) -> bool:
        left_out = any(each.start <= window.start and window.end <= each.end for each in unwanted)
        return window == own or (is_on and not left_out)

    return Decision(
        {window: why for window, why in decision.load.items() if wanted(window)},
        [skip for skip in decision.skip if wanted(skip.window)],
        [window for window in decision.late if wanted(window)],
        decision.early,
    )


def newest_due(known: Situation, moment: datetime) -> Window | None:
    """The newest window of the grid that is due by a moment; None before there is one."""
    return max(known.grid.windows(known.grid.first, moment - known.due_after), default=None)


def _all(known: Situation) -> Decision:
    """Every window that is due by the end of the run's day and has not landed, or was corrected since it landed."""
    decision = Decision()
    for window in known.grid.windows(known.grid.first, known.day.end + known.grid.step):
        due = window.end + known.due_after
        if window.start >= known.day.end:
            continue
        if due > known.day.end:
            if window not in known.landed:
                decision.early[window] = due
        elif known.offered is not None and window not in known.offered:
            if window not in known.landed:
                decision.late.append(window)
        elif window == known.day and not known.is_covered:
            decision.load[window] = "the window of this run"
        elif window not in known.landed:
            decision.load[window] = "it has not landed yet"
        elif known.offered is not None and known.offered[window] != known.landed[window]:
            decision.load[window] = f"{known.offered[window]} has arrived, {known.landed[window]} has landed"
    return decision


def _current(known: Situation) -> Decision:
    """The current window by the clock; a past one, and those before it, only while the source catches up."""
    decision, trust = Decision(), known.trust
    current, own = newest_due(known, known.now), known.day
    if current is None or own > current:
        decision.early[own] = own.end + known.due_after
        return decision
    if known.is_covered:
        pass
    elif own == current:
        decision.load[own] = "the current window"
    elif not trust.catches_up:
        reason = f"the current window is {current}, and past ones are not caught up on: {trust.reason}"
        decision.skip.append(Skip(own, NOT_CURRENT, reason))
        return decision
    elif own.start < known.now - trust.limit:
        decision.skip.append(Skip(own, TOO_OLD, f"it begins before {known.now - trust.limit:%Y-%m-%d %H:%M}"))
        return decision
    else:
        decision.load[own] = f"catching up: {trust.reason}"
    if not trust.catches_up:
        return decision
    for window in known.grid.windows(max(known.grid.first, known.now - trust.limit), own.start):
        if window not in known.landed:
            decision.load[window] = f"catching up: {trust.reason}"
    return replace(decision, load=dict(sorted(decision.load.items())))
