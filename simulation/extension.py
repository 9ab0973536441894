"""The extension of the simulated company: its sources and their readers, pools, commands."""

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
"""One reader per source; the source and its connection in Airflow have the role's name without ``_reader``."""
POOLS = {
    "sales": (3, "Concurrent tasks of historical_sales_migration, including native backfills"),
    "orders": (1, "Concurrent tasks of incremental_data_processing: one run merges at a time"),
    "channels": (3, "Concurrent tasks of multi_source_sync, except its loads"),
    "loading": (3, "Concurrent tasks that load from store, partner and supplier"),
} | {source: (2, f"Windows of the source {source} loaded at once") for source in ("billing", "web")}


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
    """Run the files of sql/gate/ as the admin, then those of sql/sources/ as the simulator, each in one transaction."""
    from highwater.setup import roles
    from highwater.setup.migrations import statements
    from highwater.store import warehouse

    with admin, admin.cursor() as cursor:
        roles.own_schema(cursor, "gate")
        statements.run_folder(cursor, "gate")
    with warehouse.session(OWNER, settings.get().sources_database) as cursor:
        statements.run_folder(cursor, "sources")


def _settings() -> Mapping[str, object]:
    config = simulation_settings.get()
    return {"HIGHWATER_HISTORY_DAYS": config.history_days, "HIGHWATER_CHANNEL_DAYS": config.channel_days}


def _advance() -> None:
    """Generate the data of all sources up to now."""
    from highwater.model import clock
    from simulation import batches, channels, sales, shop

    for day in sales.advance(clock.now()):
        log.info("generated legacy.sales of %s", day)
    shop.advance(clock.now())
    for day in channels.advance(clock.now()):
        log.info("generated store and partner of %s", day)
    batches.advance(clock.now())


def _commands() -> Mapping[str, typer.Typer]:
    from simulation import commands

    return {"outage": commands.outage, "drill": commands.drill}


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
