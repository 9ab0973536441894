"""Derived tables: windows built from published tables, compared with them in staging, then published.

What is built lies in the project's ``sql/<folder>/``: ``days.sql`` lists the windows to build and what each is built
from, ``extract.sql`` and ``clean.sql`` build one, ``compare_<name>.sql`` give the numbers that the suite checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from highwater.loading import stages, staging
from highwater.loading.stages import Pipeline
from highwater.model.errors import ConfigurationError, DataRejected, SourceIncomplete
from highwater.model.windows import Window
from highwater.quality import audits, suites
from highwater.quality.audits import AuditReport
from highwater.sources import sources
from highwater.sources.sources import Completeness
from highwater.store import ledger, statements, warehouse
from highwater.store.ledger import Run
from highwater.store.publish import Landed, Staged


@contextmanager
def snapshot() -> Iterator[Cursor]:
    """A cursor on the published tables and the ledger, both at one snapshot."""
    with closing(warehouse.connect("loader")) as link:
        link.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with link, link.cursor() as cursor:
            yield cursor


def days(cursor: Cursor, pipeline: Pipeline, day: Window, *, again: bool = True) -> dict[Window, str]:
    """The windows to build, each with its basis: the content of the sources that it is to be built from.

    These are the run's day, and earlier ones that were built from another basis. A window without source rows yet is
    left out. So is the run's day if it landed from the same basis, unless ``again`` is set.
    """
    rows = statements.ask(cursor, f"{pipeline.folder}/days.sql", sources.bounds(day) | {"again": again})
    return {Window(row.window_start, row.window_end): row.basis for row in rows}


def build(published: Cursor, pipeline: Pipeline, window: Window, basis: str, run: Run) -> Staged:
    """Build a window in a new staging set from the snapshot of the cursor, recording an attempt at each stage."""
    staged = stages.stage_window(pipeline, window, published, Completeness(None, basis), run)
    cleaned: Staged = stages.run_stages([stages.transform], pipeline, window, staged, run)
    return cleaned


def compare(pipeline: Pipeline, sets: Mapping[Window, Staged]) -> dict[Window, AuditReport]:
    """Compare each set with the published tables it was built from, and those with each other.

    Every finding, passed or failed, carries the numbers of both sides. All windows are audited together; only if an
    expectation fails, one by one.

    Raises:
        ConfigurationError: the pipeline's folder has no ``compare_<name>.sql``, or one breaks its contract.
    """
    numbers = {window: _numbers(pipeline, staged, window) for window, staged in sets.items()}
    tables = {window: _compared(staged) for window, staged in sets.items()}
    if len(sets) > 1:
        together = audits.audit(pipeline.suite, "staging", _union([staged.name for staged in sets.values()]), {})
        if all(finding.verdict == "passed" for finding in together.results):
            reports = {window: replace(together, table=f"staging.{table}") for window, table in tables.items()}
            return {window: _with_numbers(report, numbers[window]) for window, report in reports.items()}
    return {
        window: _with_numbers(audits.audit(pipeline.suite, "staging", table, {}), numbers[window])
        for window, table in tables.items()
    }


def require_match(pipeline: Pipeline, window: Window, report: AuditReport, run: Run) -> None:
    """Store the comparison of the window, recording an attempt.

    Raises:
        DataRejected: it failed; the window is held back.
    """
    with ledger.attempt(pipeline.dataset, window, "validate_cross_source", run) as attempt:
        with warehouse.session("loader") as cursor:
            audits.store(cursor, report, dataset=pipeline.dataset, window=window, run=run)
        attempt.note = report.sentence()
        if not report.success:
            raise DataRejected(f"{pipeline.dataset} {window} is held back: {report.sentence()}")


def land_window(pipeline: Pipeline, window: Window, run: Run) -> Landed:
    """Build one window, compare it with its sources and publish it, recording an attempt at each stage.

    Raises:
        SourceIncomplete: none of its sources has landed.
        DataRejected: the comparison failed, or the publishing function rejects it.
    """
    with snapshot() as published:
        basis = days(published, pipeline, window).get(window)
        if basis is None:
            raise SourceIncomplete(
                f"{pipeline.dataset} {window}: none of its sources has landed that day; load them first"
            )
        staged = build(published, pipeline, window, basis, run)
    require_match(pipeline, window, compare(pipeline, {window: staged})[window], run)
    return stages.publish_set(pipeline, window, staged, run)


def _comparisons(pipeline: Pipeline) -> list[str]:
    """The names of the pipeline's ``compare_<name>.sql``; each gives one row, the numbers of both sides as columns."""
    files = [file.name for file in warehouse.sql_files(pipeline.folder) if file.name.startswith("compare_")]
    if not files:
        raise ConfigurationError(
            f"sql/{pipeline.folder} has no compare_<name>.sql: expected at least one, with the numbers that suite"
            f" {pipeline.suite} checks"
        )
    return [f"{pipeline.folder}/{name}" for name in files]


def _compared(staged: Staged) -> str:
    return f"{staged.name}_compared"


def _numbers(pipeline: Pipeline, staged: Staged, window: Window) -> dict[str, Any]:
    """Store the numbers of a window as a table of one row, and return them."""
    with warehouse.session("loader") as cursor:
        cursor.execute(
            sql.SQL("CREATE TEMPORARY VIEW derived AS SELECT * FROM {}").format(staging.table(staged.name, "clean"))
        )
        files = _comparisons(pipeline)
        for file in files:
            statements.check(cursor, file, sources.bounds(window))
        queries = [
            f"({warehouse.bind(cursor, file, sources.bounds(window))}) AS numbers_{number}"
            for number, file in enumerate(files)
        ]
        numbers = f"SELECT * FROM {' CROSS JOIN '.join(queries)}"  # noqa: S608 - bind has bound the values
        table = staging.save(cursor, numbers, staged.name, "compared")
        cursor.execute(sql.SQL("SELECT * FROM {}").format(table))
        rows = warehouse.fetch_all(cursor)
        if len(rows) != 1:
            for file in files:
                statements.ask_one(cursor, file, sources.bounds(window))
        return {name: _number(value) for name, value in rows[0]._asdict().items()}


def _union(sets: Sequence[str]) -> str:
    """Store the numbers of several sets in one table of the first; returns its name."""
    with warehouse.session("loader") as cursor:
        rows = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT * FROM {}").format(staging.table(name, "compared")) for name in sets
        )
        staging.save(cursor, rows.as_string(cursor), sets[0], "together")
    return f"{sets[0]}_together"


def _with_numbers(report: AuditReport, numbers: Mapping[str, Any]) -> AuditReport:
    columns = {rule.position: rule.columns for rule in suites.load_suite(report.suite).rules}
    return replace(
        report,
        results=tuple(
            finding
            if finding.verdict == "error"
            else replace(
                finding,
                observed={column: numbers[column] for column in columns[finding.rule_number]},
                unexpected_count=None,
            )
            for finding in report.results
        ),
    )


def _number(value: Any) -> Any:
    """A number as JSON holds it; amounts in cents are exact to fifteen digits."""
    return float(value) if isinstance(value, Decimal) else value
