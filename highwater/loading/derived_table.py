"""The synchronised table: which days to make from what landed, making one aside, comparing it with its sources."""

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
from highwater.model.errors import DataRejected
from highwater.model.windows import Window
from highwater.quality import audits, suites
from highwater.quality.audits import AuditReport
from highwater.sources import sources
from highwater.sources.sources import Completeness
from highwater.store import ledger, statements, warehouse
from highwater.store.ledger import Attempt, Run
from highwater.store.publish import Staged

FOLDER = "multi_source_sync/channels"
COMPARISONS = ("store", "partner", "settlements", "channels")
"""Each is ``compare_<name>.sql``: one row, the numbers of both sides as columns."""


@contextmanager
def snapshot() -> Iterator[Cursor]:
    """A cursor on the published tables and the ledger at one moment: they belong together."""
    with closing(warehouse.connect("loader")) as link:
        link.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with link, link.cursor() as cursor:
            yield cursor


def days(cursor: Cursor, day: Window, *, again: bool = True) -> dict[Window, str]:
    """The day of a run, and those up to it whose sources' landed content is not what they were made from.

    Each with what it is to be made from; a day without any order yet is left out, and so is that of the run where it
    has landed of the same, unless it is wanted ``again``.
    """
    rows = statements.ask(cursor, f"{FOLDER}/days.sql", sources.bounds(day) | {"again": again})
    return {Window(row.window_start, row.window_end): row.basis for row in rows}


def make(published: Cursor, pipeline: Pipeline, window: Window, basis: str, run: Run) -> Staged:
    """Make a day in a new set in staging from the snapshot of the cursor, recording an attempt at each stage."""
    with ledger.attempt(pipeline.dataset, window, "extract", run) as attempt:
        staged = stages.extract(pipeline, attempt, published, Completeness(None, basis))
    with ledger.attempt(pipeline.dataset, window, "transform", run) as attempt:
        return stages.transform(pipeline, attempt, staged)


def compare(pipeline: Pipeline, sets: Mapping[Window, Staged]) -> dict[Window, AuditReport]:
    """Compare each set with the published tables it was made from, and those with each other.

    Every finding carries the numbers of both sides, whether it holds or not. All days are audited at once; only where
    one does not hold, each by itself.
    """
    numbers = {window: _numbers(staged, window) for window, staged in sets.items()}
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


def judge(pipeline: Pipeline, attempt: Attempt, report: AuditReport) -> None:
    """Keep what the comparison of the attempt's day found.

    Raises:
        DataRejected: it does not hold: the day is held back.
    """
    with warehouse.session("loader") as cursor:
        audits.store(cursor, report, dataset=pipeline.dataset, window=attempt.window, run=attempt.run)
    attempt.note = report.sentence()
    if not report.success:
        raise DataRejected(f"{pipeline.dataset} {attempt.window} is held back: {report.sentence()}")


def _compared(staged: Staged) -> str:
    return f"{staged.name}_compared"


def _numbers(staged: Staged, window: Window) -> dict[str, Any]:
    """Make the table of one row with the numbers of a day, and return them."""
    with warehouse.session("loader") as cursor:
        cursor.execute(
            sql.SQL("CREATE TEMPORARY VIEW channel AS SELECT * FROM {}").format(staging.table(staged.name, "clean"))
        )
        files = {name: f"{FOLDER}/compare_{name}.sql" for name in COMPARISONS}
        for file in files.values():
            statements.check(cursor, file, sources.bounds(window))
        queries = [
            f"({warehouse.bind(cursor, file, sources.bounds(window))}) AS {name}" for name, file in files.items()
        ]
        numbers = f"SELECT * FROM {' CROSS JOIN '.join(queries)}"  # noqa: S608 - bind has bound the values
        table = staging.save(cursor, numbers, staged.name, "compared")
        cursor.execute(sql.SQL("SELECT * FROM {}").format(table))
        rows = warehouse.fetch_all(cursor)
        if len(rows) != 1:
            for file in files.values():
                statements.ask_one(cursor, file, sources.bounds(window))
        return {name: _number(value) for name, value in rows[0]._asdict().items()}


def _union(sets: Sequence[str]) -> str:
    """Put the numbers of several sets into one table of the first; returns its name."""
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
    """As JSON has it; cents are exact to fifteen digits."""
    return float(value) if isinstance(value, Decimal) else value
