"""The DAG of the month, run by real Airflow on a real Postgres: what lands, and what bad input gets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from psycopg2.extensions import cursor as Cursor
from rows import named

from highwater.environment import settings
from highwater.model import clock
from highwater.quality import suites
from highwater.store import warehouse
from simulation import sales

pytestmark = pytest.mark.usefixtures("empty_warehouse")
RunDag = Callable[[str, datetime], Any]
DAG = "historical_sales_migration"
NIGHT = datetime(2026, 10, 5, 2, tzinfo=UTC)


STAGES = ("validate_availability", "extract", "transform", "audit", "load", "summarise")
SUITE = json.loads((settings.ROOT / "expectations/daily_sales.json").read_text())["expectations"]


class Source:
    """The day at the source, to be changed by statements; it is made again at the end."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor

    def change(self, statement: str) -> int:
        """Run a statement and commit it; returns the rows it touched."""
        self.cursor.execute(statement)
        self.cursor.connection.commit()
        return int(self.cursor.rowcount)


@pytest.fixture
def source(simulator: Cursor) -> Iterator[Source]:
    yield Source(simulator)
    simulator.connection.rollback()
    simulator.execute("DROP TABLE IF EXISTS legacy.sales_20261005")
    simulator.execute("DELETE FROM legacy.closed_days WHERE business_date = '2026-10-05'")
    simulator.connection.commit()
    sales.advance(clock.now())


def failure(cursor: Cursor) -> tuple[str, str]:
    """Stage and error of the one attempt that failed."""
    cursor.execute("SELECT stage, error FROM ops.attempts WHERE state = 'failed'")
    ((stage, error),) = cursor.fetchall()
    return stage, error


def value(cursor: Cursor, query: str) -> Any:
    cursor.execute(query)
    return warehouse.fetch_value(cursor)


def test_a_night_lands_the_day_through_six_stages(airflow: RunDag, analyst: Cursor) -> None:
    run = airflow(DAG, NIGHT)
    assert str(run.state) == "success"
    analyst.execute("SELECT * FROM ops.window_ledger")
    row = warehouse.fetch(analyst)
    assert (row.window_range.lower, row.version) == (datetime(2026, 10, 5, tzinfo=UTC), 1)
    assert row.rows_quarantined == sales.refused(400)
    analyst.execute("SELECT stage, state, peak_memory_bytes FROM ops.attempts ORDER BY attempt_id")
    attempts = named(analyst)
    assert [(a.stage, a.state) for a in attempts] == [(stage, "succeeded") for stage in STAGES]
    assert all(a.peak_memory_bytes > 2**20 for a in attempts)
    analyst.execute("SELECT rows_extracted, attempts, seconds, rows_per_second FROM ops.processing_summary")
    summary = warehouse.fetch(analyst)
    assert (summary.rows_extracted, summary.attempts) == (400, 1)
    assert summary.seconds > 0
    assert abs(summary.rows_per_second - 400 / summary.seconds) < summary.rows_per_second / 10


def test_a_day_that_is_still_open_is_not_published_short(airflow: RunDag, analyst: Cursor, source: Source) -> None:
    source.change("UPDATE legacy.closed_days SET closed_at = '2026-11-09 06:30+00' WHERE business_date = '2026-10-05'")
    run = airflow(DAG, NIGHT)
    assert str(run.state) == "failed"
    stage, error = failure(analyst)
    assert stage == "validate_availability"
    assert "daily_sales 2026-10-05 is not complete at the source: the day closes at 2026-11-09 06:30:00 UTC" in error
    assert value(analyst, "SELECT count(*) FROM ops.window_ledger") == 0


def test_a_source_that_refuses_the_login_is_named(airflow: RunDag, analyst: Cursor, admin: Cursor) -> None:
    admin.execute("ALTER ROLE legacy_reader NOLOGIN")
    admin.connection.commit()
    try:
        airflow(DAG, NIGHT)
    finally:
        admin.execute("ALTER ROLE legacy_reader LOGIN")
        admin.connection.commit()
    stage, error = failure(analyst)
    assert stage == "validate_availability"
    assert error.startswith("source 'legacy' is unavailable") and "not permitted to log in" in error


