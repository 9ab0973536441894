"""The audit on a real Postgres: each rule of the suite catches its own fault and lists the rows at fault."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from rows import named
from waiting import wait_until

from highwater.model.errors import Busy, ConfigurationError
from highwater.model.windows import Window
from highwater.quality import audits, suites
from highwater.store import ledger, warehouse
from highwater.store.ledger import Run

DAY = Window(datetime(2026, 10, 24, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC))
ROWS = 200
PARAMETERS = {"window_start": DAY.start, "window_end": DAY.end, "expected_rows": ROWS}
GOOD = "test_quality_good"
BROKEN = "test_quality_broken"


@dataclass(frozen=True)
class Fault:
    """A statement on the table ``t`` that breaks one rule, and the sales that the rule's query must list."""

    statement: str
    listed: Set[int | None] | None = frozenset({7})
    verdict: str = "failed"


# By the place of the rule in expectations/daily_sales.json.
FAULTS = {
    1: Fault("ALTER TABLE {t} ADD COLUMN surprise text", None),
    2: Fault("DELETE FROM {t} WHERE sale_id = 7", None),
    3: Fault("UPDATE {t} SET sale_id = NULL WHERE sale_id = 7", {None}),
    4: Fault("UPDATE {t} SET sale_id = 8 WHERE sale_id = 7", {8}),
    5: Fault("UPDATE {t} SET currency = NULL WHERE sale_id = 7"),
    6: Fault("UPDATE {t} SET sold_at = '2026-10-25' WHERE sale_id = 7"),
    7: Fault("UPDATE {t} SET store_code = 's01%' WHERE sale_id = 7"),
    8: Fault("UPDATE {t} SET till_no = 21 WHERE sale_id = 7"),
    9: Fault("UPDATE {t} SET product_code = 'P1' WHERE sale_id = 7"),
    10: Fault("UPDATE {t} SET quantity = 0, discount = 0, revenue = 0 WHERE sale_id = 7"),
    11: Fault("UPDATE {t} SET unit_price = 0, discount = 0, revenue = 0 WHERE sale_id = 7"),
    12: Fault("UPDATE {t} SET discount = -1, revenue = quantity * unit_price + 1 WHERE sale_id = 7"),
    13: Fault("UPDATE {t} SET discount = quantity * unit_price + 1, revenue = -1 WHERE sale_id = 7"),
    14: Fault("UPDATE {t} SET revenue = revenue + 0.01 WHERE sale_id = 7"),
    15: Fault("UPDATE {t} SET currency = 'XXX' WHERE sale_id = 7"),
    16: Fault("UPDATE {t} SET payment_method = 'Card' WHERE sale_id = 7"),
    17: Fault("UPDATE {t} SET receipt_no = 'S001' WHERE sale_id = 7"),
    18: Fault("UPDATE {t} SET customer_id = NULL WHERE sale_id > 50", set(range(51, ROWS + 1)), "warning"),
    19: Fault("UPDATE {t} SET unit_price = 900, revenue = 900 * quantity - discount", None, "warning"),
}


@pytest.fixture(scope="module")
def good(platform: Path) -> Iterator[str]:
    """A table in staging that the suite has nothing to say against, with a sale at the first moment of the day."""
    with warehouse.session("postgres") as cursor:
        cursor.execute(
            sql.SQL(
                """
                CREATE TABLE staging.{} AS
                SELECT
                    k AS sale_id, '2026-10-24'::timestamptz + (k - 1) * interval '1 minute' AS sold_at,
                    'S001' AS store_code, 3::smallint AS till_no, 'P00042' AS product_code, 2 AS quantity,
                    9.99::numeric(10, 2) AS unit_price, 0.98::numeric(10, 2) AS discount,
                    19.00::numeric(12, 2) AS revenue, 'EUR' AS currency, 'card' AS payment_method,
                    k AS customer_id, 'S001-3-' || k AS receipt_no
                FROM generate_series(1::bigint, {}) AS numbers (k)
                """
            ).format(sql.Identifier(GOOD), sql.Literal(ROWS))
        )
        cursor.execute(sql.SQL("GRANT SELECT ON staging.{} TO loader, analyst").format(sql.Identifier(GOOD)))
    yield GOOD
    with warehouse.session("postgres") as cursor:
        cursor.execute(sql.SQL("DROP TABLE staging.{}").format(sql.Identifier(GOOD)))


