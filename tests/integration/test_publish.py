"""Publishing a window: the data and the ledger row together, once, by the function alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import pytest
from loading import DATASET, OTHER_QUANTITY, day, land, landed, partition, run, stage
from psycopg2 import errors
from psycopg2.extensions import cursor as Cursor
from rows import named
from waiting import wait_until

from highwater.loading import stages, staging
from highwater.loading.stages import Pipeline
from highwater.model.errors import DataRejected
from highwater.model.windows import Window
from highwater.store import ledger, publish, warehouse
from highwater.store.publish import Landed
from simulation import sales

pytestmark = pytest.mark.usefixtures("empty_warehouse")
DAY = day("2026-10-05")
PIPELINE = Pipeline(DATASET, "", "", "")
Change = Callable[[str], int]


def count(cursor: Cursor, table: str) -> int:
    cursor.execute(f"SELECT count(*) FROM {table}")
    return int(warehouse.fetch_value(cursor))


def staged_tables(cursor: Cursor) -> int:
    cursor.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'staging'::regnamespace AND relkind = 'r'")
    return int(warehouse.fetch_value(cursor))


def test_every_row_of_the_source_is_published_quarantined_or_counted_as_a_copy(analyst: Cursor) -> None:
    land(DAY)
    analyst.execute("SELECT * FROM ops.window_ledger")
    row = warehouse.fetch(analyst)
    planted = sales.planted(400)
    assert (row.rows_extracted, row.rows_deduplicated) == (400, planted["duplicate"])
    assert row.rows_quarantined == sales.refused(400) == count(analyst, "quarantine.rejected_rows") > 0
    assert (
        row.rows_published == count(analyst, "sales.daily_sales") == 400 - row.rows_quarantined - planted["duplicate"]
    )


def test_nothing_is_left_in_staging(analyst: Cursor) -> None:
    land(DAY)
    assert staged_tables(analyst) == 0


def test_loading_a_day_three_times_keeps_one_row_at_version_three_with_the_same_hash(analyst: Cursor) -> None:
    hashes = {land(DAY, by=str(n)).content_hash for n in range(3)}
    assert landed(analyst) == [("2026-10-05", 3, hashes.pop())]
    assert not hashes


def test_a_reload_replaces_what_changed_and_the_quarantine_with_it(analyst: Cursor, source_day: Change) -> None:
    before = land(DAY)
    assert source_day("DELETE FROM legacy.sales WHERE business_date = '2026-10-05' AND quantity < 0") > 0
    assert source_day(OTHER_QUANTITY) > 0
    after = land(DAY, by="b")
    assert (after.version, after.rows_published) == (2, before.rows_published)
    assert after.content_hash != before.content_hash
    analyst.execute("SELECT count(*) FROM quarantine.rejected_rows WHERE reason = 'quantity not positive'")
    assert warehouse.fetch_value(analyst) == 0
    assert count(analyst, "sales.daily_sales") == after.rows_published


def test_the_hash_is_of_the_content_and_not_of_the_order(loader: Cursor) -> None:
    loader.execute("CREATE TEMPORARY TABLE up AS SELECT n, n::text AS t FROM generate_series(1, 50) AS n")
    loader.execute("CREATE TEMPORARY TABLE down AS SELECT * FROM up ORDER BY n DESC")
    loader.execute("CREATE TEMPORARY TABLE other AS SELECT n, CASE n WHEN 7 THEN '8' ELSE t END AS t FROM up")
    hashes = {}
    for table in ("up", "down", "other"):
        loader.execute("SELECT content_hash FROM ops.table_content(%s)", (table,))
        hashes[table] = warehouse.fetch_value(loader)
    assert hashes["up"] == hashes["down"] != hashes["other"]


def test_a_second_try_of_the_same_load_finds_it_done(analyst: Cursor) -> None:
    staged = stage(DAY)
    first = publish.publish_window(DATASET, DAY, staged, run())
    again = publish.publish_window(DATASET, DAY, staged, run())
    assert (first.outcome, again) == ("published", replace(first, outcome="already landed"))


def test_a_stale_attempt_with_the_same_content_changes_nothing(analyst: Cursor) -> None:
    one, other = stage(DAY), stage(DAY)
    publish.publish_window(DATASET, DAY, one, run("one"))
    late = publish.publish_window(DATASET, DAY, other, run("other"))
    assert (late.outcome, late.version) == ("unchanged", 1)
    assert staged_tables(analyst) == 0


def test_the_slower_of_two_runs_that_load_the_same_ends_well(analyst: Cursor) -> None:
    slow = stage(DAY)
    land(DAY, "fast")
    assert stages.publish_set(PIPELINE, DAY, slow, run("slow")).outcome == "unchanged"
    analyst.execute("SELECT run_id FROM ops.window_ledger UNION ALL SELECT run_id FROM ops.processing_summary")
    assert [tuple(row) for row in analyst.fetchall()] == [("run fast",)]


def test_a_run_whose_version_was_replaced_before_it_was_summed_up_ends_well(
    analyst: Cursor, source_day: Change
) -> None:
    first = land(DAY, "first")
    source_day(OTHER_QUANTITY)
    stages.publish_set(PIPELINE, DAY, stage(DAY), run("second"))
    with ledger.attempt(DATASET, DAY, "summarise", run("first")) as attempt:
        stages.summarise(PIPELINE, attempt, first)
    analyst.execute("SELECT run_id, version FROM ops.processing_summary")
    assert [tuple(row) for row in analyst.fetchall()] == [("run second", 2)]


def test_a_stale_attempt_with_other_content_is_refused(analyst: Cursor, source_day: Change) -> None:
    old = stage(DAY)
    source_day(OTHER_QUANTITY)
    new = land(DAY, by="new")
    with pytest.raises(
        DataRejected, match=r"stale attempt: daily_sales .* was at version 0 .* run run new has published"
    ):
        publish.publish_window(DATASET, DAY, old, run("old"))
    assert landed(analyst) == [("2026-10-05", 1, new.content_hash)]


def test_what_the_ledger_says_of_a_partition_that_is_gone_passes_no_work_over() -> None:
    """Neither a second try of the same load nor a stale one with the same content counts as done."""
    same, stale = stage(DAY), stage(DAY)
    publish.publish_window(DATASET, DAY, same, run())
    with warehouse.session("postgres") as cursor:
        cursor.execute(f"DROP TABLE {partition(DATASET, DAY)}")
    with pytest.raises(DataRejected, match=r"landed from staging set .*, but .* no longer holds it"):
        publish.publish_window(DATASET, DAY, same, run())
    with pytest.raises(DataRejected, match="stale attempt"):
        publish.publish_window(DATASET, DAY, stale, run("b"))
    assert land(DAY).outcome == "published"
    with warehouse.session("analyst") as cursor:
        cursor.execute("SELECT count(*) FROM sales.daily_sales")
        assert warehouse.fetch_value(cursor) == 391


def test_of_two_attempts_at_once_one_publishes(analyst: Cursor) -> None:
    sets = [stage(DAY), stage(DAY), stage(DAY)]
    start = threading.Barrier(len(sets))
    outcomes: list[str] = []

    def publish_one(number: int) -> None:
        start.wait()
        outcomes.append(publish.publish_window(DATASET, DAY, sets[number], run(str(number))).outcome)

    threads = [threading.Thread(target=publish_one, args=(number,)) for number in range(len(sets))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["published", "unchanged", "unchanged"]
    assert [version for _, version, _ in landed(analyst)] == [1]


def test_readers_never_see_half_a_window(analyst: Cursor, source_day: Change) -> None:
    whole = land(DAY).rows_published
    seen: set[int] = set()
    stop = threading.Event()

    def read() -> None:
        with closing(warehouse.connect("analyst")) as link, link.cursor() as cursor:
            link.autocommit = True
            while not stop.is_set():
                seen.add(count(cursor, "sales.daily_sales"))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(8):
            source_day(OTHER_QUANTITY)
            land(DAY, by=str(number))
    finally:
        stop.set()
        reader.join()
    assert seen == {whole}


def test_a_set_that_is_gone_or_not_finished_publishes_nothing(analyst: Cursor) -> None:
    staged = stage(DAY)
    with pytest.raises(DataRejected, match="staging set set_0 does not exist"):
        publish.publish_window(DATASET, DAY, replace(staged, name="set_0"), run())
    with warehouse.session("loader") as cursor:
        begun = staging.new_set(cursor, DATASET, DAY, run())
        staging.new_table(cursor, begun, "raw", [("sale_id", "bigint")])
    with pytest.raises(DataRejected, match=f"staging set {begun} of daily_sales .* is not finished"):
        publish.publish_window(DATASET, DAY, replace(staged, name=begun), run())
    assert landed(analyst) == []
    assert count(analyst, "sales.daily_sales") == 0


@pytest.mark.parametrize(
    ("window", "dataset", "said"),
    [
        (Window(DAY.start, DAY.end + (DAY.end - DAY.start)), DATASET, "is not a window of daily_sales"),
        (day("2026-09-30"), DATASET, "is not a window of daily_sales"),
        (DAY, "weekly_sales", 'unknown dataset "weekly_sales"; known: .*daily_sales'),
    ],
    ids=["two days", "before the grid", "no such dataset"],
)
def test_what_is_not_on_the_grid_is_refused(window: Window, dataset: str, said: str) -> None:
    with pytest.raises(DataRejected, match=said):
        publish.publish_window(dataset, window, stage(DAY), run())


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO sales.daily_sales SELECT * FROM sales.daily_sales",
        "DELETE FROM {partition}",
        "SELECT FROM {partition}",
        "DROP TABLE {partition}",
        "ALTER TABLE sales.daily_sales DETACH PARTITION {partition}",
        "UPDATE ops.window_ledger SET version = 9",
        "DELETE FROM ops.window_ledger",
        "INSERT INTO ops.window_ledger SELECT * FROM ops.window_ledger",
        "DELETE FROM quarantine.rejected_rows",
        "UPDATE ops.attempts SET state = 'succeeded'",
        "SET ROLE publisher",
    ],
)
@pytest.mark.parametrize("role", ["loader", "analyst"])
def test_the_database_refuses_every_other_way_to_write(role: str, statement: str) -> None:
    land(DAY)
    statement = statement.format(partition=partition(DATASET, DAY))
    with pytest.raises(errors.InsufficientPrivilege), warehouse.session(role) as cursor:
        cursor.execute(statement)


def test_a_busy_table_is_tried_again(analyst: Cursor, source_day: Change) -> None:
    """A reader's transaction holds the partition for longer than one try waits for it: the reload lands after it."""
    land(DAY)
    source_day(OTHER_QUANTITY)
    staged = stage(DAY)
    analyst.execute("SELECT count(*) FROM sales.daily_sales")
    outcome: list[Landed] = []
    reload = threading.Thread(target=lambda: outcome.append(publish.publish_window(DATASET, DAY, staged, run("b"))))
    reload.start()
    wait_for_tries(2)
    analyst.connection.rollback()
    reload.join()
    assert [landed.version for landed in outcome] == [2]


def wait_for_tries(wanted: int) -> None:
    """Until this number of sessions of the loader, one per try, have been seen to wait for a lock."""
    tries: set[int] = set()
    with closing(warehouse.connect("postgres")) as link, link.cursor() as cursor:
        link.autocommit = True

        def seen() -> bool:
            cursor.execute("SELECT pid FROM pg_stat_activity WHERE usename = 'loader' AND wait_event_type = 'Lock'")
            tries.update(row.pid for row in named(cursor))
            return len(tries) >= wanted

        wait_until(f"{wanted} tries to wait", seen, seconds=60)
