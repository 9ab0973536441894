"""A rollback: the version before, as it was, in one transaction, once, with who and why, for as long as it is kept."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import batches
import pytest
from loading import DATASET, OTHER_QUANTITY, change_set, day, land, partition, run, stage
from psycopg2 import errors
from psycopg2.extensions import cursor as Cursor
from receiver import Receiver
from rows import named
from typer.testing import CliRunner
from waiting import wait_until

from highwater.cli.main import app
from highwater.environment import credentials, settings
from highwater.incidents import alerts
from highwater.local import placement
from highwater.model.errors import DataRejected, Held, HighwaterError
from highwater.setup import bootstrap
from highwater.store import holds, publish, rollback, warehouse
from highwater.store.rollback import Done
from simulation import drills

pytestmark = pytest.mark.usefixtures("empty_warehouse")
NAME = "2026-10-05"
DAY = day(NAME)
FEWER_REFUSED = "DELETE FROM legacy.sales WHERE business_date = '2026-10-05' AND quantity < 0"
Change = Callable[[str], int]
Clock = Callable[[timedelta], None]


def rows(query: str, *parameters: object) -> list[tuple[Any, ...]]:
    """What a query of the warehouse gives to the analyst."""
    with warehouse.session("analyst") as cursor:
        cursor.execute(query, parameters or None)
        return [tuple(row) for row in cursor.fetchall()]


def value(query: str, *parameters: object) -> Any:
    """The one value a query of the warehouse gives."""
    ((found,),) = rows(query, *parameters)
    return found


def content() -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], tuple[Any, ...]]:
    """Every published row, every quarantined row, and what the ledger says of the content."""
    return (
        rows("SELECT * FROM sales.daily_sales ORDER BY sale_id"),
        rows("SELECT * FROM quarantine.rejected_rows ORDER BY source_row::text"),
        rows(
            "SELECT content_hash, rows_extracted, rows_published, rows_quarantined, rows_deduplicated"
            " FROM ops.window_ledger"
        )[0],
    )


def roll_back(to: int | None = None, by: str = "ada", reason: str = "the till was set wrong") -> Done:
    """Plan and carry out a rollback of the day."""
    return rollback.carry_out(rollback.plan(DATASET, NAME, to), by, reason)


def release() -> None:
    """Let the day be loaded again, if it is held."""
    holds.release(holds.plan(DATASET, DAY.start, DAY.end), "bob", "the till is fixed")


def versions() -> list[tuple[int, str]]:
    """The versions of the day that can be read, and what each is."""
    return rows("SELECT version, state FROM ops.versions WHERE dataset = 'daily_sales' ORDER BY version")


def kept_tables() -> int:
    """How many tables lie in schema archive."""
    return int(value("SELECT count(*) FROM pg_class WHERE relnamespace = 'archive'::regnamespace AND relkind = 'r'"))


@pytest.fixture
def twice_landed(source_day: Change) -> Change:
    """The day landed, then landed again with other rows and fewer that are refused."""
    land(DAY, by="good")
    assert source_day(FEWER_REFUSED) > 0
    assert source_day(OTHER_QUANTITY) > 0
    land(DAY, by="bad")
    return source_day


class TestWhatComesBack:
    def test_rows_and_quarantine_are_as_they_were_to_the_byte(self, source_day: Change) -> None:
        land(DAY, by="good")
        before = content()
        source_day(FEWER_REFUSED)
        source_day(OTHER_QUANTITY)
        land(DAY, by="bad")
        assert all(now != then for now, then in zip(content(), before, strict=True))
        roll_back()
        assert content() == before
        with warehouse.session("postgres") as cursor:
            cursor.execute("SELECT * FROM ops.table_content(%s)", (partition(DATASET, DAY),))
            measured = [tuple(row) for row in cursor.fetchall()]
        assert measured == [(before[2][2], before[2][0])]

    def test_the_ledger_says_which_run_and_the_history_who_and_why(self, twice_landed: Change) -> None:
        done = roll_back()
        assert rows("SELECT version, dag_id, run_id, landed_at = ops.clock() FROM ops.window_ledger") == [
            (3, "rollback", f"rollback {done.rollback_id} by ada", True)
        ]
        assert rows(
            "SELECT from_version, from_run_id, to_version, to_run_id, as_version, rolled_back_by, login, reason"
            " FROM ops.rollbacks"
        ) == [(2, "run bad", 1, "run good", 3, "ada", "operator", "the till was set wrong")]
        assert value("SELECT reason FROM ops.window_status WHERE state = 'held'").startswith(
            "rolled back to version 3 by ada"
        )

    def test_the_version_that_goes_can_be_read_but_is_not_offered_again(self, twice_landed: Change) -> None:
        bad = rows("SELECT * FROM sales.daily_sales ORDER BY sale_id")
        bad_quarantine = value("SELECT count(*) FROM quarantine.rejected_rows")
        roll_back()
        assert versions() == [(2, "rolled back"), (3, "published")]
        table = value("SELECT held_in FROM ops.versions WHERE state = 'rolled back'")
        assert rows(f"SELECT * FROM {table} ORDER BY sale_id") == bad
        assert value("SELECT count(*) FROM quarantine.former_rejected_rows") == bad_quarantine

    def test_ledger_and_partitions_tell_the_same_story(self, twice_landed: Change) -> None:
        roll_back()
        with warehouse.session("analyst") as cursor:
            warehouse.run_file(cursor, "ops/ledger_inconsistent.sql")
            assert cursor.fetchall() == []

    def test_a_reload_goes_on_from_there(self, twice_landed: Change) -> None:
        roll_back()
        release()
        assert land(DAY, by="fixed").version == 4
        assert versions() == [(2, "rolled back"), (3, "kept"), (4, "published")]
        assert roll_back().to_version == 3

    def test_the_same_content_again_keeps_no_version_and_is_passed_over(self, source_day: Change) -> None:
        land(DAY, by="one")
        land(DAY, by="the same")
        assert (versions(), kept_tables()) == ([(2, "published")], 0)
        source_day(OTHER_QUANTITY)
        land(DAY, by="other")
        assert roll_back().to_version == 2

    def test_a_window_of_six_hours(self) -> None:
        window = batches.window(1)
        batches.land("payments", window)
        good = rows("SELECT * FROM sales.payments ORDER BY payment_id")
        staged = batches.stage("payments", window)
        change_set(staged, "SET amount = amount + 1 WHERE payment_id % 10 = 0")
        publish.publish_window("payments", window, staged, run("bad"))
        rollback.carry_out(rollback.plan("payments", "2026-10-28T06:00"), "ada", "why")
        assert rows("SELECT * FROM sales.payments ORDER BY payment_id") == good


class TestOnceAndNoFurther:
    def test_a_second_time_is_refused_and_says_who_did_it(self, twice_landed: Change) -> None:
        roll_back()
        before = content()
        with pytest.raises(
            DataRejected,
            match=r"is rolled back already, from version 2 to 1 by ada at 2026-10-31 12:00: no older version is kept",
        ):
            roll_back()
        assert content() == before
        assert value("SELECT count(*) FROM ops.rollbacks") == 1

    def test_further_back_only_to_a_version_that_is_named(self, twice_landed: Change) -> None:
        twice_landed(OTHER_QUANTITY)
        land(DAY, by="worse")
        assert roll_back().to_version == 2
        with pytest.raises(DataRejected, match=r"to go further back name the version, one of 1 \(landed 2026-10-31"):
            roll_back()
        with pytest.raises(DataRejected, match=r"no version 3 to restore, which was rolled back: version 4 is pub"):
            roll_back(to=3)
        with pytest.raises(DataRejected, match=r"no version 9 to restore: version 4 is published, and kept are 1 "):
            roll_back(to=9)
        assert roll_back(to=1).as_version == 5
        assert versions() == [(3, "rolled back"), (4, "rolled back"), (5, "published")]

    def test_a_version_that_was_published_meanwhile_is_not_replaced(self, twice_landed: Change) -> None:
        planned = rollback.plan(DATASET, NAME)
        twice_landed(OTHER_QUANTITY)
        land(DAY, by="meanwhile")
        with pytest.raises(DataRejected, match="is at version 3 by run run meanwhile, not at version 2"):
            rollback.carry_out(planned, "ada", "why")
        assert versions() == [(1, "kept"), (2, "kept"), (3, "published")]

    def test_what_was_extracted_before_a_rollback_is_not_published_over_it(self, twice_landed: Change) -> None:
        staged = stage(DAY)
        twice_landed(OTHER_QUANTITY)
        later = stage(DAY)
        roll_back()
        for old in (staged, later):
            with pytest.raises(Held, match=r"is held, rolled back to version 3 by ada at 2026-10-31 12:00"):
                publish.publish_window(DATASET, DAY, old, run("late"))
        assert value("SELECT version FROM ops.window_ledger") == 3

    def test_of_a_rollback_and_a_publish_at_once_one_wins_and_the_other_is_refused(self, twice_landed: Change) -> None:
        for number in range(4):
            twice_landed(OTHER_QUANTITY)
            staged, planned = stage(DAY), rollback.plan(DATASET, NAME)
            refused, done = at_once(
                {
                    "publish": lambda staged=staged: publish.publish_window(DATASET, DAY, staged, run("new")),  # type: ignore[misc]
                    "rollback": lambda planned=planned: rollback.carry_out(planned, "ada", "why"),  # type: ignore[misc]
                }
            )
            assert len(refused) == len(done) == 1
            assert value("SELECT dag_id = 'rollback' FROM ops.window_ledger") == (done == ["rollback"])
            assert whole() == []
            release()
            land(DAY, by=f"next {number}")

    def test_of_two_rollbacks_at_once_one_is_done(self, twice_landed: Change) -> None:
        planned = rollback.plan(DATASET, NAME)
        refused, done = at_once(
            {name: lambda name=name: rollback.carry_out(planned, name, "why") for name in ("ada", "bob")}  # type: ignore[misc]
        )
        assert len(done) == len(refused) == 1
        assert value("SELECT rolled_back_by FROM ops.rollbacks") == done[0]


def at_once(works: dict[str, Callable[[], object]]) -> tuple[list[str], list[str]]:
    """Do these at the same time; returns the names of those that were refused, and of those that were done."""
    start = threading.Barrier(len(works))
    refused: list[str] = []
    done: list[str] = []

    def work(name: str) -> None:
        start.wait()
        try:
            works[name]()
            done.append(name)
        except DataRejected:
            refused.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return refused, done


def whole() -> list[tuple[Any, ...]]:
    """The ledger row, unless partition and quarantine hold just what it says."""
    return rows(
        "SELECT l.* FROM ops.window_ledger AS l, ops.table_content('sales.daily_sales') AS c"
        " WHERE (c.row_count, c.content_hash) <> (l.rows_published, l.content_hash)"
        " OR l.rows_quarantined <> (SELECT count(*) FROM quarantine.rejected_rows)"
    )


class TestReaders:
    def test_readers_never_see_half_or_an_error(self, twice_landed: Change) -> None:
        """One statement reads rows, quarantine and ledger: whatever it sees belongs together."""
        query = (
            "SELECT count(*) AS rows, sum(quantity) AS quantity,"
            " (SELECT count(*) FROM quarantine.rejected_rows) AS refused,"
            " (SELECT content_hash FROM ops.window_ledger) AS hash FROM sales.daily_sales"
        )
        (bad,) = rows(query)
        seen: list[tuple[Any, ...]] = []
        failed: list[BaseException] = []
        stop = threading.Event()

        def read() -> None:
            try:
                with closing(warehouse.connect("analyst")) as link, link.cursor() as cursor:
                    link.autocommit = True
                    while not stop.is_set():
                        cursor.execute(query)
                        seen.append(tuple(warehouse.fetch(cursor)))
            except BaseException as error:
                failed.append(error)

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        try:
            for number in range(6):
                roll_back()
                (good,) = rows(query)
                mark = len(seen)
                wait_until("it to be read", lambda good=good, mark=mark: good in seen[mark:] or failed, 60)  # type: ignore[misc]
                release()
                land(DAY, by=f"bad again {number}")
        finally:
            stop.set()
            for reader in readers:
                reader.join()
        assert failed == []
        assert good != bad
        assert set(seen) == {good, bad}

    def test_one_that_keeps_its_transaction_open_is_waited_for(self, twice_landed: Change, analyst: Cursor) -> None:
        analyst.execute("SELECT count(*) FROM sales.daily_sales")
        done: list[Done] = []
        mine = threading.Thread(target=lambda: done.append(roll_back()))
        mine.start()
        tries: set[int] = set()
        with closing(warehouse.connect("postgres")) as link, link.cursor() as cursor:
            link.autocommit = True

            def waited_twice() -> bool:
                cursor.execute(
                    "SELECT pid FROM pg_stat_activity WHERE usename = 'operator' AND wait_event_type = 'Lock'"
                )
                tries.update(row.pid for row in named(cursor))
                return len(tries) >= 2

            wait_until("two tries to wait", waited_twice, 60)
        analyst.connection.rollback()
        mine.join()
        assert [one.as_version for one in done] == [3]


class TestWhatCannotBe:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("weekly_sales", NAME), "dataset 'weekly_sales' has no row in control.datasets; known: channel_sales, "),
            (("daily_sales", "tomorrow"), "invalid window 'tomorrow' of daily_sales: expected its start, such as 2026"),
            (("daily_sales", "2026-10-05T06:00"), "is not a window of daily_sales: its windows are 1 day long from"),
            (("daily_sales", "2026-09-30"), "is not a window of daily_sales"),
            (("daily_sales", "2026-10-05/2026-10-07"), "is not a window of daily_sales"),
            (("daily_sales", "2026-10-05/2026-10-04"), "expected an end after the start"),
            (
                ("payments", "2026-10-28"),
                "'2026-10-28' contains several windows of payments: expected the start of",
            ),
            (("daily_sales", "2026-10-06"), "has not landed: there is nothing to roll back"),
            (("daily_sales", NAME), "has version 1 and no former version (a version is kept for 7 days after other"),
            (("daily_sales", NAME, "--to", "1"), "has version 1 and no former version"),
            (("orders", NAME), "orders is loaded by its changes and keeps no versions of windows; to read all of it"),
        ],
    )
    def test_it_is_refused_in_words(self, arguments: tuple[str, ...], said: str) -> None:
        land(DAY)
        before = content()
        for options in (["--dry-run"], ["--yes", "--reason", "why"]):
            with pytest.raises(HighwaterError) as refusal:
                CliRunner().invoke(app, ["rollback", *arguments, *options], catch_exceptions=False)
            assert said in str(refusal.value)
        assert content() == before

    @pytest.mark.parametrize("reason", ["", "  "])
    def test_nobody_may_leave_out_why(self, twice_landed: Change, reason: str) -> None:
        with pytest.raises(Exception, match=r"reason .* is blank"):
            CliRunner().invoke(app, ["rollback", DATASET, NAME, "--yes", "--reason", reason], catch_exceptions=False)
        with pytest.raises(DataRejected, match=r"(by|reason) .* is blank"):
            roll_back(reason=reason)

    def test_a_version_that_someone_changed_by_hand_is_not_believed(self, twice_landed: Change, admin: Cursor) -> None:
        table = value("SELECT held_in FROM ops.versions WHERE state = 'kept'")
        admin.execute(f"UPDATE {table} SET till_no = 9 WHERE sale_id = (SELECT min(sale_id) FROM {table})")
        admin.connection.commit()
        with pytest.raises(DataRejected, match=r"archive\.version_\d+ no longer holds version 1"):
            roll_back()
        admin.execute(f"DROP TABLE {table}")
        admin.connection.commit()
        with pytest.raises(DataRejected, match=r"lost its version 1: table archive\.\S+ does not exist: load it again"):
            roll_back()
        assert value("SELECT version FROM ops.window_ledger") == 2

    def test_nobody_has_another_way(self, twice_landed: Change) -> None:
        table = value("SELECT held_in FROM ops.versions WHERE state = 'kept'")
        to_all = (
            f"DELETE FROM {table}",
            f"DROP TABLE {table}",
            f"ALTER TABLE sales.daily_sales DETACH PARTITION {partition(DATASET, DAY)}",
            "UPDATE ops.former_versions SET state = 'kept'",
            "DELETE FROM ops.rollbacks",
            "DELETE FROM quarantine.former_rejected_rows",
            "UPDATE control.platform SET keep_versions_days = 0",
            "CREATE TABLE archive.mine ()",
            "SELECT ops.keep_version(l, 'sales.daily_sales', 'kept') FROM ops.window_ledger AS l",
            "SELECT ops.forget_versions('daily_sales', '[2026-10-05,2026-10-06)')",
            "SELECT ops.replace_partition(d, l.window_range, 'sales.daily_sales', l, 'kept')"
            " FROM ops.window_ledger AS l INNER JOIN control.datasets AS d USING (dataset)",
        )
        by_function = "SELECT ops.rollback_window('daily_sales', '[2026-10-05,2026-10-06)', 'eve', 'why')"
        refused = {
            "loader": (*to_all, by_function),
            "analyst": (*to_all, by_function, "SELECT ops.prune_versions()"),
            "operator": (*to_all, "SELECT ops.prune_versions()"),
        }
        for role, statements in refused.items():
            for statement in statements:
                with closing(warehouse.connect(role)) as link, link.cursor() as cursor:
                    try:
                        cursor.execute(statement)
                    except errors.InsufficientPrivilege:
                        continue
                    pytest.fail(f"{role} may: {statement}")


class TestHowLongVersionsAreKept:
    def test_one_goes_when_its_days_are_over_and_not_before(self, twice_landed: Change, later: Clock) -> None:
        later(timedelta(days=7) - timedelta(seconds=1))
        assert (rollback.prune(), versions()) == (0, [(1, "kept"), (2, "published")])
        later(timedelta(days=7))
        assert (rollback.prune(), versions(), kept_tables()) == (1, [(2, "published")], 0)
        assert value("SELECT count(*) FROM quarantine.former_rejected_rows") == 0
        with pytest.raises(DataRejected, match="has version 2 and no former version"):
            roll_back()

    def test_one_that_was_rolled_back_goes_too(self, twice_landed: Change, later: Clock) -> None:
        roll_back()
        later(timedelta(days=7))
        assert (rollback.prune(), kept_tables()) == (1, 0)
        assert value("SELECT count(*) FROM ops.rollbacks") == 1

    def test_one_that_is_being_read_stays_for_the_next_time(
        self, twice_landed: Change, analyst: Cursor, later: Clock
    ) -> None:
        analyst.execute("SELECT held_in FROM ops.versions WHERE state = 'kept'")
        analyst.execute(f"SELECT count(*) FROM {warehouse.fetch_value(analyst)}")
        later(timedelta(days=8))
        assert (rollback.prune(), kept_tables()) == (0, 1)
        analyst.connection.rollback()
        assert (rollback.prune(), kept_tables()) == (1, 0)

    def test_pruning_waits_for_no_publish_and_no_publish_for_it(
        self, twice_landed: Change, later: Clock, loader: Cursor
    ) -> None:
        """A publish of the window lands while the pruning of its versions has not committed."""
        twice_landed(OTHER_QUANTITY)
        staged = stage(DAY)
        later(timedelta(days=8))
        with closing(warehouse.connect("loader")) as link, link.cursor() as cursor:
            cursor.execute("SELECT ops.prune_versions()")
            assert warehouse.fetch_value(cursor) == 1
            assert publish.publish_window.__wrapped__(DATASET, DAY, staged, run("new")).version == 3
            link.commit()
        assert versions() == [(2, "kept"), (3, "published")]

    @pytest.fixture
    def keeps_none(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """The setting is 0 from the next start on."""
        monkeypatch.setenv("HIGHWATER_KEEP_VERSIONS_DAYS", "0")
        settings.get.cache_clear()
        bootstrap.run()
        yield
        monkeypatch.undo()
        settings.get.cache_clear()
        bootstrap.run()

    def test_none_is_kept_where_the_setting_says_so(self, source_day: Change, keeps_none: None) -> None:
        land(DAY)
        source_day(OTHER_QUANTITY)
        land(DAY, by="other")
        assert (versions(), kept_tables()) == ([(2, "published")], 0)
        assert whole() == []
        with pytest.raises(DataRejected, match=r"no former version \(HIGHWATER_KEEP_VERSIONS_DAYS=0 keeps none"):
            roll_back()


def reported(hook: Receiver) -> list[str]:
    """The titles of the messages about rollbacks: payments that never landed have one of their own."""
    return [title for title in hook.titles if "rolled back" in title]


class TestIncidents:
    def test_one_is_open_until_a_person_has_seen_it(self, twice_landed: Change, hook: Receiver, later: Clock) -> None:
        roll_back()
        alerts.look()
        assert reported(hook) == ["daily_sales: rolled back since 2026-10-31 12:00 UTC"]
        (message,) = (taken["message"] for taken in hook.taken if "rolled back" in taken["title"])
        assert "Windows: 1 from 2026-10-05 00:00 to 2026-10-06 00:00 UTC" in message
        assert "It stays open until a person has acknowledged it" in message
        assert "the till was set wrong" not in message
        alerts.look()
        incident = value("SELECT incident_id FROM ops.incidents WHERE kind = 'rolled back' AND closed_at IS NULL")
        alerts.acknowledge(incident, "bob", "the shop knows")
        alerts.look()
        assert reported(hook)[1:] == ["over: daily_sales: rolled back since 2026-10-31 12:00 UTC"]
        later(timedelta(hours=1))
        release()
        land(DAY, by="bad again")
        roll_back()
        alerts.look()
        assert reported(hook)[2:] == ["daily_sales: rolled back since 2026-10-31 13:00 UTC"]


class TestOtherThingsGoOn:
    def test_a_window_taken_out_of_the_record_begins_again_without_its_former_versions(self) -> None:
        window = batches.window(3)
        for amount in (0, 1):
            staged = batches.stage("payments", window)
            change_set(staged, f"SET amount = amount + {amount}")
            publish.publish_window("payments", window, staged, run(str(amount)))
        assert drills.forget_since(window.start) == 1
        with pytest.raises(DataRejected, match="has not landed"):
            rollback.plan("payments", "2026-10-28T18:00")
        for amount in (2, 3):
            staged = batches.stage("payments", window)
            change_set(staged, f"SET amount = amount + {amount}")
            publish.publish_window("payments", window, staged, run(str(amount)))
        assert rows("SELECT version, state, run_id FROM ops.versions ORDER BY version, run_id") == [
            (1, "forgotten", "run 0"),
            (1, "kept", "run 2"),
            (2, "published", "run 3"),
        ]
        assert rollback.plan("payments", "2026-10-28T18:00").former.run_id == "run 2"
        assert rollback.prune() == 1

    def test_a_partition_that_the_admin_dropped_leaves_nothing_to_keep(
        self, twice_landed: Change, admin: Cursor
    ) -> None:
        admin.execute(f"DROP TABLE {partition(DATASET, DAY)}")
        admin.connection.commit()
        assert roll_back().as_version == 3
        assert (versions(), whole()) == ([(3, "published")], [])

    def test_a_restored_warehouse_rolls_back_as_the_one_that_was_backed_up(
        self, twice_landed: Change, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As scripts/backup and scripts/restore do it: one dump, restored aside in one transaction."""
        config = settings.get()
        programs = placement.binaries()
        where = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(config.warehouse_port),
            "PGUSER": "postgres",
            "PGPASSWORD": credentials.password("postgres"),
        }

        def call(*words: str, given: bytes | None = None) -> bytes:
            environment = {**os.environ, **where}
            return subprocess.run(words, env=environment, input=given, check=True, capture_output=True).stdout

        dump = call(f"{programs}/pg_dump", "--format=custom", f"--dbname={config.warehouse_database}")
        with closing(warehouse.connect("postgres", "postgres")) as link, link.cursor() as cursor:
            link.autocommit = True
            cursor.execute("CREATE DATABASE restored OWNER publisher ENCODING 'UTF8' TEMPLATE template0")
            try:
                call(
                    f"{programs}/pg_restore", "--exit-on-error", "--single-transaction", "--dbname=restored", given=dump
                )
                results = []
                for name in (config.warehouse_database, "restored"):
                    monkeypatch.setenv("HIGHWATER_WAREHOUSE_DATABASE", name)
                    settings.get.cache_clear()
                    bootstrap.run()
                    roll_back()
                    results.append((content(), versions(), whole()))
            finally:
                monkeypatch.undo()
                settings.get.cache_clear()
                cursor.execute("DROP DATABASE restored WITH (FORCE)")
        assert results[0] == results[1]
        assert results[0][1:] == ([(2, "rolled back"), (3, "published")], [])