def broken_by(statement: str) -> audits.AuditReport:
    """The audit of a copy of the good table on which the statement was run; the copy stays until the next one."""
    with warehouse.session("postgres") as cursor:
        name = sql.Identifier(BROKEN)
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS staging.{}").format(name))
        cursor.execute(sql.SQL("CREATE TABLE staging.{} AS TABLE staging.{}").format(name, sql.Identifier(GOOD)))
        cursor.execute(statement.format(t=f"staging.{BROKEN}"))
        cursor.execute(sql.SQL("GRANT SELECT ON staging.{} TO loader, analyst").format(name))
    return audits.audit("daily_sales", "staging", BROKEN, PARAMETERS)


def test_a_good_table_passes_every_rule(good: str) -> None:
    report = audits.audit("daily_sales", "staging", good, PARAMETERS)
    assert report.success
    assert [finding.verdict for finding in report.results] == ["passed"] * len(FAULTS)
    assert report.sentence() == f"audit daily_sales of staging.{good} passed, 19 of 19 expectations hold"


def test_a_day_without_sales_breaks_no_critical_rule(good: str) -> None:
    broken_by("DELETE FROM {t}")
    report = audits.audit("daily_sales", "staging", BROKEN, PARAMETERS | {"expected_rows": 0})
    assert report.success, report.sentence()


def test_every_rule_of_the_suite_has_its_fault() -> None:
    document = json.loads((suites.FOLDER / "daily_sales.json").read_text())
    assert set(FAULTS) == set(range(1, len(document["expectations"]) + 1))


@pytest.mark.parametrize("number", FAULTS)
def test_a_fault_is_caught_by_its_rule_alone_and_its_rows_are_listed(good: str, analyst: Cursor, number: int) -> None:
    fault = FAULTS[number]
    report = broken_by(fault.statement)
    broken = [finding for finding in report.results if finding.verdict != "passed"]
    assert [(finding.rule_number, finding.verdict) for finding in broken] == [(number, fault.verdict)]
    (finding,) = broken
    assert report.success == (fault.verdict == "warning")
    assert finding.rows_query is not None
    assert finding.rows_query in report.sentence()
    assert finding.expectation in report.sentence()
    assert "\n" not in report.sentence()
    analyst.execute(finding.rows_query)
    rows = named(analyst)
    assert rows, f"{finding.rows_query} lists nothing"
    if fault.listed is not None:
        assert {row.sale_id for row in rows} == fault.listed
        assert finding.unexpected_count in (None, len(rows))


def test_what_was_seen_is_reported(good: str) -> None:
    seen = {number: broken_by(FAULTS[number].statement).results[number - 1] for number in (2, 7, 14)}
    assert seen[2].observed == ROWS - 1
    assert (seen[7].observed, seen[7].unexpected_count) == (["s01%"], 1)
    assert (seen[14].observed, seen[14].unexpected_count) == (1, 1)


def test_a_query_survives_percent_signs_and_datetimes(good: str, analyst: Cursor) -> None:
    report = broken_by("UPDATE {t} SET sold_at = sold_at - interval '1 day' WHERE sale_id IN (1, 2)")
    query = report.results[5].rows_query
    assert query is not None
    assert "sold_at >= '2026-10-24T00:00:00+00:00' AND sold_at < '2026-10-25T00:00:00+00:00'" in query
    analyst.execute(query)
    assert len(analyst.fetchall()) == 2


def test_a_report_is_stored_whole(good: str, loader: Cursor) -> None:
    report = broken_by(FAULTS[15].statement)
    with ledger.attempt("daily_sales", DAY, "audit", Run("dag", "manual__1", 2)):
        stored = audits.store(loader, report, dataset="daily_sales", window=DAY, run=Run("dag", "manual__1", 2))
    assert stored == len(FAULTS)
    loader.execute(
        "SELECT * FROM ops.validation_results WHERE run_id = 'manual__1' AND verdict <> 'passed' ORDER BY rule_number"
    )
    (row,) = named(loader)
    assert (row.dataset, row.try_number, row.suite, row.column_name) == ("daily_sales", 2, "daily_sales", "currency")
    assert (row.window_range.lower, row.window_range.upper, row.window_range.upper_inc) == (DAY.start, DAY.end, False)
    assert (row.observed, row.unexpected_count, row.severity) == (["XXX"], 1, "critical")
    assert row.rows_query == report.results[14].rows_query
    assert row.details["element_count"] == ROWS


