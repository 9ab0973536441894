"""Comparing what is published with what the ledger says of it: by command, by night, and as an incident."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg2
import pytest
import shopping
from loading import partition
from tables import admin, defined, land, window
from typer.testing import CliRunner, Result

from highwater.cli.main import app
from highwater.incidents import alerts
from highwater.model import clock
from highwater.model.errors import ConfigurationError
from highwater.store import verify, warehouse

pytestmark = pytest.mark.usefixtures("empty_warehouse")


def shell(*words: str) -> Result:
    return CliRunner().invoke(app, ["verify", *words])


def change(statement: str) -> None:
    """By hand, as the admin."""
    with warehouse.session("postgres") as cursor:
        cursor.execute(statement)


def open_incidents() -> list[tuple[str, str]]:
    alerts.look()
    with warehouse.session("analyst") as cursor:
        cursor.execute(
            "SELECT kind, subject FROM ops.incidents WHERE closed_at IS NULL AND kind = 'content differs' ORDER BY 2"
        )
        return [tuple(row) for row in cursor.fetchall()]


@pytest.fixture
def table() -> Iterator[str]:
    with defined("checked", "id bigint NOT NULL, at timestamptz NOT NULL, x integer DEFAULT 1") as name:
        for number in range(3):
            land("checked", window(number))
        yield name


DAMAGE = {
    "a row is gone": ("DELETE FROM {t} WHERE id = 1", "5 rows have landed, 4 are in sales.checked_"),
    "a row is another": (
        "UPDATE {t} SET x = 2 WHERE id = 1",
        "the 5 rows in sales.checked_.* are not those that landed",
    ),
    "a row is twice": (
        "ALTER TABLE {parent} DROP CONSTRAINT checked_pkey; INSERT INTO {t} SELECT * FROM {t} WHERE id = 1",
        "5 rows have landed, 6 are in",
    ),
    "the partition is gone": ("DROP TABLE {t}", "5 rows have landed, but their partition is gone"),
    "a crash would empty it": ("ALTER TABLE {t} SET UNLOGGED", "is not safe: it does not survive a crash"),
    "others may write": ("GRANT DELETE ON {t} TO loader", "is not safe: another role has rights on it"),
    "one column may be read": ("GRANT SELECT (id) ON {t} TO PUBLIC", "is not safe: another role has rights on it"),
    "it is another's": ("ALTER TABLE {t} OWNER TO postgres", "is not safe: it belongs to postgres"),
    "it is never cleaned": ("ALTER TABLE {t} SET (autovacuum_enabled = false)", "is not safe: it has options"),
    "its statistics run code": ("CREATE STATISTICS sales.s ON (x + 1), id FROM {t}", "is not safe: statistics object"),
    "a view reads it": ("CREATE VIEW sales.v AS SELECT * FROM {t}", "is not safe: rule _RETURN on view sales.v"),
    "quarantine is another": (
        "INSERT INTO quarantine.rejected_rows SELECT 'checked', window_range, 'r', '{{}}', 'r', now()"
        " FROM ops.window_ledger WHERE lower(window_range) = '2026-10-02'",
        "0 rows were quarantined, 1 are in quarantine",
    ),
    "the ledger is another": (
        "UPDATE ops.window_ledger SET content_hash = 'x' WHERE lower(window_range) = '2026-10-02'",
        "are not those that landed",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_every_damage_is_found_and_reported(table: str, damage: str) -> None:
    statement, said = DAMAGE[damage]
    assert shell("checked").exit_code == 0
    change(statement.format(t=partition("checked", window(1)), parent=table))
    answer = shell("checked", "--json")
    assert answer.exit_code == 1
    (found,) = json.loads(answer.stdout)["differences"]
    assert (found["dataset"], found["window"]) == ("checked", str(window(1)))
    assert re.search(said, found["problem"]), found
    assert open_incidents() == [("content differs", "checked")]


def test_refused_rows_that_an_operator_deleted_are_not_missed(table: str) -> None:
    change(
        "WITH w AS (UPDATE ops.window_ledger SET rows_quarantined = 1, rows_extracted = rows_extracted + 1 RETURNING *)"
        " INSERT INTO quarantine.rejected_rows SELECT dataset, window_range, 'r', '{}', 'r', now() FROM w"
    )
    assert shell("checked").exit_code == 0
    with warehouse.session("operator") as cursor:
        cursor.execute("SELECT control.delete_refused_rows(%s)", (window(1).end,))
        assert warehouse.fetch_value(cursor) == 2
    assert shell("checked").exit_code == 0
    change("DELETE FROM quarantine.rejected_rows")
    answer = shell("checked")
    assert answer.exit_code == 1, "of the window after that moment they are"
    assert "1 rows were quarantined, 0 are in quarantine" in answer.output
    with pytest.raises(psycopg2.Error, match="expected one in the past"), warehouse.session("operator") as cursor:
        cursor.execute("SELECT control.delete_refused_rows('infinity')")


def test_a_stretch_in_which_nothing_landed_is_said_to_be(table: str) -> None:
    answer = shell("checked", "--from", "2026-09-01", "--to", "2026-09-02")
    assert (answer.exit_code, "no window of checked has landed in this range" in answer.output) == (0, True)


def test_a_reload_puts_it_right(table: str) -> None:
    change(f"DELETE FROM {table} WHERE id = 1")
    assert shell("checked", "--from", "2026-10-02", "--to", "2026-10-02").exit_code == 1
    assert open_incidents() == [("content differs", "checked")]
    assert land("checked", window(1)).version == 2
    assert shell("checked", "--from", "2026-10-02", "--to", "2026-10-02").exit_code == 0
    assert open_incidents() == []
    assert shell("checked").exit_code == 1, "the two other days still lack a row"


def test_a_reload_of_the_same_content_replaces_a_partition_that_is_gone(table: str) -> None:
    """A hash is compared with what is there, not with what the ledger says of it."""
    change(f"DROP TABLE {partition('checked', window(1))}")
    assert land("checked", window(1)).outcome == "published"
    with warehouse.session("analyst") as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        assert warehouse.fetch_value(cursor) == 15
    assert shell("checked").exit_code == 0


UNSAFE = [
    "a crash would empty it",
    "others may write",
    "one column may be read",
    "it is never cleaned",
    "its statistics run code",
    "a view reads it",
]


@pytest.mark.parametrize("damage", UNSAFE)
def test_a_reload_of_the_same_content_replaces_a_partition_that_is_not_safe(table: str, damage: str) -> None:
    change(DAMAGE[damage][0].format(t=partition("checked", window(1)), parent=table))
    assert open_incidents() == []
    assert shell("checked").exit_code == 1
    assert open_incidents() == [("content differs", "checked")]
    assert land("checked", window(1)).version == 2
    assert shell("checked").exit_code == 0
    assert open_incidents() == []
    with warehouse.session("postgres") as cursor:
        cursor.execute(
            "SELECT array_agg(a.grantee::regrole || ' ' || a.privilege_type)"
            " FROM pg_class AS c, aclexplode(c.relacl) AS a"
            " WHERE c.relnamespace = 'archive'::regnamespace AND c.relkind = 'r' AND a.grantee <> c.relowner"
        )
        assert set(warehouse.fetch_value(cursor) or []) <= {"analyst SELECT"}, "the version that it was kept as"


def test_a_partition_that_is_anothers_is_not_replaced_but_reported(table: str) -> None:
    change(f"ALTER TABLE {partition('checked', window(1))} OWNER TO postgres")
    with pytest.raises(ConfigurationError, match=r"belongs to postgres: ALTER TABLE .* OWNER TO publisher"):
        land("checked", window(1))


def test_a_partition_of_no_landed_window_is_named(table: str) -> None:
    admin(f"CREATE TABLE sales.by_hand PARTITION OF {table} FOR VALUES FROM ('2026-11-05') TO ('2026-11-06')")
    answer = shell("checked")
    assert answer.exit_code == 1
    assert "partition sales.by_hand belongs to no landed window" in answer.stdout


def test_what_is_asked_wrongly() -> None:
    for words, said in (
        (("nothing",), "dataset 'nothing' has no row in control.datasets"),
        (("--from", "2026-13-01"), "--from '2026-13-01'"),
        (("--from", "2026-10-05", "--to", "2026-10-04"), "--from '2026-10-05' is not before --to '2026-10-04'"),
    ):
        answer = shell(*words)
        assert isinstance(answer.exception, ConfigurationError)
        assert said in str(answer.exception)


def test_orders_are_compared_as_a_whole(small_shop: Callable[[str], int]) -> None:
    shopping.land()
    small_shop(
        "UPDATE shop.orders SET amount = amount + 1 WHERE order_id < 10; DELETE FROM shop.orders WHERE order_id = 20"
    )
    shopping.land("b")
    assert shell("orders").exit_code == 0
    change("UPDATE sales.orders SET amount = amount + 1 WHERE order_id = 77")
    answer = shell("orders", "--json")
    assert "the 300 rows in the table are not those that were merged" in answer.stdout
    assert open_incidents() == [("content differs", "orders")]
    change("DELETE FROM sales.orders WHERE order_id = 77")
    assert "300 rows were merged so far, 299 are in the table" in shell("orders", "--json").stdout


class TestByNight:
    def test_everything_is_compared_within_a_week(
        self, airflow: Callable[..., Any], later: Callable[[timedelta], None], table: str
    ) -> None:
        for number in range(3, 20):
            land("checked", window(number))
        change(f"DELETE FROM {table} WHERE id = 1 AND at = '2026-10-19'")
        noon = clock.now()
        for night in range(verify.NIGHTS):
            later(timedelta(days=night))
            assert str(airflow("content_check", noon + timedelta(days=night)).state) == "success"
        with warehouse.session("analyst") as cursor:
            cursor.execute(
                "SELECT count(*) AS n, count(problem) AS bad, count(DISTINCT checked_at) AS nights"
                " FROM ops.content_checks WHERE dataset = 'checked'"
            )
            assert tuple(cursor.fetchone() or ()) == (20, 1, verify.NIGHTS)
        assert open_incidents() == [("content differs", "checked")]

    def test_what_is_left_of_a_night_is_the_first_of_the_next(self, table: str) -> None:
        for number in range(3, 15):
            land("checked", window(number))
        assert verify.nightly_share(timedelta(0)) == []
        with warehouse.session("analyst") as cursor:
            cursor.execute("SELECT count(*) FROM ops.content_checks")
            assert warehouse.fetch_value(cursor) == 1


def test_a_publication_meanwhile_is_no_difference(table: str) -> None:
    """The version that is compared is replaced while it is read."""
    stop = threading.Event()

    def reload() -> None:
        count = 5
        while not stop.is_set():
            count = 11 - count
            land("checked", window(0), count)

    reloading = threading.Thread(target=reload)
    reloading.start()
    try:
        found = [each.problem for _ in range(10) for each in verify.compare("analyst", [("checked", window(0))])]
    finally:
        stop.set()
        reloading.join()
    assert found == [None] * 10


@pytest.mark.parametrize("change_of", ["RENAME TO checked_old", "RENAME COLUMN at TO moment", "RENAME COLUMN x TO y"])
def test_a_table_that_is_gone_or_renamed_is_reported_and_the_others_are_compared(table: str, change_of: str) -> None:
    with defined("other"):
        land("other", window(0))
        admin(f"ALTER TABLE {table} {change_of}")
        try:
            answer = json.loads(shell("--json").stdout)
            assert {each["dataset"] for each in answer["differences"]} == {"checked"}
            assert (answer["compared"], len(answer["differences"])) == (4, 3)
            assert open_incidents() == [("content differs", "checked")]
        finally:
            if "checked_old" in change_of:
                admin("ALTER TABLE sales.checked_old RENAME TO checked")


def test_someone_who_holds_a_comparison_holds_up_no_other(table: str) -> None:
    """An analyst has read all before the damage, and ends the transaction after the second check."""
    everything = "SELECT ops.verify_window(dataset, window_range) FROM ops.window_ledger"
    with closing(warehouse.connect("analyst")) as link, link.cursor() as cursor:
        cursor.execute(everything)
        change(f"DELETE FROM {table} WHERE id = 1")
        looked = list(verify.compare("loader", verify.landed("checked")))
        assert [(each.window, bool(each.problem)) for each in looked] == [(window(n), True) for n in range(3)]
        assert open_incidents() == [("content differs", "checked")]
        link.commit()
        assert open_incidents() == [("content differs", "checked")]
        land("checked", window(0))
        list(verify.compare("loader", verify.landed("checked")))
        cursor.execute("SELECT count(*) FROM ops.content_checks")
        assert warehouse.fetch_value(cursor) == 3, "one row per window is left"


def test_orders_that_someone_holds_a_comparison_of_are_compared(small_shop: Callable[[str], int]) -> None:
    """Of what is loaded by its changes a comparison of an earlier window does not count any more."""
    shopping.land()
    with closing(warehouse.connect("analyst")) as link, link.cursor() as cursor:
        change("UPDATE sales.orders SET amount = amount + 1 WHERE order_id = 77")
        assert shell("orders").exit_code == 1
        cursor.execute("SELECT ops.verify_window(dataset, window_range) FROM ops.window_ledger")
        small_shop("UPDATE shop.orders SET amount = amount + 1 WHERE order_id = 5")
        change("UPDATE sales.orders SET amount = amount - 1 WHERE order_id = 77")
        shopping.land("b")
        assert shell("orders").exit_code == 0
        assert open_incidents() == []


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_snapshot_of_before_is_not_checked(table: str, level: str) -> None:
    with closing(warehouse.connect("analyst")) as link, link.cursor() as cursor:
        link.set_session(isolation_level=level)
        with pytest.raises(psycopg2.Error, match="expected READ COMMITTED"):
            cursor.execute("SELECT ops.verify_window(dataset, window_range) FROM ops.window_ledger")


@pytest.mark.slow
def test_a_window_that_could_not_be_compared_is_reported(
    table: str, airflow: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "NIGHTS", 1)
    change(f"DELETE FROM {table} WHERE id = 1")
    with defined("other") as other:
        land("other", window(0))
        with warehouse.session("postgres") as cursor:
            cursor.execute(f"LOCK TABLE {other}")
            assert str(airflow("content_check", clock.now()).state) != "success"
            assert open_incidents() == [("content differs", "checked")], "the others were compared"
            answer = shell("other", "--json")
            assert (answer.exit_code, json.loads(answer.stdout)["compared"]) == (1, 0)
            assert json.loads(answer.stdout)["not_compared"][0]["window"] == str(window(0))
        assert shell("other").exit_code == 0
        with warehouse.session("analyst") as cursor:
            cursor.execute("SELECT error FROM ops.own_tasks WHERE dag_id = 'content_check'")
            said = f"1 landed windows could not be compared with the ledger, first other {window(0)}"
            assert said in str(warehouse.fetch_value(cursor))


MONTHS = {
    "a stretch that never landed": "UPDATE ops.ledger_months SET landed = landed + '{[2026-10-10,2026-10-20)}'",
    "a number": "UPDATE ops.ledger_months SET rows_published = 99999",
    "a month is gone": "DELETE FROM ops.ledger_months",
    "a month too many": "INSERT INTO ops.ledger_months (dataset, month, step, skipped)"
    " VALUES ('checked', '2026-11-01', '1 day', '{[2026-11-03,2026-11-04)}')",
}


@pytest.mark.parametrize("damage", MONTHS)
def test_sums_that_are_not_of_the_ledger_are_reported_until_they_are_counted_again(table: str, damage: str) -> None:
    def troubles() -> list[Any]:
        with warehouse.session("analyst") as cursor:
            cursor.execute("SELECT kind, subject FROM ops.current_troubles WHERE kind = 'sums differ'")
            return [tuple(row) for row in cursor.fetchall()]

    assert shell("checked").exit_code == 0
    change(MONTHS[damage])
    answer = shell("checked", "--json")
    (found,) = json.loads(answer.stdout)["sums"]
    assert (answer.exit_code, found["dataset"]) == (1, "checked")
    assert "in 1 months, first 2026-1" in found["problem"]
    assert troubles() == [("sums differ", "checked")]
    change("SELECT ops.recount_months('checked')")
    assert verify.nightly_share(timedelta(0)) == []
    assert troubles() == []
    change(MONTHS[damage])
    verify.nightly_share(timedelta(0))
    assert troubles() == [("sums differ", "checked")]
    assert "SELECT ops.recount_months('checked')" in shell("checked").stdout


def test_how_a_session_writes_values_is_no_difference() -> None:
    with defined(
        "written",
        "id bigint NOT NULL, at timestamptz NOT NULL, r regclass NOT NULL DEFAULT 'control.datasets'::regclass",
    ):
        land("written", window())
        with warehouse.session("analyst") as cursor:
            cursor.execute("SET LOCAL quote_all_identifiers = ON")
            cursor.execute("SELECT ops.verify_window(dataset, window_range) FROM ops.window_ledger")
            assert warehouse.fetch_value(cursor) is None
