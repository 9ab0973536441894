"""Full or incremental: each reason by itself, and what the rules of control.sources make of it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from highwater.loading.changes.modes import Decision, Landed, Situation, decide
from highwater.model.errors import DataRejected
from highwater.store.checkpoints import Checkpoint, Rules, SourceState

NOW = datetime(2026, 10, 31, 12, tzinfo=UTC)
COLUMNS = {"order_id": "bigint", "amount": "numeric(12,2)"}
IDENTITY = {"server": "77", "timeline": 1, "database": 5, "table": 9, "columns": COLUMNS, "strategy": "xid"}
MARKED = IDENTITY | {"files": {"orders": 1}, "marks": {"mark": "A 7"}}
HELD = Checkpoint(
    revision=4,
    watermark=NOW - timedelta(hours=1),
    snapshot="90:100:95",
    identity=IDENTITY,
    mode="incremental",
    reason="an hour ago",
    last_full_at=NOW - timedelta(hours=3),
    updated_by="run a",
)
RULES = Rules(
    strategy="xid",
    overlap=timedelta(minutes=15),
    reconcile_every=timedelta(hours=24),
    max_changes=50,
    on_replaced_source="full",
    on_changed_schema="full",
    on_large_change_set="stop",
    keys_per_bucket=10,
    buckets_per_check=1,
    full_run_wanted=None,
)
CALM = Situation(
    HELD, SourceState("110:120:", NOW, IDENTITY), RULES, NOW, landed=Landed(NOW - timedelta(hours=1), "90:100:95")
)


def by(**differences: object) -> Situation:
    """The calm situation, with these fields of it, its checkpoint or its rules replaced."""
    checkpoint = {k: v for k, v in differences.items() if hasattr(HELD, k)}
    rules = {k: v for k, v in differences.items() if hasattr(RULES, k)}
    rest = {k: v for k, v in differences.items() if hasattr(CALM, k)}
    return replace(CALM, **{"checkpoint": replace(HELD, **checkpoint), "rules": replace(RULES, **rules)} | rest)  # type: ignore[arg-type]


def source(snapshot: str = "110:120:", **identity: object) -> SourceState:
    return SourceState(snapshot, NOW, IDENTITY | identity)


def no_counting() -> int:
    raise AssertionError("a full run need not count the changes")


def test_where_nothing_is_wrong_it_is_incremental() -> None:
    assert decide(CALM, lambda: 7) == Decision("incremental", "the checkpoint holds, and 7 rows changed since")


@pytest.mark.parametrize(
    ("situation", "reason"),
    [
        (by(checkpoint=None), "there is no checkpoint"),
        (
            by(watermark=None, snapshot=None, identity=None, mode="reset", reason="restored", updated_by="ada"),
            "the checkpoint was reset by ada: restored",
        ),
        (by(asked="ada wants it"), "ada wants it"),
        (by(watermark=NOW), "the checkpoint was tampered with: it says 2026-10-31 12:00"),
        (by(snapshot="90:101:95"), "the checkpoint was tampered with"),
        (by(landed=None), "tampered with: .* but the ledger says nothing"),
        (by(source=source(server="78")), "the source is not the checkpoint.s: server is 78, was 77"),
        (by(source=source(timeline=2)), "the source is not the checkpoint.s: timeline is 2, was 1"),
        (by(source=source(table=10, database=6)), "database is 6, was 5, table is 10, was 9"),
        (by(source=source("60:70:")), "ahead of the source, .* at transaction 100, the source at 70"),
        (by(source=source(columns=COLUMNS | {"note": "text"})), r"columns changed: note \(text\) added"),
        (by(source=source(columns={"order_id": "bigint"})), "columns changed: amount dropped"),
        (by(source=source(columns=COLUMNS | {"amount": "text"})), r"amount is text, was numeric\(12,2\)"),
        (by(source=source(strategy="updated_at")), "strategy of the source changed: strategy is updated_at, was xid"),
        (by(source=source(files={"orders": 2})), "does not record files of its source: it is from an older release"),
        (
            by(identity=MARKED, source=source(files={"orders": 2}, marks={"mark": "A 7"})),
            "a table of the source was rewritten or truncated since the checkpoint",
        ),
        (
            by(identity=MARKED, source=source(files={"orders": 1}, marks={"mark": "A 8"})),
            "a trigger that marks changes at the source was altered since the checkpoint",
        ),
        (
            by(source=replace(source(), flaw="trigger mark is disabled")),
            "changes at the source may be unmarked: trigger mark is disabled",
        ),
        (by(differing_keys=("17", "18")), "source and target differ in 2 keys, among them 17"),
        (by(last_full_at=NOW - timedelta(hours=24)), "the last full run was at 2026-10-30 12:00"),
    ],
)
def test_each_reason_for_a_full_run_is_named(situation: Situation, reason: str) -> None:
    decision = decide(situation, no_counting)
    assert decision.mode == "full"
    assert re.search(reason, decision.reason), decision.reason


def test_an_idle_source_is_not_taken_for_a_restored_one() -> None:
    assert decide(by(source=source("90:100:95")), lambda: 0).mode == "incremental"


def test_as_many_changes_as_allowed_are_allowed() -> None:
    assert decide(CALM, lambda: 50).mode == "incremental"


@pytest.mark.parametrize(
    ("rule", "situation"),
    [
        ("on_replaced_source", by(on_replaced_source="stop", source=source(server="78"))),
        ("on_replaced_source", by(on_replaced_source="stop", source=source("60:70:"))),
        ("on_changed_schema", by(on_changed_schema="stop", source=source(columns={"order_id": "bigint"}))),
    ],
)
def test_a_rule_that_says_stop_stops_until_someone_accepts(rule: str, situation: Situation) -> None:
    with pytest.raises(DataRejected, match=f"control.sources.{rule} says stop. Nothing was loaded"):
        decide(situation, no_counting)
    assert decide(replace(situation, accept=True), no_counting).mode == "full"


@pytest.mark.parametrize(
    ("rule", "mode"), [("full", "full"), ("accept", "incremental"), ("stop", None)], ids=["full", "accept", "stop"]
)
def test_a_large_change_set_falls_under_its_rule(rule: str, mode: str | None) -> None:
    situation = by(on_large_change_set=rule)
    if mode is None:
        with pytest.raises(DataRejected, match=r"more than 50 rows changed at the source; .* says stop"):
            decide(situation, lambda: 51)
        assert decide(replace(situation, accept=True), lambda: 51).mode == "incremental"
    else:
        decision = decide(situation, lambda: 51)
        assert (decision.mode, "more than 50 rows changed" in decision.reason) == (mode, True)
