"""A rule that another session changes just now is waited for, and holds for what is published then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing

import pytest
import shopping
import tables
from attacks import act
from tables import admin, defined, window
from waiting import wait_until

from highwater.model.errors import DataRejected, HighwaterError
from highwater.store import checkpoints, publish, warehouse
from highwater.store.publish import Staged

pytestmark = pytest.mark.usefixtures("empty_warehouse")
WAITS = "SELECT FROM pg_stat_activity WHERE usename = 'loader' AND wait_event_type = 'Lock'"


def came_to(publishes: Callable[[], object], change: str, role: str = "operator") -> str:
    """What a publication comes to that waits for a change of its rules, which is then committed."""
    answers: list[object] = []

    def try_it() -> None:
        try:
            answers.append(publishes())
        except HighwaterError as error:
            answers.append(error)

    with closing(warehouse.connect(role)) as link, link.cursor() as cursor:
        cursor.execute(change)
        other = threading.Thread(target=try_it)
        other.start()
        try:
            wait_until("the publication waits", lambda: answers or act("postgres", WAITS), 60)
        finally:
            link.commit()
            other.join()
    return str(answers[0])


def publication(staged: Staged) -> Callable[[], object]:
    return lambda: publish.publish_window("shaped", window(), staged, tables.RUN)


def test_another_grid() -> None:
    with defined("shaped"):
        staged = tables.stage("shaped", window())
        change = "UPDATE control.datasets SET step = '12 hours' WHERE dataset = 'shaped'"
        said = came_to(publication(staged), change, "postgres")
        assert "is not a window of shaped: its windows are 12 hours long" in said
        assert act("postgres", "SELECT FROM ops.window_ledger") == []


def test_another_table() -> None:
    with defined("shaped") as table:
        staged = tables.stage("shaped", window())
        admin(f"CREATE TABLE sales.shaped_again ({tables.COLUMNS}, {tables.KEYED}")
        change = "UPDATE control.datasets SET published_table = 'sales.shaped_again' WHERE dataset = 'shaped'"
        try:
            assert "published" in came_to(publication(staged), change, "postgres")
            assert len(tables.rows_of("sales.shaped_again", role="postgres")) == 5
            assert tables.rows_of(table, role="postgres") == []
        finally:
            admin(f"UPDATE control.datasets SET published_table = '{table}' WHERE dataset = 'shaped'")
            admin("DROP TABLE sales.shaped_again")


def test_the_guard_on_volume() -> None:
    with defined("shaped") as table:
        tables.land("shaped", window(), 100)
        act("operator", "UPDATE control.datasets SET on_shrink = 'accept' WHERE dataset = 'shaped'")
        staged = tables.stage("shaped", window(), 1)
        change = "UPDATE control.datasets SET on_shrink = 'stop' WHERE dataset = 'shaped'"
        assert "100 rows have landed, 1 would take their place" in came_to(publication(staged), change)
        assert len(tables.rows_of(table, role="postgres")) == 100


def test_the_rule_on_mass_deletes(small_shop: Callable[[str], int]) -> None:
    shopping.land()
    small_shop("DELETE FROM shop.orders WHERE order_id > 10")
    act("operator", "UPDATE control.sources SET on_mass_delete = 'accept' WHERE dataset = 'orders'")
    changes = shopping.prepare()
    change = "UPDATE control.sources SET on_mass_delete = 'stop' WHERE dataset = 'orders'"
    said = came_to(lambda: checkpoints.merge("orders", changes, shopping.run()), change)
    assert "of the 300 live rows of orders would be deleted" in said
    assert len(shopping.here()) == 300
    with pytest.raises(DataRejected, match="nothing is merged"):
        checkpoints.merge("orders", changes, shopping.run())
