"""Whether the next run of a dataset is full or incremental, and why. Pure: no database, no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from highwater.model.errors import DataRejected
from highwater.store.checkpoints import Checkpoint, Rules, SourceState, in_what, newest_transaction

FULL, INCREMENTAL = "full", "incremental"
WHICH_SOURCE = ("server", "timeline", "database", "table", "tombstones")
"""The parts of an identity that distinguish sources."""
UNMARKED = {
    "files": "a table of the source was rewritten or truncated since the checkpoint, its content may have changed",
    "marks": "a trigger that marks changes at the source was altered since the checkpoint, some may be unmarked",
}
"""Parts of an identity which, if they differ, mean that changes since the checkpoint may be missed, and why."""


@dataclass(frozen=True)
class Landed:
    """A window of the ledger: its end, and the snapshot of the source it was read at."""

    window_end: datetime
    source_snapshot: str


@dataclass(frozen=True)
class Situation:
    """All that the decision depends on.

    ``asked``: who asked for a full run, and why; None if nobody did. ``landed``: the newest window in the ledger.
    ``differing_keys``: those found by the last comparison at this checkpoint. ``accept``: a person has reviewed what a
    rule would stop, and wants it loaded. ``moment``: the warehouse's clock, in UTC.
    """

    checkpoint: Checkpoint | None
    source: SourceState
    rules: Rules
    moment: datetime
    asked: str | None = None
    landed: Landed | None = None
    differing_keys: Sequence[str] = ()
    accept: bool = False


@dataclass(frozen=True)
class Decision:
    """The mode, ``full`` or ``incremental``, and the reason in words."""

    mode: str
    reason: str


def decide(now: Situation, count_changes: Callable[[], int]) -> Decision:
    """Whether the run takes everything or what changed since the checkpoint.

    Args:
        now: the situation.
        count_changes: counts the rows of an incremental run, up to one more than the limit; called last, and only if
            the checkpoint can be trusted.

    Raises:
        DataRejected: a rule of control.sources stops the run.
    """
    if reason := next(_reasons_for_full(now), None):
        return Decision(FULL, reason)
    changes = count_changes()
    if changes > now.rules.max_changes:
        what = f"more than {now.rules.max_changes:,} rows changed at the source"
        if now.rules.on_large_change_set == FULL:
            return Decision(FULL, what)
        _unless_stopped(now, "on_large_change_set", what)
        return Decision(INCREMENTAL, f"{what}, which is accepted")
    return Decision(INCREMENTAL, f"the checkpoint holds, and {changes:,} rows changed since")


def _reasons_for_full(now: Situation) -> Iterator[str]:
    """Why the run cannot continue from the checkpoint; raises if a rule stops the run."""
    checkpoint, source, rules = now.checkpoint, now.source, now.rules
    if checkpoint is None:
        yield "there is no checkpoint"
        return
    if checkpoint.snapshot is None or checkpoint.identity is None or checkpoint.watermark is None:
        yield f"the checkpoint was reset by {checkpoint.updated_by}: {checkpoint.reason}"
        return
    if now.asked:
        yield now.asked
    if now.landed != Landed(checkpoint.watermark, checkpoint.snapshot):
        known = (
            f"{now.landed.window_end}, snapshot {now.landed.source_snapshot}" if now.landed else "nothing has landed"
        )
        yield (
            f"the checkpoint was tampered with: it says {checkpoint.watermark}, snapshot {checkpoint.snapshot}, "
            f"but the ledger says {known}"
        )
    if replaced := which_source_differs(checkpoint.identity, source.identity):
        what = f"the source is not the checkpoint's: {replaced}"
        yield _unless_stopped(now, "on_replaced_source", what)
    seen, there = newest_transaction(checkpoint.snapshot), newest_transaction(source.snapshot)
    if seen > there:
        what = (
            "the checkpoint is ahead of the source, which was restored from an older state: "
            f"the checkpoint is at transaction {seen}, the source at {there}"
        )
        yield _unless_stopped(now, "on_replaced_source", what)
    if changed := in_what(checkpoint.identity["columns"], source.identity["columns"]):
        yield _unless_stopped(now, "on_changed_schema", f"the source's columns changed: {changed}")
    if changed := in_what(checkpoint.identity, source.identity, ("strategy",)):
        yield f"the strategy of the source changed: {changed}"
    yield from _reasons_of_marks(checkpoint.identity, source, rules)
    if now.differing_keys:
        yield f"source and target differ in {len(now.differing_keys)} keys, among them {now.differing_keys[0]}"
    if checkpoint.last_full_at is None or now.moment - checkpoint.last_full_at >= rules.reconcile_every:
        yield f"the last full run was at {checkpoint.last_full_at}, one is due every {rules.reconcile_every}"


def _reasons_of_marks(known: Mapping[str, Any], source: SourceState, rules: Rules) -> Iterator[str]:
    """Why changes since the checkpoint may be unmarked, so that they cannot be found."""
    if source.flaw and rules.strategy == "xid":
        yield f"changes at the source may be unmarked: {source.flaw}"
    for part, why in UNMARKED.items():
        if part not in known and part in source.identity:
            yield f"the checkpoint does not record {part} of its source: it is from an older release"
        elif known.get(part) != source.identity.get(part):
            yield why


def which_source_differs(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """How two identities differ if they are of two sources, else empty. A part missing in the old one is ignored."""
    return in_what(old, new, [part for part in WHICH_SOURCE if part in old])


def _unless_stopped(now: Situation, rule: str, what: str) -> str:
    """Returns ``what``; raises if the rule stops it and it is not accepted."""
    if getattr(now.rules, rule) == "stop" and not now.accept:
        raise DataRejected(
            f"{what}; control.sources.{rule} says stop. Nothing was loaded: check the source, then run again with "
            'the configuration {"accept": true}'
        )
    return what