@pytest.fixture
def suite_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of suites in place of the real one."""
    folder = tmp_path / "expectations"
    folder.mkdir()
    monkeypatch.setattr(suites, "FOLDER", folder)
    return folder


def write_suite(folder: Path, *expectations: Mapping[str, object]) -> None:
    (folder / "small.json").write_text(
        json.dumps({"name": "small", "expectations": [{"description": "why", **rule} for rule in expectations]})
    )


def test_an_expectation_that_cannot_be_evaluated_is_an_error_and_no_verdict_on_the_data(
    good: str, suite_folder: Path
) -> None:
    regex = {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "store_code", "regex": "S[0-"}}
    fine = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "store_code"}}
    write_suite(suite_folder, regex, fine)
    report = audits.audit("small", "staging", good, {})
    assert [finding.verdict for finding in report.results] == ["error", "passed"]
    assert not report.success
    assert "invalid regular expression" in report.sentence()


KINDS: dict[str, dict[str, object]] = {
    "expect_compound_columns_to_be_unique": {"column_list": ["store_code", "currency"]},
    "expect_multicolumn_sum_to_equal": {"column_list": ["quantity", "till_no"], "sum_total": 4},
    "expect_column_pair_values_a_to_be_greater_than_b": {"column_A": "quantity", "column_B": "till_no"},
    "expect_column_values_to_not_be_in_set": {"column": "store_code", "value_set": ["S001"]},
    "expect_column_values_to_match_like_pattern": {"column": "store_code", "like_pattern": "X%"},
    "expect_column_max_to_be_between": {"column": "quantity", "max_value": 1},
    "expect_table_column_count_to_equal": {"value": 3},
}


def test_kinds_of_expectations_that_other_suites_will_use_list_their_rows_too(
    good: str, suite_folder: Path, analyst: Cursor
) -> None:
    write_suite(suite_folder, *({"type": kind, "kwargs": kwargs} for kind, kwargs in KINDS.items()))
    report = audits.audit("small", "staging", good, {})
    assert [(finding.expectation, finding.verdict) for finding in report.results] == [
        (kind, "failed") for kind in KINDS
    ]
    for finding in report.results:
        assert finding.rows_query is not None
        analyst.execute(finding.rows_query)
        assert analyst.rowcount > 0
        assert finding.unexpected_count in (None, analyst.rowcount), finding.rows_query


def test_a_misspelled_column_in_the_suites_own_sql_is_refused(good: str, suite_folder: Path) -> None:
    query = "SELECT * FROM {batch} WHERE revenu < 0"
    write_suite(suite_folder, {"type": "unexpected_rows_expectation", "kwargs": {"unexpected_rows_query": query}})
    with pytest.raises(ConfigurationError, match=r'small\.json.*"revenu" does not exist.*revenue'):
        audits.audit("small", "staging", good, {})


def test_a_table_that_is_not_there_is_refused(platform: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"staging\.nowhere does not exist"):
        audits.audit("daily_sales", "staging", "nowhere", PARAMETERS)


def test_a_database_that_gives_up_is_no_verdict_on_the_data(
    good: str, suite_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = "SELECT * FROM {batch} WHERE pg_sleep(1) IS NULL"
    write_suite(suite_folder, {"type": "unexpected_rows_expectation", "kwargs": {"unexpected_rows_query": slow}})
    real = warehouse.connect
    monkeypatch.setattr(warehouse, "connect", lambda role, database=None: _impatient(real(role, database)))
    with pytest.raises(Busy, match=r"broke off an audit: a statement exceeded its time limit \(statement timeout\)$"):
        audits.audit("small", "staging", good, {})


def _impatient(link: Connection) -> Connection:
    with link.cursor() as cursor:
        cursor.execute("SET statement_timeout = '100ms'")
    link.commit()
    return link


def test_an_audit_leaves_no_connection_behind(good: str, admin: Cursor) -> None:
    audits.audit("daily_sales", "staging", good, PARAMETERS)

    def gone() -> bool:
        admin.connection.rollback()  # a transaction sees the sessions of its first look
        admin.execute("SELECT FROM pg_stat_activity WHERE application_name = 'highwater loader'")
        return admin.fetchone() is None

    # The server takes a moment to notice that a client has hung up.
    wait_until("every session of the loader has ended", gone, seconds=30)
