"""Real Airflow in the test's own process, a shop and sources to load from, a webhook, a clock to move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import prepared
import pytest
from psycopg2.extensions import cursor as Cursor
from receiver import Receiver, receiver

from highwater.environment import settings
from highwater.local import environment
from highwater.model import clock
from highwater.store import warehouse
from simulation import channels, sales, shop


@pytest.fixture(scope="session")
def airflow(platform: Path) -> Iterator[Callable[..., Any]]:
    """Runs a DAG of ``dags/`` for a logical date, or none, through `dag.test`; returns the finished run.

    Tasks run for real, one after the other, in this process, and are not retried: the end to end tests see to that.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.environment(port=1).items():
            patch.setenv(name, value)
        (settings.get().home / "airflow").mkdir(exist_ok=True)
        prepared.migrate_metadata()

        def run(dag_id: str, logical_date: datetime | None, **conf: object) -> Any:
            from airflow.dag_processing.dagbag import DagBag

            file = settings.ROOT / f"dags/{dag_id}.py"
            bag = DagBag(dag_folder=file, bundle_path=file.parent, bundle_name="dags-folder")
            assert not bag.import_errors
            dag = bag.dags[dag_id]
            for task in dag.tasks:
                task.retries = 0
            try:
                return dag.test(logical_date=logical_date, run_conf=conf or None)
            finally:
                # Tests kill the server: a session kept open until the end would find it gone.
                if airflow_settings.Session is not None:
                    airflow_settings.Session.remove()

        from airflow import settings as airflow_settings

        yield run
        airflow_settings.dispose_orm()


@pytest.fixture(scope="module")
def shop_restored(platform: Path) -> Iterator[None]:
    """The shop is as bootstrap made it again once the module is done with it."""
    yield
    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        cursor.execute("TRUNCATE shop.ticks, shop.orders, shop.deleted_orders RESTART IDENTITY")
    shop.advance(clock.now())


@pytest.fixture
def small_shop(shop_restored: None, empty_warehouse: None, simulator: Cursor) -> Iterator[Callable[[str], int]]:
    """A shop of 300 paid orders, none refused, and nothing loaded yet; call it with a statement to change the shop."""

    def change(statement: str) -> int:
        simulator.execute(statement)
        simulator.connection.commit()
        return int(simulator.rowcount)

    with warehouse.session("postgres") as cursor:
        cursor.execute("DELETE FROM control.sources WHERE dataset = 'orders'")
        cursor.execute("INSERT INTO control.sources (dataset, source) VALUES ('orders', 'shop')")
    change("TRUNCATE shop.ticks, shop.orders, shop.deleted_orders RESTART IDENTITY")
    change(
        "INSERT INTO shop.orders (customer_id, status, amount, currency, placed_at)"
        " SELECT n, 'paid', n, 'EUR', '2026-10-30 12:00+00' FROM generate_series(1, 300) AS n"
    )
    yield change
    with warehouse.session("postgres") as cursor:
        cursor.execute("DELETE FROM ops.checkpoints")
        cursor.execute("DELETE FROM control.sources WHERE dataset = 'orders'")
        cursor.execute("INSERT INTO control.sources (dataset, source) VALUES ('orders', 'shop')")


@pytest.fixture
def source_day(simulator: Cursor) -> Iterator[Callable[[str], int]]:
    """Changes 2026-10-05 at the source by a statement; the day is made again at the end."""

    def change(statement: str) -> int:
        simulator.execute(statement)
        simulator.connection.commit()
        return int(simulator.rowcount)

    yield change
    change("DROP TABLE legacy.sales_20261005")
    change("DELETE FROM legacy.closed_days WHERE business_date = '2026-10-05'")
    assert [str(made) for made in sales.advance(clock.now())] == ["2026-10-05"]


@pytest.fixture
def three_sources(airflow: Callable[..., Any], empty_warehouse: None) -> Iterator[None]:
    """Store and partner since 2026-10-28, the supplier since 2026-10-19, all as they are simulated; nothing loaded yet.

    What a test changes at the sources or in control.sources is put back.
    """
    with warehouse.session("postgres") as cursor:
        cursor.execute("SELECT dataset, first_window FROM control.datasets WHERE dag_id = 'multi_source_sync'")
        grids = cursor.fetchall()
        cursor.execute(
            "UPDATE control.datasets SET first_window = '2026-10-28 00:00+00'"
            " WHERE dataset IN ('store_sales', 'partner_sales', 'channel_sales')"
        )
        cursor.execute("SELECT * FROM control.sources WHERE strategy = 'windows'")
        rules = cursor.fetchall()
    yield
    with warehouse.session("postgres") as cursor:
        for grid in grids:
            cursor.execute("UPDATE control.datasets SET first_window = %s WHERE dataset = %s", (grid[1], grid[0]))
        cursor.execute("DELETE FROM control.sources WHERE strategy = 'windows'")
        for rule in rules:
            cursor.execute(f"INSERT INTO control.sources VALUES ({', '.join(['%s'] * len(rule))})", rule)
    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        cursor.execute(
            "TRUNCATE store.sales, store.closed_days, partner.orders, partner.closed_days, partner.made_days,"
            " partner.resends, partner.outages, supplier.settlements, supplier.deliveries, simulation.outages"
        )
    channels.advance(clock.now())


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A webhook that receives the alerts."""
    with receiver() as mine:
        monkeypatch.setenv("HIGHWATER_ALERT_URLS", mine.url)
        settings.get.cache_clear()
        yield mine
    monkeypatch.undo()
    settings.get.cache_clear()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Moves the clock, which otherwise stays at noon, to this long after noon."""
    noon = clock.now()

    def move(by: timedelta) -> None:
        monkeypatch.setenv("HIGHWATER_NOW", (noon + by).isoformat())

    return move