def test_a_source_that_dies_in_the_middle_of_the_copy_leaves_nothing(
    airflow: RunDag, analyst: Cursor, source: Source
) -> None:
    """A row whose text cannot be converted ends the COPY on the source's side after rows have flowed."""
    source.change("ALTER TABLE legacy.sales_20261005 RENAME TO sales_20261005_rows")
    source.change("ALTER TABLE legacy.sales DETACH PARTITION legacy.sales_20261005_rows")
    source.change(
        "CREATE FUNCTION legacy.die(n bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN IF n % 16777216 = 333"
        " THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN n; END $$"
    )
    source.change("ALTER TABLE legacy.sales RENAME TO sales_parts")
    source.change(
        "CREATE VIEW legacy.sales AS SELECT business_date, legacy.die(sale_id) AS sale_id, receipt_no, store_code,"
        " till_no, product_code, quantity, unit_price, discount, currency, payment_method, customer_id, sold_at"
        " FROM legacy.sales_20261005_rows"
    )
    source.change("GRANT SELECT ON legacy.sales TO legacy_reader")
    try:
        airflow(DAG, NIGHT)
    finally:
        source.change("DROP VIEW legacy.sales")
        source.change("DROP FUNCTION legacy.die")
        source.change("ALTER TABLE legacy.sales_parts RENAME TO sales")
        source.change("DROP TABLE legacy.sales_20261005_rows")
    stage, error = failure(analyst)
    assert stage == "extract"
    assert error.startswith("source 'legacy' is unavailable")
    assert value(analyst, "SELECT count(*) FROM pg_tables WHERE schemaname = 'staging'") == 0
    assert value(analyst, "SELECT count(*) FROM ops.window_ledger") == 0


AUDIT, QUARANTINE, WARNING = "audit", "quarantine", "warning"
ONE = "WHERE business_date = '2026-10-05' AND sale_id % 16777216 = 100"
ALL = "WHERE business_date = '2026-10-05'"
BREAKS: list[tuple[str, str, str, str]] = [
    ("expect_table_columns_to_match_ordered_list", "", "extract", 'column "till_no" does not exist'),
    (
        "expect_table_row_count_to_equal",
        f"UPDATE legacy.closed_days SET row_count = row_count + 1 {ALL}",
        AUDIT,
        "saw 391",
    ),
    ("expect_column_values_to_not_be_null", f"UPDATE legacy.sales SET sale_id = NULL {ONE}", QUARANTINE, "null key"),
    (
        "expect_column_values_to_be_unique",
        f"INSERT INTO legacy.sales SELECT (jsonb_populate_record(s, jsonb_build_object('quantity', 11))).*"
        f" FROM legacy.sales AS s {ONE}; UPDATE legacy.closed_days SET row_count = row_count + 1 {ALL}",
        QUARANTINE,
        "copies of one sale differ",
    ),
    ("unexpected_rows_expectation", f"UPDATE legacy.sales SET store_code = NULL {ONE}", QUARANTINE, "value missing"),
    (
        "expect_column_values_to_be_between",
        f"UPDATE legacy.sales SET sold_at = '2026-10-06 00:00+00' {ONE}",
        QUARANTINE,
        "sold outside the day",
    ),
    ("expect_column_values_to_match_regex", f"UPDATE legacy.sales SET store_code = 'X1' {ONE}", AUDIT, '"X1"'),
    ("expect_column_values_to_be_between", f"UPDATE legacy.sales SET till_no = 99 {ONE}", AUDIT, "99"),
    ("expect_column_values_to_match_regex", f"UPDATE legacy.sales SET product_code = '7' {ONE}", AUDIT, '"7"'),
    ("expect_column_values_to_be_between", f"UPDATE legacy.sales SET quantity = 1000 {ONE}", AUDIT, "1000"),
    (
        "expect_column_values_to_be_between",
        f"UPDATE legacy.sales SET unit_price = 'NaN' {ONE}",
        QUARANTINE,
        "unit price not positive",
    ),
    (
        "expect_column_values_to_be_between",
        f"UPDATE legacy.sales SET discount = -1 {ONE}",
        QUARANTINE,
        "discount out of range",
    ),
    (
        "unexpected_rows_expectation",
        f"UPDATE legacy.sales SET discount = quantity * unit_price + 1 {ONE}",
        QUARANTINE,
        "discount out of range",
    ),
    ("unexpected_rows_expectation", "", AUDIT, "revenue"),
    ("expect_column_values_to_be_in_set", f"UPDATE legacy.sales SET currency = 'ZZZ' {ONE}", QUARANTINE, "currency"),
    ("expect_column_values_to_be_in_set", f"UPDATE legacy.sales SET payment_method = 'barter' {ONE}", AUDIT, "barter"),
    ("expect_column_values_to_match_regex", f"UPDATE legacy.sales SET receipt_no = '?' {ONE}", AUDIT, '"?"'),
    (
        "expect_column_proportion_of_non_null_values_to_be_between",
        f"UPDATE legacy.sales SET customer_id = NULL {ALL}",
        WARNING,
        "0.0",
    ),
    ("expect_column_mean_to_be_between", f"UPDATE legacy.sales SET unit_price = 9999 {ALL}", WARNING, ""),
]
"""For each expectation of the suite, in its order: a change of the day at the source that breaks it, who catches it and
what is said. Rows that can be judged alone are refused on the way, with a reason; the audit stops the others."""


