"""The stages of a dataset that is loaded by its changes, from the source to the published table."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import Json

from highwater.loading import staging
from highwater.loading.changes import modes
from highwater.loading.changes.modes import Landed, Situation
from highwater.model.errors import AuditFailed, DataRejected
from highwater.model.windows import Window
from highwater.store import checkpoints, ledger, statements, warehouse
from highwater.store.checkpoints import Changes, Checkpoint, Merged, Rules, SourceState, in_what, newest_transaction
from highwater.store.ledger import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IncrementalPipeline:
    """A dataset and its parts.

    ``sql/<folder>/``, an Airflow connection, the suite that every row must pass, and the suite for changes alone.
    """

    dataset: str
    folder: str
    connection: str
    suite: str
    change_suite: str


@dataclass(frozen=True)
class Plan:
    """What a run is to do (see `modes.decide`), and the checkpoint and source it was decided by."""

    mode: str
    reason: str
    accept: bool
    base_revision: int
    base_snapshot: str | None
    source_snapshot: str
    source_identity: Mapping[str, Any]
    full_run_wanted: str | None = None
    """Why a person had requested a full run in control.sources."""


def is_covered(dataset: str, hour: Window) -> bool:
    """Whether the ledger already covers a run's step of the grid.

    A window that ends after the warehouse's clock covers nothing: it landed while a clock was ahead, and the time its
    source was read at is unknown.
    """
    with warehouse.session("loader") as cursor:
        cursor.execute(
            "SELECT coalesce(range_agg(window_range) @> %(hour)s, false) FROM ops.window_ledger"
            " WHERE dataset = %(dataset)s AND window_range && %(hour)s AND upper(window_range) <= ops.clock()",
            {"hour": ledger.as_range(hour), "dataset": dataset},
        )
        return bool(warehouse.fetch_value(cursor))


def determine(
    source: Cursor, increment: IncrementalPipeline, *, asked: str | None = None, accept: bool = False
) -> Plan:
    """Decide the mode of the next run.

    Args:
        source: a cursor on the source, in one snapshot.
        increment: the dataset.
        asked: who asked for a full run, and why; None if nobody did.
        accept: load what a rule of control.sources would stop.

    Raises:
        DataRejected: a rule stops the run.
        SourceMoved: a table of the source was rewritten meanwhile.
    """
    with warehouse.session("loader") as cursor:
        rules = checkpoints.rules(cursor, increment.dataset)
        checkpoint = checkpoints.read(cursor, increment.dataset)
        state = checkpoints.source_state(source, increment.folder, rules.strategy)
        cursor.execute(
            "SELECT upper(window_range) AS window_end, source_snapshot FROM ops.window_ledger WHERE dataset = %s"
            " ORDER BY upper(window_range) DESC LIMIT 1",
            (increment.dataset,),
        )
        landed = warehouse.fetch(cursor)
        cursor.execute(
            "SELECT differing_keys FROM ops.checkpoint_status WHERE dataset = %s AND differing_keys <> '{}'",
            (increment.dataset,),
        )
        differing = warehouse.fetch(cursor)
        moment = _clock(cursor)
    situation = Situation(
        checkpoint,
        state,
        rules,
        moment,
        asked=asked or (rules.full_run_wanted and f"control.sources requests it: {rules.full_run_wanted}"),
        landed=landed and Landed(landed.window_end, landed.source_snapshot),
        differing_keys=differing.differing_keys if differing else (),
        accept=accept,
    )

    def count_changes() -> int:
        assert checkpoint is not None
        query = warehouse.bind(source, *changes_since(increment, rules, checkpoint))
        source.execute(f"SELECT count(*) FROM (SELECT FROM ({query}) AS c LIMIT %s) AS c", (rules.max_changes + 1,))  # noqa: S608
        return int(warehouse.fetch_value(source))

    decision = modes.decide(situation, count_changes)
    revision, snapshot = (checkpoint.revision, checkpoint.snapshot) if checkpoint else (0, None)
    return Plan(
        decision.mode, decision.reason, accept, revision, snapshot, state.snapshot, state.identity,
        rules.full_run_wanted,
    )  # fmt: skip


def changes_since(
    increment: IncrementalPipeline, rules: Rules, checkpoint: Checkpoint, overlap: timedelta | None = None
) -> tuple[str, Mapping[str, Any]]:
    """The statement that lists what changed since a checkpoint, with its parameters."""
    return f"{increment.folder}/{rules.strategy}_changes.sql", {
        "snapshot": checkpoint.snapshot,
        "watermark": checkpoint.watermark,
        "overlap": rules.overlap if overlap is None else overlap,
    }


def identify(source: Cursor, increment: IncrementalPipeline, plan: Plan, run: Run) -> Changes:
    """Extract the changes, in full mode all rows, into a new staging set, from the one snapshot of the cursor.

    Raises:
        DataRejected: the checkpoint has moved since the plan was made, or the source is not the plan's.
        SourceMoved: a table of the source was rewritten while it was read.
        ConfigurationError: a statement does not fit the source.
    """
    with warehouse.session("loader") as target:
        rules = checkpoints.rules(target, increment.dataset)
        checkpoint = checkpoints.read(target, increment.dataset)
        if (checkpoint.revision if checkpoint else 0) != plan.base_revision:
            raise DataRejected(
                f"the checkpoint of {increment.dataset} was moved since this run began, by "
                f"{checkpoint.updated_by if checkpoint else 'nobody'}: the next run loads the rest"
            )
        state = checkpoints.source_state(source, increment.folder, rules.strategy)
        _refuse_another_source(plan, state)
        start = checkpoints.landed_until(target, increment.dataset)
        # No window ends in the future, whichever clock is ahead. A clock that was put back must not stop the load.
        end = max(min(state.moment, _clock(target)), start + timedelta(microseconds=1))
        name = staging.new_set(target, increment.dataset, Window(start, end), run)
        if plan.mode == modes.FULL:
            statement, parameters = f"{increment.folder}/{rules.strategy}_full.sql", dict[str, Any]()
        else:
            assert checkpoint is not None
            statement, parameters = changes_since(increment, rules, checkpoint)  # type: ignore[assignment]
        rows = staging.fill(source, target, statement, parameters, name)
        checkpoints.assert_unmoved(source, increment.folder, state)
        by_hour = [] if plan.mode == modes.FULL else _by_hour(target, increment, name)
    return Changes(
        name,
        plan.mode,
        plan.reason,
        plan.accept,
        plan.base_revision,
        plan.base_snapshot,
        state.snapshot,
        state.identity,
        start,
        end,
        rows,
        by_hour,
        full_run_wanted=plan.full_run_wanted,
    )


def _refuse_another_source(plan: Plan, state: SourceState) -> None:
    """Refuse to carry out a plan at another state of the source.

    Raises:
        DataRejected: the source was replaced, restored or changed in its tables since the plan was made.
    """
    what = in_what(plan.source_identity, state.identity)
    planned, there = newest_transaction(plan.source_snapshot), newest_transaction(state.snapshot)
    if not what and there < planned:
        what = f"it is at transaction {there}, and was at {planned}"
    if what:
        raise DataRejected(
            f"the source changed since this run was planned: {what}; nothing was loaded, the next run decides by the"
            " new state"
        )


def _clock(cursor: Cursor) -> datetime:
    """The warehouse's clock."""
    cursor.execute("SELECT ops.clock()")
    moment: datetime = warehouse.fetch_value(cursor)
    return moment


