"""Audits of values and types that are not everyday ones, and rules that look at some of the rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from psycopg2.extensions import cursor as Cursor
from rows import named

from highwater.model.errors import ConfigurationError
from highwater.model.windows import Window
from highwater.quality import audits, suites
from highwater.quality.audits import Finding
from highwater.store import ledger, warehouse
from highwater.store.ledger import Run

DAY = Window(datetime(2026, 10, 24, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC))
TABLE = "test_quality_values"
BETWEEN = {"min_value": 0, "max_value": 5}
CONDITION = {"row_condition": 'col("kind")=="on"', "condition_parser": "great_expectations"}
OBJECT = {"row_condition": {"type": "comparison", "column": {"name": "kind"}, "operator": "==", "parameter": "on"}}
AGGREGATES = ("mean", "median", "min", "max", "sum", "stdev")


@pytest.fixture
def rules(platform: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """Writes a suite of its own from types and kwargs; returns its name."""
    monkeypatch.setattr(suites, "FOLDER", tmp_path)

    def write(*rules: tuple[str, dict[str, Any]], severity: str = "warning") -> str:
        found = [{"type": f"expect_{kind}", "kwargs": kwargs, "severity": severity} for kind, kwargs in rules]
        listed = [rule | {"description": f"rule {n}"} for n, rule in enumerate(found)]
        (tmp_path / "own.json").write_text(json.dumps({"name": "own", "expectations": listed}))
        return "own"

    return write


@pytest.fixture
def table(platform: object) -> Iterator[Callable[[str], None]]:
    """Makes the audited table from a query."""

    def make(query: str) -> None:
        with warehouse.session("postgres") as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS staging.{TABLE}")
            cursor.execute(f"CREATE TABLE staging.{TABLE} AS {query}")
            cursor.execute(f"GRANT SELECT ON staging.{TABLE} TO loader, analyst")

    yield make
    with warehouse.session("postgres") as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS staging.{TABLE}")


def audited(suite: str) -> tuple[Finding, ...]:
    """The findings of an audit, once they are stored."""
    report = audits.audit(suite, "staging", TABLE, {})
    run = Run("d", "values", 1)
    with ledger.attempt("daily_sales", DAY, "audit", run), warehouse.session("loader") as cursor:
        assert audits.store(cursor, report, dataset="daily_sales", window=DAY, run=run)
    return report.results


@pytest.mark.parametrize("severity", ["warning", "critical"])
@pytest.mark.parametrize("kind", ["numeric", "double precision", "real"])
@pytest.mark.parametrize("value", ["Infinity", "-Infinity", "NaN"])
def test_what_is_no_number_in_json_is_a_finding_that_can_be_stored(
    rules: Callable[..., str], table: Callable[[str], None], value: str, kind: str, severity: str
) -> None:
    table(f"SELECT (CASE n WHEN 3 THEN '{value}' ELSE n::text END)::{kind} AS num FROM generate_series(1, 5) AS n")
    given = [(f"column_{of}_to_be_between", {"column": "num"} | BETWEEN) for of in ("values", *AGGREGATES)]
    found = audited(rules(*given, severity=severity))
    assert found[0].observed == [value]
    assert {finding.verdict for finding in found} <= {"passed", "failed" if severity == "critical" else "warning"}
    assert found[1].observed == (audits.NOTHING if value == "NaN" else value)
    with warehouse.session("analyst") as cursor:
        cursor.execute(
            "SELECT observed FROM ops.validation_results WHERE run_id = 'values' AND rule_number = 1"
            " ORDER BY validation_id DESC LIMIT 1"
        )
        assert warehouse.fetch_value(cursor) == [value]


@pytest.mark.parametrize("rows", ["WHERE false", ""])
def test_a_measure_of_no_value_breaks_its_rule_and_says_so(
    rules: Callable[..., str], table: Callable[[str], None], rows: str
) -> None:
    table(f"SELECT NULL::numeric AS num {rows}")
    found = audited(rules(*[(f"column_{of}_to_be_between", {"column": "num"} | BETWEEN) for of in AGGREGATES]))
    assert [(finding.verdict, finding.observed) for finding in found] == [("warning", audits.NOTHING)] * len(found)


def test_a_value_that_python_cannot_hold_is_a_finding(rules: Callable[..., str], table: Callable[[str], None]) -> None:
    table("SELECT '0044-03-15 00:00+00 BC'::timestamptz AS at")
    (found,) = audited(rules(("column_values_to_be_between", {"column": "at", "min_value": "2020-01-01T00:00:00Z"})))
    assert found.verdict == "warning"
    assert "cannot be shown" in found.observed


def test_columns_of_types_that_sqlalchemy_does_not_know_fail_no_rule(
    rules: Callable[..., str], table: Callable[[str], None]
) -> None:
    table(
        "SELECT n AS id, NULL::xml AS x, '[(0,0),(1,1)]'::path AS p, point(1, 2) AS q, n::text::xid8 AS i,"
        " '0/1'::pg_lsn AS l, ARRAY[NULL::xml] AS xs, 'a'::\"char\" AS c, B'01' AS b, '1'::bit(3) AS b3,"
        " ARRAY[point(1, 2)] AS ps, 'today'::information_schema.time_stamp AS d FROM generate_series(1, 3) AS n"
    )
    found = audited(
        rules(
            ("column_values_to_not_be_null", {"column": "id"}),
            ("column_values_to_not_be_null", {"column": "x"}),
            ("column_values_to_be_unique", {"column": "i"}),
            ("column_values_to_be_unique", {"column": "l"}),
            ("column_values_to_be_between", {"column": "id", "max_value": 2}),
        )
    )
    assert [finding.verdict for finding in found] == ["passed", "warning", "passed", "warning", "warning"]


@pytest.mark.parametrize("condition", [CONDITION, OBJECT])
@pytest.mark.parametrize(
    ("kind", "kwargs", "listed"),
    [
        ("column_values_to_not_be_null", {"column": "num"}, 3),
        ("column_values_to_be_unique", {"column": "name"}, 2),
        ("compound_columns_to_be_unique", {"column_list": ["name", "day"]}, 2),
        ("column_values_to_match_regex", {"column": "name", "regex": "^q%"}, 3),
        ("column_max_to_be_between", {"column": "day", "max_value": "2020-01-01"}, 3),
        ("column_pair_values_to_be_equal", {"column_A": "name", "column_B": "kind"}, 3),
    ],
)
def test_the_query_lists_only_rows_that_the_rule_looks_at(
    rules: Callable[..., str],
    table: Callable[[str], None],
    analyst: Cursor,
    kind: str,
    kwargs: dict[str, Any],
    listed: int,
    condition: dict[str, Any],
) -> None:
    table(
        "SELECT n AS id, NULL::integer AS num, 'a' || n % 2 AS name, date '2026-01-01' AS day,"
        " CASE WHEN n < 4 THEN 'on' ELSE 'off' END AS kind FROM generate_series(1, 6) AS n"
    )
    (found,) = audited(rules((kind, kwargs | condition)))
    analyst.execute(str(found.rows_query))
    rows = named(analyst)
    assert (len(rows), {row.kind for row in rows}) == (listed, {"on"})


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ({"row_condition": "\"kind\" = 'on'"}, "the condition_parser of a text must be 'great_expectations'"),
        (CONDITION | {"row_condition": "kind = 'on'"}, "\"kind = 'on'\" cannot be parsed from character"),
        (CONDITION | {"row_condition": 'col("kind")=="on" and col("num")>1'}, "cannot be parsed from character 19 on"),
        (CONDITION | {"row_condition": 'col("kindd")=="on"'}, "'kindd' is unknown: did you mean kind?"),
        ({"row_condition": {"type": "sometimes"}}, "Unable to determine Condition type"),
    ],
)
def test_a_condition_that_cannot_be_read_is_found_before_anything_moves(
    rules: Callable[..., str], condition: dict[str, Any], said: str
) -> None:
    suite = rules(("column_values_to_not_be_null", {"column": "num"} | condition))
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        audits.check_suite(suite, ["num", "kind"], {})