def test_every_expectation_has_a_change_that_breaks_it() -> None:
    assert [broken for broken, *_ in BREAKS] == [expectation["type"] for expectation in SUITE]


@pytest.mark.parametrize(
    ("expectation", "statement", "caught_by", "said"),
    [pytest.param(*case, id=f"{number}-{case[0]}") for number, case in enumerate(BREAKS, 1) if case[1]],
)
def test_a_change_of_the_source_that_breaks_an_expectation_is_caught(
    airflow: RunDag, analyst: Cursor, source: Source, expectation: str, statement: str, caught_by: str, said: str
) -> None:
    source.cursor.execute(f"SELECT receipt_no FROM legacy.sales {ONE}")
    receipt = warehouse.fetch_value(source.cursor)
    assert source.change(statement) > 0
    run = airflow(DAG, NIGHT)
    if caught_by == AUDIT:
        stage, error = failure(analyst)
        assert stage == "audit"
        assert f"failed: {expectation}" in error and said in error and "SELECT" in error
        assert value(analyst, "SELECT count(*) FROM ops.window_ledger") == 0
        assert value(analyst, "SELECT count(*) FROM sales.daily_sales") == 0
        assert value(analyst, "SELECT count(*) FROM ops.validation_results WHERE verdict = 'failed'") == 1
    elif caught_by == QUARANTINE:
        assert str(run.state) == "success"
        refused = "SELECT reason FROM quarantine.rejected_rows WHERE source_row ->> 'receipt_no' = '{}' LIMIT 1"
        assert said in value(analyst, refused.format(receipt))
        assert value(analyst, f"SELECT count(*) FROM sales.daily_sales WHERE receipt_no = '{receipt}'") == 0
    else:
        assert str(run.state) == "success"
        analyst.execute("SELECT expectation, observed::text FROM ops.validation_results WHERE verdict = 'warning'")
        ((warned, observed),) = analyst.fetchall()
        assert (warned, said in observed) == (expectation, True)
        assert value(analyst, "SELECT count(*) FROM ops.window_ledger") == 1


