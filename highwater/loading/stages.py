"""The stages that carry a window from its source to the published table; each is recorded as an attempt.

A window is checked and extracted at the source; `AFTER_EXTRACT` lists the stages that follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg2.extensions import cursor as Cursor

from highwater.loading import staging
from highwater.model.errors import AuditFailed
from highwater.model.windows import Window
from highwater.sources import sources
from highwater.sources.sources import Completeness
from highwater.store import ledger, publish, warehouse
from highwater.store.ledger import Attempt, Run
from highwater.store.publish import Landed, Staged


@dataclass(frozen=True)
class Pipeline:
    """A dataset and its parts: ``sql/<folder>/``, an Airflow connection, a suite in ``expectations/``."""

    dataset: str
    folder: str
    connection: str
    suite: str


def check_configuration(pipeline: Pipeline) -> None:
    """Check before any data moves what would otherwise fail half-way.

    Raises:
        ConfigurationError: a statement or the suite is missing or wrong, or the published table cannot be published
            into; names it and the way out.
    """
    from highwater.quality import audits

    for statement in ("extract.sql", "clean.sql"):
        warehouse.read_sql(f"{pipeline.folder}/{statement}")
    with publish.in_words(), warehouse.session("loader") as cursor:
        published = ledger.published_columns(cursor, pipeline.dataset)
        cursor.execute("SELECT ops.assert_publishable(%s)", (pipeline.dataset,))
        grid = ledger.grid(cursor, pipeline.dataset)
    any_window = Window(grid.first, grid.first + grid.step)
    audits.check_suite(pipeline.suite, published, audit_parameters(any_window, 0))


def check_statements(pipeline: Pipeline, window: Window, source: Cursor) -> None:
    """Let source and warehouse plan the pipeline's statements for the window; no row moves.

    Raises:
        ConfigurationError: a statement does not fit; names file, line and what is wrong.
    """
    columns = sources.check_shape(source, pipeline.folder, window)
    with warehouse.session("loader") as cursor:
        staging.check_clean(cursor, pipeline.folder, pipeline.dataset, columns, window)


def extract(pipeline: Pipeline, attempt: Attempt, source: Cursor, complete: Completeness) -> Staged:
    """Stream the window from a snapshot of the source into a new set in staging."""
    with warehouse.session("loader") as target:
        name = staging.new_set(target, pipeline.dataset, attempt.window, attempt.run)
        base_version = ledger.version(target, pipeline.dataset, attempt.window)
        source.execute("SELECT pg_current_snapshot()::text AS snapshot")
        snapshot = complete.revision or warehouse.fetch_value(source)
        attempt.rows = staging.extract(source, target, pipeline.folder, name, attempt.window)
        staging.drop_obsolete(target, pipeline.dataset, attempt.window, attempt.run, before=name)
    return Staged(name, attempt.rows, base_version, snapshot, complete.expected_rows)


def transform(pipeline: Pipeline, attempt: Attempt, staged: Staged) -> Staged:
    """Clean the set into the published shape; each rejected row goes to quarantine with its reason."""
    with warehouse.session("loader") as cursor:
        cleaned = staging.clean(cursor, pipeline.folder, staged.name, attempt.window)
    attempt.rows = cleaned.rows_clean
    attempt.note = f"{cleaned.rows_rejected:,} rejected, {cleaned.rows_deduplicated:,} duplicates"
    return replace(staged, deduplicated=cleaned.rows_deduplicated, rejected=cleaned.rows_rejected)


def audit(pipeline: Pipeline, attempt: Attempt, staged: Staged) -> Staged:
    """Run the suite on the set before anyone can read it; returns the set unchanged.

    Raises:
        AuditFailed: an expectation failed; names it and the query that lists the rows. Nothing is published.
    """
    from highwater.quality import audits

    source_rows = staged.rows if staged.expected_rows is None else staged.expected_rows
    report = audits.audit(
        pipeline.suite,
        "staging",
        f"{staged.name}_clean",
        audit_parameters(attempt.window, source_rows - staged.rejected - staged.deduplicated),
    )
    with warehouse.session("loader") as cursor:
        audits.store(cursor, report, dataset=pipeline.dataset, window=attempt.window, run=attempt.run)
    attempt.note = report.sentence()
    if not report.success:
        raise AuditFailed(f"{pipeline.dataset} {attempt.window} is not published: {report.sentence()}")
    return staged


def load(pipeline: Pipeline, attempt: Attempt, staged: Staged) -> Landed:
    """Publish the set and write the ledger row, in one transaction."""
    landed = publish.publish_window(pipeline.dataset, attempt.window, staged, attempt.run)
    attempt.rows = landed.rows_published
    attempt.note = f"{landed.outcome} as version {landed.version}, content {landed.content_hash[:12]}"
    return landed


def summarise(pipeline: Pipeline, attempt: Attempt, landed: Landed) -> Landed:
    """Write what the window cost, and drop what earlier attempts at it left in staging; returns what landed."""
    cost = _close(pipeline.dataset, attempt)
    attempt.note = f"{landed.outcome}, {cost or 'replaced since by another run, which records its own cost'}"
    attempt.rows = landed.rows_published
    return landed


Stage = Callable[[Pipeline, Attempt, Any], Any]
"""A stage takes the result of the one before. Its function's name is its name in ops.attempts."""

