"""The audit of a day by Great Expectations, beside the same rules in one SQL statement."""

from __future__ import annotations

from pathlib import Path

import measuring
import sales_days
import typer
from measuring import AsJson, Figure, Repeat, Rows
from psycopg2 import sql

from highwater.loading import stages
from highwater.model.errors import HighwaterError
from highwater.model.windows import Window
from highwater.quality import audits
from highwater.store import warehouse

RULES = Path(__file__).with_name("auditing.sql")
"""What expectations/daily_sales.json demands of the rows, one column per rule, in the suite's order."""


def main(
    rows: Rows = None,
    repeat: Repeat = 5,
    as_json: AsJson = False,
) -> None:
    """Audit a staged day both ways, in a process that has Great Expectations imported."""
    figures = sales_days.over_sizes(lambda window, size: _measure(window, size, repeat), rows or sales_days.SIZES)
    measuring.show(figures, as_json)


def _measure(window: Window, size: int, repeat: int) -> list[Figure]:
    of_sales = sales_days.SALES
    staged = sales_days.stage(window)
    measuring.tidy("postgres", None, f"staging.{staged.name}_clean")
    given = stages.audit_parameters(window, staged.rows - staged.rejected - staged.deduplicated)

    def by_great_expectations() -> None:
        report = audits.audit(of_sales.suite, "staging", f"{staged.name}_clean", given)
        if not report.success:
            raise HighwaterError(report.sentence())

    def by_one_statement() -> None:
        table = sql.Identifier("staging", f"{staged.name}_clean")
        with warehouse.session("loader") as cursor:
            cursor.execute(sql.SQL("CREATE TEMPORARY VIEW clean AS SELECT * FROM {}").format(table))
            cursor.execute(RULES.read_text(), given)
            broken = [name for name, holds in warehouse.fetch(cursor)._asdict().items() if not holds]
        if broken:
            raise HighwaterError(f"broken: {', '.join(broken)}")

    by_great_expectations()
    ours, theirs = measuring.medians(
        repeat, lambda: measuring.seconds(by_great_expectations), lambda: measuring.seconds(by_one_statement)
    )
    return [Figure("auditing a day", f"{size:,} rows", ours, "the same rules in one statement", theirs, aim=3)]


if __name__ == "__main__":
    typer.run(main)