def test_a_renamed_column_at_the_source_is_refused_before_anything_moves(
    airflow: RunDag, analyst: Cursor, source: Source
) -> None:
    source.change("ALTER TABLE legacy.sales RENAME COLUMN till_no TO till")
    try:
        airflow(DAG, NIGHT)
    finally:
        source.change("ALTER TABLE legacy.sales RENAME COLUMN till TO till_no")
    stage, error = failure(analyst)
    assert stage == "validate_availability"
    assert error.startswith('sql/historical_sales_migration/extract.sql, line 7 is refused: column "till_no"')
    assert value(analyst, "SELECT count(*) FROM pg_tables WHERE schemaname = 'staging'") == 0


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of ``sql/`` that a test may spoil."""
    copy = Path(shutil.copytree(warehouse.SQL, tmp_path / "sql"))
    monkeypatch.setattr(warehouse, "SQL", copy)
    return copy / DAG


def test_a_wrong_sum_in_our_own_statement_is_stopped_by_the_audit(
    airflow: RunDag, analyst: Cursor, statements: Path
) -> None:
    clean = statements / "clean.sql"
    text = clean.read_text()
    assert "r.unit_price - r.discount" in text
    clean.write_text(text.replace("r.unit_price - r.discount", "r.unit_price - r.discount / 2"))
    airflow(DAG, NIGHT)
    stage, error = failure(analyst)
    assert (stage, "revenue <> quantity * unit_price - discount" in error) == ("audit", True)
    assert value(analyst, "SELECT count(*) FROM ops.window_ledger") == 0


def test_a_statement_that_drops_rows_uncounted_cannot_publish(
    airflow: RunDag, analyst: Cursor, statements: Path
) -> None:
    """The warehouse counts for itself what becomes of each row."""
    clean = statements / "clean.sql"
    text = clean.read_text()
    assert text.endswith("FROM copies AS c;\n")
    clean.write_text(text.replace("FROM copies AS c;", "FROM copies AS c WHERE c.till_no IS DISTINCT FROM 3;"))
    airflow(DAG, NIGHT)
    stage, error = failure(analyst)
    assert (stage, "400 rows were extracted, but clean.sql returned" in error) == ("transform", True)
    assert value(analyst, "SELECT count(*) FROM ops.window_ledger") == 0


def test_a_missing_statement_is_refused_at_once_with_those_there_are(
    airflow: RunDag, analyst: Cursor, statements: Path
) -> None:
    (statements / "clean.sql").unlink()
    airflow(DAG, NIGHT)
    stage, error = failure(analyst)
    assert stage == "validate_availability"
    assert error == (f"SQL file sql/{DAG}/clean.sql is missing: sql/{DAG} has availability.sql, extract.sql")


def test_a_misspelled_expectation_is_refused_before_anything_moves(
    airflow: RunDag, analyst: Cursor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (settings.ROOT / "expectations/daily_sales.json").read_text()
    (tmp_path / "daily_sales.json").write_text(text.replace("values_to_be_unique", "values_to_be_uniqe"))
    monkeypatch.setattr(suites, "FOLDER", tmp_path)
    airflow(DAG, NIGHT)
    stage, error = failure(analyst)
    assert stage == "validate_availability"
    assert "expect_column_values_to_be_uniqe" in error and "expect_column_values_to_be_unique" in error


def test_a_failed_reload_leaves_the_former_version_readable(airflow: RunDag, analyst: Cursor, source: Source) -> None:
    airflow(DAG, NIGHT)
    former = value(analyst, "SELECT content_hash FROM ops.window_ledger")
    source.change(f"UPDATE legacy.sales SET payment_method = 'barter' {ONE}")
    airflow(DAG, NIGHT)
    analyst.connection.rollback()
    assert value(analyst, "SELECT content_hash FROM ops.table_content('sales.daily_sales')") == former
    analyst.execute("SELECT state, reason FROM ops.window_status WHERE window_start = '2026-10-05'")
    state, reason = warehouse.fetch(analyst)
    assert state == "landed"
    assert reason.startswith("version 1 is kept; the latest reload failed in audit")


def test_what_a_failed_audit_left_in_staging_goes_when_the_day_lands(
    airflow: RunDag, analyst: Cursor, source: Source
) -> None:
    source.change(f"UPDATE legacy.sales SET payment_method = 'barter' {ONE}")
    airflow(DAG, NIGHT)
    assert value(analyst, "SELECT count(*) FROM ops.staging_sets") == 1
    source.change(f"UPDATE legacy.sales SET payment_method = 'cash' {ONE}")
    analyst.connection.rollback()
    airflow(DAG, NIGHT)
    assert value(analyst, "SELECT count(*) FROM pg_tables WHERE schemaname = 'staging'") == 0
