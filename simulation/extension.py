"""What the simulated company adds to the platform: its sources and their readers, pools, outages."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from highwater.environment import credentials, settings
from highwater.environment.project import Extension
from simulation import settings as simulation_settings

if TYPE_CHECKING:
    import typer
    from psycopg2.extensions import connection as Connection

log = logging.getLogger(__name__)

OWNER = "simulator"
READERS = (
    "legacy_reader",
    "shop_reader",
    "store_reader",
    "partner_reader",
    "supplier_reader",
    "billing_reader",
    "web_reader",
)
"""A source each: its name is that of the role without ``_reader``, and of its connection in Airflow."""
POOLS = {
    "sales": (3, "Tasks of historical_sales_migration at once, those of native backfills too"),
    "orders": (1, "Tasks of incremental_data_processing at once: one run merges at a time"),
    "channels": (3, "Tasks of multi_source_sync at once, but for its loads"),
    "loading": (3, "Tasks that load from store, partner and supplier at once"),
} | {source: (2, f"Windows of the source {source} that are in work at once") for source in ("billing", "web")}


def _connections() -> dict[str, dict[str, Any]]:
    config = settings.get()
    return {
        reader.removesuffix("_reader"): {
            "conn_type": "postgres",
            "host": config.warehouse_host,
            "port": config.warehouse_port,
            "schema": config.sources_database,
            "login": reader,
            "password": credentials.password(reader),
        }
        for reader in READERS
    }


def _prepare(admin: Connection) -> None:
    """Everything of sql/gate/, as the admin, and then of sql/sources/, as the simulator, each in one transaction."""
    from highwater.setup import roles
    from highwater.setup.migrations import running
    from highwater.store import warehouse

    with admin, admin.cursor() as cursor:
        roles.own_schema(cursor, "gate")
        running.run_folder(cursor, "gate")
    with warehouse.session(OWNER, settings.get().sources_database) as cursor:
        running.run_folder(cursor, "sources")


def _settings() -> Mapping[str, object]:
    config = simulation_settings.get()
    return {"HIGHWATER_HISTORY_DAYS": config.history_days, "HIGHWATER_CHANNEL_DAYS": config.channel_days}


def _advance() -> None:
    """Make what the sources would have made until now."""
    from highwater.model import clock
    from simulation import batches, channels, sales, shop

    for day in sales.advance(clock.now()):
        log.info("simulated legacy.sales of %s", day)
    shop.advance(clock.now())
    for day in channels.advance(clock.now()):
        log.info("simulated store and partner of %s", day)
    batches.advance(clock.now())


def _commands() -> Mapping[str, typer.Typer]:
    from simulation import commands

    return {"outage": commands.app}


EXTENSION = Extension(
    owner=OWNER,
    readers=READERS,
    pools=POOLS,
    connections=_connections,
    settings=_settings,
    prepare=_prepare,
    advance=_advance,
    commands=_commands,
    begin_settings={
        "daily_sales": "HIGHWATER_HISTORY_DAYS",
        **dict.fromkeys(
            ("store_sales", "partner_sales", "supplier_settlements", "channel_sales"), "HIGHWATER_CHANNEL_DAYS"
        ),
    },
)
