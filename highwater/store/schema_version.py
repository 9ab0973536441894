"""The version of the warehouse's schema, and whether this code works with it: every session checks."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from psycopg2 import errors
from psycopg2.extensions import connection as Connection

from highwater.environment import commands
from highwater.model.errors import WrongVersion

MIGRATIONS = Path(__file__).resolve().parents[1] / "sql/migrations"
BASELINE = "0.2.0"
"""The version that warehouses without one are migrated to first."""


@cache
def known() -> tuple[str, ...]:
    """The versions that this code knows, oldest first: the folders of ``highwater/sql/migrations/``."""
    names = [path.name for path in MIGRATIONS.iterdir() if path.is_dir()]
    return tuple(sorted(names, key=lambda name: [int(number) for number in name.split(".")]))


def head() -> str:
    """The version that this code works with."""
    return known()[-1]


def assert_fits(link: Connection) -> None:
    """Refuse a warehouse of another version; the connection must have no open transaction.

    Raises:
        WrongVersion: it is newer or older than this code, or not Highwater's; says which, and the way out.
    """
    before = link.autocommit
    link.autocommit = True
    try:
        with link.cursor() as cursor:
            cursor.execute(_version())
            row = cursor.fetchone()
        found = None if row is None else str(row[0])
    except errors.UndefinedTable:
        found = None
    except errors.InsufficientPrivilege as error:
        raise _of_others(link, f"{link.info.user} may not read its version") from error
    finally:
        if not link.closed:
            link.autocommit = before
    if found != head():
        raise refusal(found)


def refusal(found: str | None) -> WrongVersion:
    """The error for a warehouse of another version; None if it has no version."""
    if found is not None and found not in known():
        return WrongVersion(
            f"the warehouse's schema is version {found}, newer than this code, which knows versions up to {head()}:"
            " use the newer code; nothing was changed"
        )
    there = "has no version yet" if found is None else f"is version {found}"
    return WrongVersion(f"the warehouse's schema {there}, and this code needs {head()}: {commands.how_to_migrate()}")


def _of_others(link: Connection, why: str) -> WrongVersion:
    return WrongVersion(
        f"the database {link.info.dbname!r} is not Highwater's: {why};"
        " set HIGHWATER_WAREHOUSE_DATABASE to the one to use; nothing was changed"
    )


@cache
def _version() -> str:
    return MIGRATIONS.with_name("schema").joinpath("version.sql").read_text()
