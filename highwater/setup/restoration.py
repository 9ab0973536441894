"""The steps of scripts/restore in the warehouse's server: a backup is restored beside the warehouse and then swapped
in, or nothing changes.

Up to four databases exist, named after the warehouse: ``<name>`` itself, ``<name>_restoring`` (the backup being
restored), ``<name>_former`` (the former warehouse, until the restore has succeeded) and ``<name>_replaced`` (the
former warehouse of the last successful restore).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import tenacity
from psycopg2 import sql
from psycopg2.errors import ObjectInUse
from psycopg2.extensions import cursor as Cursor

from highwater.environment import settings
from highwater.model.errors import DataRejected
from highwater.setup import bootstrap
from highwater.store import verify, warehouse

log = logging.getLogger(__name__)

RENAMES = 5
"""Number of attempts to rename databases that another session may connect to meanwhile."""


@dataclass(frozen=True)
class Names:
    """The names of the databases."""

    warehouse: str
    restoring: str
    former: str
    replaced: str


def names() -> Names:
    """The names, from the settings."""
    name = settings.get().warehouse_database
    return Names(name, f"{name}_restoring", f"{name}_former", f"{name}_replaced")


def prepare() -> None:
    """Create the roles that own the objects of a backup, and an empty database for it beside the warehouse.

    Leftovers of a killed restore are cleaned up first.
    """
    finish()
    with _outside_transactions() as cursor:
        _drop(cursor, names().restoring)
    with _as_warehouse(names().restoring):
        bootstrap.prepare_empty()


def settle() -> None:
    """Migrate the restored database to the installed version, and compare its published data with its ledger.

    Raises:
        ConfigurationError: it cannot be migrated.
        DataRejected: published data differs from the ledger.
    """
    with _as_warehouse(names().restoring):
        for line in bootstrap.migrate().in_words():
            log.info("restore: %s", line)
        checks = list(verify.compare("analyst", verify.landed()))
        different = [
            f"{each.dataset} {each.window}: {each.problem or each.held}" for each in checks if not each.is_whole
        ]
        different += [f"{dataset}: {problem}" for dataset, problem in verify.sums("analyst")]
    if different:
        raise DataRejected(f"the backup differs from its ledger in {len(different)} places: {different[0]}")
    log.info("restore: %s windows compared with the ledger, none differs", len(checks))


def swap() -> None:
    """Swap the restored database in as the warehouse in one transaction; the former warehouse is kept."""
    databases = names()
    _rename((databases.warehouse, databases.former), (databases.restoring, databases.warehouse))


def put_back() -> str:
    """Undo the swap, if it was done; returns a sentence on where the former warehouse and the restored database are."""
    databases = names()
    existing = _existing()
    if databases.former in existing:
        _rename((databases.warehouse, databases.restoring), (databases.former, databases.warehouse))
        sentence = f"the former warehouse is database {databases.warehouse} again"
    elif databases.warehouse in existing:
        sentence = f"the warehouse, database {databases.warehouse}, is unchanged"
    else:
        sentence = f"there was no database {databases.warehouse}, and none was created"
    if databases.restoring in _existing():
        sentence += f"; the restored data is kept as database {databases.restoring} until the next restore"
    return sentence


def finish() -> str:
    """Keep the former warehouse until the next restore, and no older one; returns a sentence on where it is."""
    databases = names()
    existing = _existing()
    if databases.former not in existing:
        return f"there was no database {databases.warehouse} before"
    with _outside_transactions() as cursor:
        _drop(cursor, databases.replaced)
    _rename((databases.former, databases.replaced))
    return f"the former warehouse is kept as database {databases.replaced} until the next restore"


@contextmanager
def _as_warehouse(database: str) -> Iterator[None]:
    """In the block, the settings name this database as the warehouse."""
    variable = "HIGHWATER_WAREHOUSE_DATABASE"
    before = os.environ.get(variable)
    os.environ[variable] = database
    settings.get.cache_clear()
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before
        settings.get.cache_clear()


@contextmanager
def _outside_transactions() -> Iterator[Cursor]:
    with closing(warehouse.connect("postgres", "postgres")) as link:
        link.autocommit = True
        with link.cursor() as cursor:
            yield cursor


def _existing() -> set[str]:
    with _outside_transactions() as cursor:
        cursor.execute("SELECT datname FROM pg_catalog.pg_database")
        return {row.datname for row in warehouse.fetch_all(cursor)}


def _drop(cursor: Cursor, database: str) -> None:
    cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(ObjectInUse), stop=tenacity.stop_after_attempt(RENAMES), reraise=True
)
def _rename(*renamed: tuple[str, str]) -> None:
    """Rename databases, all or none, ending the sessions in them; a database that does not exist is left out."""
    existing = _existing()
    with closing(warehouse.connect("postgres", "postgres")) as link, link, link.cursor() as cursor:
        cursor.execute(
            "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
            " WHERE datname = ANY(%s::name[])",
            ([before for before, _ in renamed],),
        )
        for before, after in renamed:
            if before in existing:
                cursor.execute(
                    sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(before), sql.Identifier(after))
                )
