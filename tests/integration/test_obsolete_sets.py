"""Which sets in staging the summary of a window drops: those that no run is at work on any more."""

from __future__ import annotations

import loading
import pytest
from psycopg2.extensions import cursor as Cursor

from highwater.loading import staging
from highwater.model.errors import DataRejected, SourceIncomplete
from highwater.store import ledger, warehouse

pytestmark = pytest.mark.usefixtures("empty_warehouse")
DAY = loading.day("2026-10-05")


def attempt(run: str, stage: str, failure: Exception | None = None) -> None:
    """An attempt of a run at a stage that ended well, or with a failure after which Airflow tries again."""
    trying = ledger.Run("historical_sales_migration", f"run {run}", last_try=False)
    try:
        with ledger.attempt(loading.DATASET, DAY, stage, trying):
            if failure:
                raise failure
    except type(failure or SourceIncomplete()):
        pass


def left_after_the_summary_of(run: str) -> int:
    """How many sets are in staging once that run has cleared up."""
    with warehouse.session("loader") as cursor:
        staging.drop_obsolete(cursor, loading.DATASET, DAY, loading.run(run))
        cursor.execute("SELECT count(*) FROM ops.staging_sets")
        return int(warehouse.fetch_value(cursor))


def test_a_try_that_failed_before_its_run_went_on_to_the_end_keeps_nothing() -> None:
    loading.stage(DAY)
    attempt("a", "extract", SourceIncomplete("not yet"))
    for stage in ("extract", "summarise"):
        attempt("a", stage)
    attempt("b", "summarise")
    assert left_after_the_summary_of("b") == 0


@pytest.mark.parametrize(("stage", "failure"), [("extract", SourceIncomplete("not yet")), ("transform", None)])
def test_a_run_that_is_to_go_on_keeps_its_set(stage: str, failure: Exception | None) -> None:
    loading.stage(DAY)
    attempt("a", stage, failure)
    assert left_after_the_summary_of("b") == 1


def test_a_run_that_failed_for_good_keeps_nothing() -> None:
    loading.stage(DAY)
    attempt("a", "audit", DataRejected("it does not hold"))
    assert left_after_the_summary_of("b") == 0


def test_a_run_that_stopped_half_way_more_than_a_day_ago_keeps_nothing(admin: Cursor) -> None:
    loading.stage(DAY)
    attempt("a", "transform")
    admin.execute("UPDATE ops.attempts SET started_at = started_at - interval '25 hours'")
    admin.connection.commit()
    assert left_after_the_summary_of("b") == 0


def test_an_orphan_of_the_same_run_that_still_works_keeps_its_set() -> None:
    loading.stage(DAY)
    with ledger.attempt(loading.DATASET, DAY, "transform", loading.run("b")):
        assert left_after_the_summary_of("b") == 1
    assert left_after_the_summary_of("b") == 0
