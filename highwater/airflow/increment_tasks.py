"""Task blocks of a DAG that loads a dataset by its changes, one stage per task."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

from airflow.sdk import get_current_context, task

from highwater.airflow.tasks import nothing_to_do, stage, why_blocked
from highwater.loading import staging
from highwater.loading.changes import consistency, increments
from highwater.loading.changes.increments import IncrementalPipeline, Plan
from highwater.model import clock
from highwater.model.errors import IntegrityBroken
from highwater.sources import sources
from highwater.store import checkpoints, warehouse
from highwater.store.checkpoints import Changes, Merged

log = logging.getLogger(__name__)

FULL = "full"


@task.short_circuit
def determine_mode(increment: IncrementalPipeline) -> dict[str, Any]:
    """Ends the run if its hour is covered already; else decides between incremental and full mode, with the reason."""
    if blocked := why_blocked(increment.dataset, any_time=True):
        return nothing_to_do(blocked.sentence)
    with stage(increment.dataset, "determine_mode", any_time=True) as attempt:
        params = get_current_context()["params"]
        asked = f"asked for by run {attempt.run.run_id}" if params["mode"] == FULL else None
        if not asked and increments.is_covered(increment.dataset, attempt.window):
            attempt.note = "the ledger covers this hour already: there is nothing left to do"
            return nothing_to_do(attempt.note)
        with sources.snapshot(increment.connection) as source:
            plan = increments.determine(source, increment, asked=asked, accept=params["accept"])
        attempt.note = f"{plan.mode}: {plan.reason}"
        return asdict(plan)


@task
def identify_changes(increment: IncrementalPipeline, plan: dict[str, Any]) -> dict[str, Any]:
    """Extract what changed, or in full mode everything, into a new staging set, at one snapshot of the source."""
    with stage(increment.dataset, "identify_changes", any_time=True) as attempt:
        with sources.snapshot(increment.connection) as source:
            changes = increments.identify(source, increment, Plan(**plan), attempt.run)
        for hour in changes.by_hour:
            log.info(
                "%s: %s inserts, %s updates, %s deletes",
                hour["hour"],
                hour["inserts"],
                hour["updates"],
                hour["deletes"],
            )
        attempt.rows = changes.rows
        attempt.note = (
            f"this run covers {changes.window_start:%Y-%m-%d %H:%M:%S} to {changes.window_end:%Y-%m-%d %H:%M:%S}"
        )
        return asdict(changes)


@task
def process_changes(increment: IncrementalPipeline, identified: dict[str, Any]) -> dict[str, Any]:
    """Clean the set, rejected rows to quarantine, and audit it before anyone can read it."""
    with stage(increment.dataset, "process_changes", any_time=True) as attempt:
        changes, sentence = increments.process(increment, Changes(**identified), attempt.run)
        attempt.rows = changes.rows - changes.rejected - changes.deduplicated
        attempt.note = f"{changes.rejected:,} rejected; {sentence}"
        return asdict(changes)


@task
def update_checkpoint(increment: IncrementalPipeline, processed: dict[str, Any]) -> dict[str, Any]:
    """Merge the set, move the checkpoint on and write the ledger row, in one transaction."""
    with stage(increment.dataset, "update_checkpoint", any_time=True) as attempt:
        merged = increments.land(increment, Changes(**processed), attempt.run, attempt.window)
        attempt.rows = merged.rows_inserted + merged.rows_updated + merged.rows_deleted
        attempt.note = (
            f"{merged.outcome}: {merged.rows_inserted:,} inserted, {merged.rows_updated:,} updated, "
            f"{merged.rows_deleted:,} deleted"
        )
        return asdict(merged)


@task
def validate_consistency(increment: IncrementalPipeline, merged: dict[str, Any]) -> None:
    """Compare source and target as of the checkpoint, and report the age of the oldest change that has not landed."""
    with stage(increment.dataset, "validate_consistency", any_time=True) as attempt:
        with sources.snapshot(increment.connection) as source:
            check = consistency.compare(source, increment, attempt.run, Merged(**merged))
        attempt.rows = check.rows_compared
        attempt.note = check.sentence()
        with warehouse.session("loader") as cursor:
            exact = checkpoints.rules(cursor, increment.dataset).strategy == "xid"
            limit = checkpoints.max_lag(cursor, increment.dataset)
            staging.drop_obsolete(cursor, increment.dataset, attempt.window, attempt.run)
        if age := check.overdue(clock.now(), limit):
            log.warning(
                "%s is stale: a change made %s ago has not landed, the limit is %s", increment.dataset, age, limit
            )
        if check.keys:
            found = f"{increment.dataset}: {check.sentence()}. The next run will be a full one"
            if exact:
                raise IntegrityBroken(found)
            log.warning("%s; the strategy of its source does not rule this out", found)
