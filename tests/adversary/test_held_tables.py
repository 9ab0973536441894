"""What a session holds that never ends its transaction is waited for within bounds; the error names who holds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
import pytest
import tables
import tenacity
from attacks import LOGINS, act, home_of, start
from loading import DATASET, day, run, stage
from psycopg2.extensions import cursor as Cursor
from tables import defined, window
from waiting import wait_until

from highwater.environment import credentials, settings
from highwater.model.errors import Busy, ConfigurationError
from highwater.model.windows import Window
from highwater.setup import roles
from highwater.store import ledger, publish, rollback, warehouse

pytestmark = pytest.mark.usefixtures("empty_warehouse")
DAY = day("2026-10-05")
SINCE = r"since 2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d UTC"


@contextmanager
def holding(role: str, statement: str, database: str | None = None) -> Iterator[int]:
    """A session of the role that has run the statement and leaves its transaction open; gives its process."""
    with closing(warehouse.connect(role, database or home_of(role))) as link, link.cursor() as cursor:
        cursor.execute(statement)
        yield link.info.backend_pid


def once(dataset: str, wanted: Window, staged: publish.Staged) -> None:
    """Publish by one try, of which the engine makes several."""
    publish.publish_window.retry_with(stop=tenacity.stop_after_attempt(1))(dataset, wanted, staged, tables.RUN)


class TestAPublication:
    @pytest.mark.parametrize("role", ["analyst", "loader"])
    def test_of_a_table_that_a_reader_holds_ends_busy_and_names_the_reader(self, role: str) -> None:
        with defined("shaped") as table:
            tables.land("shaped", window())
            staged = tables.stage("shaped", window(), 6)
            with holding(role, f"SELECT count(*) FROM {table}") as pid:
                said = rf"table {table} is held by {role} \(pid {pid}, {SINCE}\)"
                with pytest.raises(Busy, match=said) as busy:
                    once("shaped", window(), staged)
                assert not busy.value.is_final, "a task tries it again soon"
            once("shaped", window(), staged)
            assert len(tables.rows_of(table)) == 6

    def test_names_all_who_hold_it_the_oldest_first(self) -> None:
        with defined("shaped") as table:
            tables.land("shaped", window())
            staged = tables.stage("shaped", window(), 6)
            read = f"SELECT count(*) FROM {table}"
            with holding("analyst", read) as first, holding("loader", read) as second:
                said = rf"is held by analyst \(pid {first}, {SINCE}\), loader \(pid {second}, {SINCE}\)"
                with pytest.raises(Busy, match=said):
                    once("shaped", window(), staged)

    def test_that_waits_for_the_dataset_names_who_has_its_row(self) -> None:
        staged = stage(DAY)
        of_row = f"SELECT FROM control.datasets WHERE dataset = '{DATASET}' FOR UPDATE"
        said = rf"dataset {DATASET} is held by postgres \(pid \d+, {SINCE}\)"
        with holding("postgres", of_row), pytest.raises(Busy, match=said):
            once(DATASET, DAY, staged)


def test_a_rollback_names_who_reads_the_version_that_would_come_back() -> None:
    with defined("shaped"):
        tables.land("shaped", window())
        tables.land("shaped", window(), 6)
        ((former,),) = act("postgres", "SELECT 'archive.' || table_name FROM ops.former_versions")
        undo = "SELECT FROM ops.rollback_window('shaped', %s, 'ada', 'why')"
        with holding("analyst", f"SELECT count(*) FROM {former}") as pid:
            said = rf"table {former} is held by analyst \(pid {pid}, {SINCE}\)"
            with pytest.raises(psycopg2.errors.LockNotAvailable, match=said):
                act("operator", undo, (ledger.as_range(window()),))
        rollback.carry_out(rollback.plan("shaped", "2026-10-01"), "ada", "why")


def test_a_set_that_is_cleaned_again_names_who_reads_what_its_audit_refused() -> None:
    staged = stage(DAY)
    reading = f"SELECT count(*) FROM staging.{staged.name}_clean"
    with holding("analyst", reading) as pid, warehouse.session("loader") as cursor:
        cursor.execute("SET LOCAL lock_timeout = '200ms'")
        with pytest.raises(psycopg2.errors.LockNotAvailable, match=rf"held by analyst \(pid {pid}, {SINCE}\)"):
            cursor.execute("SELECT * FROM ops.begin_cleaning(%s)", (staged.name,))
        cursor.connection.rollback()
    assert publish.publish_window(DATASET, DAY, staged, run()).rows_published == 391


def test_whose_turn_it_is_is_named_too() -> None:
    with holding("loader", "SELECT ops.reconcile_incidents()"):
        act("postgres", "SELECT 1")
    with holding("postgres", "SELECT ops.take_turn('incidents')") as pid, warehouse.session("postgres") as cursor:
        cursor.execute("SET LOCAL lock_timeout = '200ms'")
        said = rf"the turn of incidents is held by postgres \(pid {pid}, {SINCE}\)"
        with pytest.raises(psycopg2.errors.LockNotAvailable, match=said):
            cursor.execute("SELECT ops.take_turn('incidents')")
        cursor.connection.rollback()


class TestAStart:
    @pytest.mark.parametrize("role", ["analyst", "loader"])
    def test_that_gives_up_waiting_names_who_holds_what_and_changes_nothing(self, role: str) -> None:
        with holding(role, "SELECT count(*) FROM control.datasets") as pid:
            # It has nothing to do, and so waits for nobody.
            start()
            act("postgres", "DROP FUNCTION ops.skip_window")
            said = rf"{role} \(pid {pid}, {SINCE}\) holds .*control.datasets.*pg_terminate_backend"
            with pytest.raises(ConfigurationError, match=said):
                start()
        start()


class TestSilentTransactions:
    def plainly(self, role: str) -> Cursor:
        """A session as psql has it: nothing is set in it."""
        config = settings.get()
        link = psycopg2.connect(
            host=config.warehouse_host, port=config.warehouse_port, dbname=home_of(role), user=role,
            password=credentials.password(role),
        )  # fmt: skip
        return link.cursor()

    @pytest.mark.parametrize("role", LOGINS)
    def test_every_role_has_a_bound_for_them(self, role: str) -> None:
        cursor = self.plainly(role)
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        assert cursor.fetchone() == (roles.MAY_IDLE,)
        cursor.connection.close()

    def test_one_is_ended_by_it_and_a_start_puts_the_bound_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as short:
            short.setattr(roles, "MAY_IDLE", "200ms")
            start()
        cursor = self.plainly("analyst")
        cursor.execute("SELECT count(*) FROM control.datasets")
        pid = cursor.connection.info.backend_pid
        wait_until(
            "the silent session to end",
            lambda: act("postgres", "SELECT count(*) FROM pg_stat_activity WHERE pid = %s", (pid,)) == [(0,)],
        )
        cursor.connection.close()
        start()
        self.test_every_role_has_a_bound_for_them("analyst")

    def test_none_of_the_engine_is(self) -> None:
        """It waits within a transaction for sources, for as long as these may take."""
        for role in ("loader", "analyst"):
            assert act(role, "SHOW idle_in_transaction_session_timeout") == [("0",)]
