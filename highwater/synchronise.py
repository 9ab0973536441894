"""The synchronised table: which days to make from what landed, making one aside, comparing it with its sources."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from highwater import ledger, quality, sources, stages, suites, warehouse
from highwater.ledger import Run
from highwater.publish import Staged
from highwater.quality import AuditReport, Finding
from highwater.sources import Completeness
from highwater.stages import Pipeline
from highwater.windows import Window

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


def days(cursor: Cursor, day: Window) -> dict[Window, str]:
    """The day of a run, and those up to it whose sources' landed content is not what they were made from.

    Each with what it is to be made from; a day without any order yet is left out.
    """
    warehouse.run_file(cursor, f"{FOLDER}/days.sql", sources.bounds(day))
    return {Window(row.window_start, row.window_end): row.basis for row in warehouse.fetch_all(cursor)}


def make(published: Cursor, pipeline: Pipeline, window: Window, basis: str, run: Run) -> Staged:
    """Make a day in a new set in staging from the snapshot of the cursor, recording an attempt at each stage."""
    with ledger.attempt(pipeline.dataset, window, "extract", run) as attempt:
        staged = stages.extract(pipeline, attempt, published, Completeness(None, basis))
    with ledger.attempt(pipeline.dataset, window, "transform", run) as attempt:
        return stages.transform(pipeline, attempt, staged)


def compare(pipeline: Pipeline, staged: Staged, window: Window) -> AuditReport:
    """Compare the set with the published tables it was made from, and those with each other.

    Every finding carries the numbers of both sides, whether it holds or not.
    """
    table = f"{staged.name}_compared"
    compared = sql.Identifier("staging", table)
    with warehouse.session("loader") as cursor:
        cursor.execute(
            sql.SQL("CREATE TEMPORARY VIEW channel AS SELECT * FROM {}").format(
                sql.Identifier("staging", f"{staged.name}_clean")
            )
        )
        queries = [
            warehouse.bind(cursor, f"{FOLDER}/compare_{name}.sql", sources.bounds(window)) for name in COMPARISONS
        ]
        together = " CROSS JOIN ".join(f"({query}) AS {name}" for name, query in zip(COMPARISONS, queries, strict=True))
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(compared))
        cursor.execute(sql.SQL("CREATE TABLE {} AS SELECT * FROM {}").format(compared, sql.SQL(together)))
        cursor.execute(sql.SQL("SELECT * FROM {}").format(compared))
        numbers = {name: _number(value) for name, value in warehouse.fetch(cursor)._asdict().items()}
    report = quality.audit(pipeline.suite, "staging", table, {})
    rules = {rule.position: rule for rule in suites.load_suite(pipeline.suite).rules}
    return replace(
        report, results=tuple(_with_numbers(f, rules[f.rule_number].columns, numbers) for f in report.results)
    )


def _with_numbers(finding: Finding, columns: tuple[str, ...], numbers: dict[str, Any]) -> Finding:
    seen = {column: numbers[column] for column in columns}
    return finding if finding.verdict == "error" else replace(finding, observed=seen, unexpected_count=None)


def _number(value: Any) -> Any:
    """As JSON has it; cents are exact to fifteen digits."""
    return float(value) if isinstance(value, Decimal) else value
