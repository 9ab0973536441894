"""Audits of staged tables: run a suite, store each result, say in one sentence what failed."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from highwater.model.errors import Busy, ConfigurationError
from highwater.model.windows import Window
from highwater.quality.rows_query import RowsQueries
from highwater.quality.suites import Rule, check_suite, load_suite
from highwater.store import driver_errors, warehouse
from highwater.store.ledger import Run

__all__ = ["AuditReport", "Finding", "audit", "check_suite", "load_suite", "store"]

EXAMPLES = 5
"""Most offending values to show."""

NOTHING = "no number: no row has a value, or one of them is NaN"
"""What a rule about an aggregate of a column observed if that is null or NaN: Great Expectations reports both alike."""


@dataclass(frozen=True)
class Finding:
    """The result of one expectation.

    ``verdict``: passed; failed (critical) or warning: the rule is broken; error: it could not be evaluated.
    ``observed``: the observed value as JSON, or up to five offending values; None if it passed.
    ``rows_query``: SQL for psql that lists the offending rows (for a rule about the whole table, what was measured);
    None if it passed or could not be evaluated.
    """

    rule_number: int
    expectation: str
    column_name: str | None
    severity: str
    description: str
    verdict: str
    observed: Any
    unexpected_count: int | None
    rows_query: str | None
    details: Mapping[str, Any]

    def __str__(self) -> str:
        subject = f"{self.expectation}({self.column_name})" if self.column_name else self.expectation
        seen = json.dumps(self.observed, default=str)
        if self.unexpected_count is not None:
            examples = f", such as {seen[1:-1]}" if isinstance(self.observed, list) and self.observed else ""
            seen = f"{self.unexpected_count} rows{examples}"
        where = f", listed by: {self.rows_query}" if self.rows_query else ""
        return f"{self.verdict}: {subject} [{self.description}] saw {seen}{where}"


@dataclass(frozen=True)
class AuditReport:
    """The findings of one audit, in the order of the suite file."""

    suite: str
    table: str
    results: tuple[Finding, ...]

    @property
    def success(self) -> bool:
        """Whether every critical expectation passed."""
        return not any(f.severity == "critical" and f.verdict != "passed" for f in self.results)

    def sentence(self) -> str:
        """One line: the outcome and each expectation that did not pass, with the observed value and the query."""
        broken = [str(finding) for finding in self.results if finding.verdict != "passed"]
        outcome = "passed" if self.success else "failed"
        count = f"{len(self.results) - len(broken)} of {len(self.results)} expectations hold"
        return " | ".join([f"audit {self.suite} of {self.table} {outcome}, {count}", *broken])


def audit(suite: str, schema: str, table: str, parameters: Mapping[str, object]) -> AuditReport:
    """Run ``expectations/<suite>.json`` on a table of the warehouse, as ``loader``.

    Args:
        suite: the name of the file, without ``.json``.
        schema: the schema of the table.
        table: the table, usually a staged one.
        parameters: values for the suite's ``{"$PARAMETER": name}``; datetimes must be aware.

    Raises:
        ConfigurationError: the suite file is wrong, or does not fit the table; nothing was run.
        Busy: the warehouse became unavailable or cancelled a query.
    """
    with warehouse.session("loader") as cursor:
        columns = warehouse.columns_of(cursor, table, schema)
        if not columns:
            raise ConfigurationError(f"table {schema}.{table} does not exist, or loader may not read it")
        checked = check_suite(suite, columns, parameters)
        queries = RowsQueries(cursor, schema, table)
        queries.try_authors(checked)
        _make_types_known(cursor, schema, table)
        with _batch(schema, table) as batch:
            first = _validate(batch, suite, checked.rules, parameters, {"result_format": "BOOLEAN_ONLY"})
            broken = [rule for rule in checked.rules if not first[rule.position].success]
            explain = {"result_format": "SUMMARY", "return_unexpected_index_query": True}
            again = _validate(batch, suite, broken, parameters, explain) if broken else {}
        findings = [_finding(rule, first[rule.position], again.get(rule.position), queries) for rule in checked.rules]
    return AuditReport(suite, f"{schema}.{table}", tuple(findings))


def store(cursor: Cursor, report: AuditReport, *, dataset: str, window: Window, run: Run) -> int:
    """Add a report to ``ops.validation_results`` in the cursor's transaction; returns the rows added.

    Raises:
        psycopg2.errors.InsufficientPrivilege: the run has no attempt at the dataset under way.
    """
    values = {
        "dataset": dataset,
        "window_start": window.start,
        "window_end": window.end,
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "try_number": run.try_number,
        "suite": report.suite,
        "audited_table": report.table,
        "findings": json.dumps([_storable(asdict(finding)) for finding in report.results], allow_nan=False),
    }
    warehouse.run_file(cursor, "ops/record_audit.sql", values)
    return int(warehouse.fetch_value(cursor))


@contextmanager
def _batch(schema: str, table: str) -> Iterator[Any]:
    """The whole table as a batch of Great Expectations; its connections are closed at the end of the block."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    # Hundreds of lines about its internals would hide the task's own line.
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    import great_expectations as gx

    with ExitStack() as links:

        def connect() -> Connection:
            return links.enter_context(closing(warehouse.connect("loader")))

        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False, "metric_calculations": False}
        # The address is a placeholder: `creator` connects, so that no password is in the configuration.
        source = context.data_sources.add_postgres(
            "warehouse", connection_string="postgresql+psycopg2://loader@warehouse/", kwargs={"creator": connect}
        )
        asset = source.add_table_asset(table, table_name=table, schema_name=schema)
        yield asset.add_batch_definition_whole_table("all").get_batch()