def _by_hour(cursor: Cursor, increment: IncrementalPipeline, name: str) -> list[dict[str, Any]]:
    """Inserts, updates and deletes of the set by hour (ISO 8601)."""
    cursor.execute(sql.SQL("CREATE TEMPORARY VIEW raw AS SELECT * FROM {}").format(staging.table(name, "raw")))
    rows = statements.ask(cursor, f"{increment.folder}/changes_by_hour.sql")
    counts = [dict(row._asdict(), hour=row.hour.isoformat()) for row in rows]
    cursor.execute("DROP VIEW pg_temp.raw")
    return counts


def process(increment: IncrementalPipeline, changes: Changes, run: Run) -> tuple[Changes, str]:
    """Clean the set and audit it before anyone can read it; returns it with its counts, and the audit in a sentence.

    Raises:
        DataRejected: the audit failed; names the expectation and the query that lists the rows. Nothing is published.
    """
    from highwater.quality import audits

    with warehouse.session("loader") as cursor:
        # Of repeatedly failing attempts only the newest set is kept, for inspection.
        staging.drop_obsolete(cursor, increment.dataset, changes.window, run, before=changes.name)
        cleaned = staging.clean(cursor, increment.folder, changes.name, changes.window)
        warehouse.run_file(
            cursor,
            "ops/usual_changes.sql",
            {"dataset": increment.dataset, "hours": (changes.window_end - changes.window_start) / timedelta(hours=1)},
        )
        usual_rows = int(warehouse.fetch_value(cursor))
    suites = [increment.suite] if changes.mode == modes.FULL else [increment.suite, increment.change_suite]
    sentences = []
    for suite in suites:
        report = audits.audit(suite, "staging", f"{changes.name}_clean", {"usual_rows": usual_rows})
        with warehouse.session("loader") as cursor:
            audits.store(cursor, report, dataset=increment.dataset, window=changes.window, run=run)
        if not report.success:
            raise AuditFailed(f"{increment.dataset} {changes.window} is not published: {report.sentence()}")
        sentences.append(report.sentence())
    counted = replace(changes, rejected=cleaned.rows_rejected, deduplicated=cleaned.rows_deduplicated)
    return counted, "; ".join(sentences)


def land(increment: IncrementalPipeline, changes: Changes, run: Run, hour: Window) -> Merged:
    """Merge the set with its checkpoint and its ledger row, and write what the run cost."""
    merged = checkpoints.merge(increment.dataset, changes, run)
    with warehouse.session("loader") as cursor:
        warehouse.run_file(
            cursor,
            "ops/summarise_increment.sql",
            {
                "dataset": increment.dataset,
                "staged_as": changes.name,
                "mode": changes.mode,
                "reason": changes.reason,
                "inserted": merged.rows_inserted,
                "updated": merged.rows_updated,
                "deleted": merged.rows_deleted,
                "by_hour": Json(changes.by_hour),
                "hour": ledger.as_range(hour),
                "run_id": run.run_id,
            },
        )
    return merged
