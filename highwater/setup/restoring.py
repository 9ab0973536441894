"""What scripts/restore does in the warehouse's server: a backup comes to life beside the warehouse and then takes its
place, or nothing changes.

Four databases may be there, by the warehouse's name: ``<name>`` itself, ``<name>_restoring`` (what is being restored),
``<name>_former`` (what was there, until all is well) and ``<name>_replaced`` (that of the last restore that went well).
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
"""So often databases are renamed into which somebody has come meanwhile."""


@dataclass(frozen=True)
class Names:
    """What the databases are called."""

    warehouse: str
    restoring: str
    former: str
    replaced: str


def names() -> Names:
    """The names, from the settings."""
    name = settings.get().warehouse_database
    return Names(name, f"{name}_restoring", f"{name}_former", f"{name}_replaced")


def prepare() -> None:
    """The roles that own what is in a backup, and an empty database for it beside the warehouse.

    What a restore that was killed has left is put in order first.
    """
    finish()
    with _outside_transactions() as cursor:
        _drop(cursor, names().restoring)
    with _as_if_it_were_the_warehouse(names().restoring):
        bootstrap.prepare_empty()


def settle() -> None:
    """Bring what was restored to the schema of this code, and compare what is published in it with its ledger.

    Raises:
        ConfigurationError: it cannot be migrated.
        DataRejected: something that is published is not what the ledger says.
    """
    with _as_if_it_were_the_warehouse(names().restoring):
        for line in bootstrap.migrate().in_words():
            log.info("restore: %s", line)
        looked = list(verify.compare("analyst", verify.landed()))
        different = [
            f"{each.dataset} {each.window}: {each.problem or each.held}" for each in looked if not each.is_whole
        ]
        different += [f"{dataset}: {problem}" for dataset, problem in verify.sums("analyst")]
    if different:
        raise DataRejected(f"what the backup holds is not what its ledger says, {len(different)} times; {different[0]}")
    log.info("restore: %s windows compared with the ledger, none differs", len(looked))


def swap() -> None:
    """Let what was restored take the warehouse's place, at once; what was there is kept."""
    databases = names()
    _rename((databases.warehouse, databases.former), (databases.restoring, databases.warehouse))


def put_back() -> str:
    """Undo a swap, if there was one; says in a sentence where the former warehouse is, and what was restored."""
    databases = names()
    there = _there()
    if databases.former in there:
        _rename((databases.warehouse, databases.restoring), (databases.former, databases.warehouse))
        former = f"the former warehouse is back, as the database {databases.warehouse}"
    elif databases.warehouse in there:
        former = f"the warehouse is the database {databases.warehouse}, as it was"
    else:
        former = f"there was no database {databases.warehouse}, and there is none"
    if databases.restoring in _there():
        former += f"; what was read is the database {databases.restoring} until the next restore"
    return former


def finish() -> str:
    """Keep what was there until the next restore, and nothing else; says in a sentence where it is."""
    databases = names()
    there = _there()
    if databases.former not in there:
        return f"there was no database {databases.warehouse} before"
    with _outside_transactions() as cursor:
        _drop(cursor, databases.replaced)
    _rename((databases.former, databases.replaced))
    return f"what was there is the database {databases.replaced} until the next restore"


@contextmanager
def _as_if_it_were_the_warehouse(database: str) -> Iterator[None]:
    """Everything that asks the settings for the warehouse gets this database, in the block."""
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


def _there() -> set[str]:
    with _outside_transactions() as cursor:
        cursor.execute("SELECT datname FROM pg_catalog.pg_database")
        return {row[0] for row in cursor.fetchall()}


def _drop(cursor: Cursor, database: str) -> None:
    cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(ObjectInUse), stop=tenacity.stop_after_attempt(RENAMES), reraise=True
)
def _rename(*renamed: tuple[str, str]) -> None:
    """Give databases other names, all at once or none, whoever is in them; one that is not there is left out."""
    there = _there()
    with closing(warehouse.connect("postgres", "postgres")) as link, link, link.cursor() as cursor:
        cursor.execute(
            "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
            " WHERE datname = ANY(%s::name[])",
            ([before for before, _ in renamed],),
        )
        for before, after in renamed:
            if before in there:
                cursor.execute(
                    sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(before), sql.Identifier(after))
                )