def _make_types_known(cursor: Cursor, schema: str, table: str) -> None:
    """Register the types of the table's columns with SQLAlchemy: an unknown one would make every rule fail."""
    from sqlalchemy.dialects.postgresql.base import ischema_names
    from sqlalchemy.types import UserDefinedType

    warehouse.run_file(cursor, "ops/types_of_columns.sql", {"schema": schema, "table": table})
    for (name,) in warehouse.fetch_all(cursor):
        if name.lower() not in ischema_names:
            kind = type("Other", (UserDefinedType,), {"cache_ok": True, "get_col_spec": lambda _, n=name, **__: n})
            ischema_names[name.lower()] = kind


def _validate(
    batch: Any, suite: str, rules: Iterable[Rule], parameters: Mapping[str, object], result_format: dict[str, Any]
) -> dict[int, Any]:
    """Validate the rules; returns the results by position, because Great Expectations returns them in any order."""
    import great_expectations as gx

    wanted = [rule.build() for rule in rules]
    loaded = gx.ExpectationSuite(name=suite, expectations=wanted)
    outcome = batch.validate(loaded, result_format=result_format, expectation_parameters=dict(parameters))
    results = {result.expectation_config.meta["position"]: result for result in outcome.results}
    if len(results) != len(wanted):
        raise ConfigurationError(
            f"Great Expectations ran {len(results)} of the {len(wanted)} expectations of suite {suite}"
        )
    return results


def _finding(rule: Rule, first: Any, again: Any, queries: RowsQueries) -> Finding:
    """Combine the two passes over a rule; ``again`` is None if the first one passed."""
    verdict, observed, unexpected_count, rows_query = "passed", None, None, None
    details: dict[str, Any] = {}
    if (problem := _exception(first)) is not None:
        verdict, observed = "error", problem
        details = {"exception": problem}
    elif again is not None:
        verdict = "failed" if rule.severity == "critical" else "warning"
        problem = _exception(again)
        if problem is None:
            again.result = _storable(again.result)
            details = again.to_json_dict()["result"]
            observed, unexpected_count = _seen(rule, details)
        else:
            details, observed = {"exception": problem}, f"a value that cannot be shown: {problem}"
        rows_query = queries.of(rule, details)
    column_name = ", ".join(rule.columns) or None
    return Finding(
        rule_number=rule.position,
        expectation=rule.type,
        column_name=column_name,
        severity=rule.severity,
        description=rule.description,
        verdict=verdict,
        observed=observed,
        unexpected_count=unexpected_count,
        rows_query=rows_query,
        details=details,
    )


def _seen(rule: Rule, details: Mapping[str, Any]) -> tuple[Any, int | None]:
    """The observed value and the number of offending rows, if the kind of expectation has them."""
    if "unexpected_count" in details:
        examples: list[Any] = []
        for value in details.get("partial_unexpected_list", ()):
            if value not in examples:
                examples.append(value)
        return examples[:EXAMPLES], details["unexpected_count"]
    observed = details.get("observed_value")
    if observed is None and rule.columns:
        return NOTHING, None
    return observed, observed if rule.query is not None else None


def _storable(value: Any) -> Any:
    """The value with words for NaN and the infinities, which JSON lacks, and without NUL, which jsonb refuses."""
    if isinstance(value, Mapping):
        return {_storable(key): _storable(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_storable(one) for one in value]
    if isinstance(value, str):
        return value.replace("\0", "\\0")
    if isinstance(value, (float, Decimal)) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _exception(result: Any) -> str | None:
    """The message of the exception that an expectation raised, in one line; None if it raised none.

    Raises:
        Busy: the database became unavailable or cancelled the query, which says nothing about the data.
    """
    info = result.exception_info
    for raised in [info] if "raised_exception" in info else info.values():
        if raised["raised_exception"]:
            said = driver_errors.said_through_sqlalchemy(str(raised["exception_message"]))
            if "OperationalError" in raised["exception_traceback"]:
                raise Busy(f"the warehouse broke off an audit: {said}")
            return said
    return None