AFTER_EXTRACT: tuple[Stage, ...] = (transform, audit, load, summarise)
"""The stages of a staged window, in order."""
PUBLISHING: tuple[Stage, ...] = (load, summarise)
"""The stages of an audited set."""


def land_window(pipeline: Pipeline, window: Window, run: Run) -> Landed:
    """Carry a window from its source to the published table, recording an attempt at each stage.

    Raises:
        ConfigurationError: a statement or the suite is missing or wrong.
        SourceUnavailable, SourceIncomplete: the source is unavailable, or has not closed the window.
        DataRejected: the audit or the publishing function rejects it.
        Busy: another session held the published table for too long.
    """
    with warehouse.keeping_links():
        with ledger.attempt(pipeline.dataset, window, "validate_availability", run):
            check_configuration(pipeline)
            with sources.snapshot(pipeline.connection) as source:
                check_statements(pipeline, window, source)
                complete = sources.check_complete(source, pipeline.folder, window, pipeline.dataset)
        with sources.snapshot(pipeline.connection) as source:
            staged = stage_window(pipeline, window, source, complete, run)
        return finish_window(pipeline, window, staged, run)


def stage_window(pipeline: Pipeline, window: Window, source: Cursor, complete: Completeness, run: Run) -> Staged:
    """Extract a window that is complete at the source into staging, recording the attempt."""
    with ledger.attempt(pipeline.dataset, window, "extract", run) as attempt:
        return extract(pipeline, attempt, source, complete)


def finish_window(pipeline: Pipeline, window: Window, staged: Staged, run: Run) -> Landed:
    """Carry a window from staging through the remaining stages, recording an attempt at each.

    Raises:
        DataRejected: the audit or the publishing function rejects it.
        Busy: another session held the published table for too long.
    """
    landed: Landed = run_stages(AFTER_EXTRACT, pipeline, window, staged, run)
    return landed


def publish_set(pipeline: Pipeline, window: Window, staged: Staged, run: Run) -> Landed:
    """Publish an audited set and write what it cost, recording an attempt at each stage."""
    landed: Landed = run_stages(PUBLISHING, pipeline, window, staged, run)
    return landed


def run_stages(some: Sequence[Stage], pipeline: Pipeline, window: Window, given: Any, run: Run) -> Any:
    """Run these stages in order, recording an attempt at each; the first takes ``given``. Returns the last result."""
    for stage in some:
        with ledger.attempt(pipeline.dataset, window, stage.__name__, run) as attempt:
            given = stage(pipeline, attempt, given)
    return given


def finish_cut_short(dataset: str | None = None, window: Window | None = None) -> int:
    """Write the summaries of landed windows whose run was killed before it could, and drop what it left in staging.

    For one window, or for all; returns the number of windows.
    """
    with warehouse.session("loader") as cursor:
        which = {"dataset": dataset, "window_start": window.start if window else None}
        warehouse.run_file(cursor, "ops/cut_short.sql", which)
        found = warehouse.fetch_all(cursor)
    for row in found:
        its_window, run = Window(row.window_start, row.window_end), Run(row.dag_id, row.run_id)
        with ledger.attempt(row.dataset, its_window, "summarise", run) as attempt:
            attempt.note = f"its run was killed before it could; {_close(row.dataset, attempt)}"
    return len(found)


def _close(dataset: str, attempt: Attempt) -> str | None:
    """Write what the window cost its run and drop its staging sets, in one transaction; returns the cost in words."""
    with warehouse.session("loader") as cursor:
        cost = ledger.summarise(cursor, dataset, attempt.window, attempt.run)
        staging.drop_obsolete(cursor, dataset, attempt.window, attempt.run)
    return cost


def audit_parameters(window: Window, expected_rows: int) -> dict[str, object]:
    """The parameters that a suite may refer to as ``{"$PARAMETER": …}``."""
    return sources.bounds(window) | {"expected_rows": expected_rows}