class TestTheCommand:
    def test_a_dry_run_shows_what_would_change_and_changes_nothing(self, twice_landed: Change) -> None:
        before = content()
        shown = CliRunner().invoke(app, ["rollback", DATASET, NAME, "--dry-run"], env={"COLUMNS": "120"}).output
        for words in ("run bad", "run good", "1, as version 3", "2026-10-31 12:00", "rows removed"):
            assert words in shown, words
        answer = json.loads(CliRunner().invoke(app, ["rollback", DATASET, NAME, "--dry-run", "--json"]).output)
        assert (answer["present"]["version"], answer["former"]["version"], answer["done"]) == (2, 1, None)
        good = value("SELECT rows_quarantined FROM ops.former_versions")
        assert answer["former"]["rows_quarantined"] == good > answer["present"]["rows_quarantined"]
        changed = value(
            "SELECT count(*) FROM sales.daily_sales AS s INNER JOIN {} AS f USING (sale_id)"
            " WHERE s.* IS DISTINCT FROM f.*".format(value("SELECT held_in FROM ops.versions WHERE state = 'kept'"))
        )
        assert answer["rows_going"] == answer["rows_coming"] == changed > 0
        assert content() == before

    def test_it_asks_and_a_no_changes_nothing(self, twice_landed: Change) -> None:
        asked = CliRunner().invoke(app, ["rollback", DATASET, NAME, "--reason", "why"], input="n\n")
        assert "Restore version 1 of daily_sales 2026-10-05?" in asked.output
        assert (asked.exit_code, versions()) == (1, [(1, "kept"), (2, "published")])

    def test_it_says_what_it_did_and_tells_people(self, twice_landed: Change, hook: Receiver) -> None:
        done = CliRunner().invoke(app, ["rollback", DATASET, NAME, "--reason", "why", "--by", "ada"], input="y\n")
        assert "version 1 of daily_sales 2026-10-05 was restored as version 3 by ada" in done.output
        assert len(reported(hook)) == 1

    def test_for_a_program(self, twice_landed: Change) -> None:
        options = ["--reason", "why", "--yes", "--json", "--by", "ada"]
        answer = json.loads(CliRunner().invoke(app, ["rollback", DATASET, NAME, *options]).output)
        assert (answer["done"]["as_version"], answer["window"]) == (3, NAME)
        assert answer["done"]["content_hash"] == answer["former"]["content_hash"]
