"""Executes a migration plan: one transaction, from any known state to the schema of the installed version."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from highwater.setup.migrations import adoption, dependents, plans, statements
from highwater.setup.migrations.plans import Plan
from highwater.store import schema_version, warehouse

log = logging.getLogger(__name__)


def carry_out(link: Connection, prepare: Callable[[Cursor], None]) -> Plan:
    """Migrate the warehouse to the installed version; returns what was done.

    Args:
        link: a session of the publisher, with no open transaction.
        prepare: called first in the transaction; sets the parameters that files of start/ and datasets/ read.

    Raises:
        ConfigurationError: the warehouse is newer than this version, or not Highwater's; a file is invalid; an object
            that is not Highwater's depends on what is created again. Nothing has changed then.
    """
    with link, link.cursor() as cursor:
        plan = plans.plan(cursor)
    with _upgrading(link, plan) as upgrade, link, link.cursor() as cursor:
        prepare(cursor)
        if plan.makes_objects:
            with _keeping_grants_of_others(cursor):
                _change_tables(cursor, plan, upgrade)
                statements.run_repeatable(cursor)
            if plan.is_adopted:
                statements.run_folder(cursor, "adoption")
        statements.run_folder(cursor, "start")
        statements.run_folder(cursor, "datasets")
        if plan.makes_objects:
            _remember(cursor)
    return plan


@contextmanager
def _upgrading(link: Connection, plan: Plan) -> Iterator[Callable[[str], None]]:
    """A function that applies a migration; Alembic is imported only if there are any."""
    if not plan.versions:
        yield lambda version: None
        return
    # Its own log lines are of no use to a user.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from highwater.setup.migrations import tables

    with tables.upgrading(link) as upgrade:
        yield upgrade


def _change_tables(cursor: Cursor, plan: Plan, upgrade: Callable[[str], None]) -> None:
    """Migrate the tables to the current version; triggers, views and functions have been dropped afterwards."""
    if plan.is_adopted:
        _lock_tables(cursor)
        adoption.set_aside(cursor)
    elif plan.before is not None:
        _lock_tables(cursor)
        _drop_objects(cursor)
    if plan.versions:
        # Alembic creates its version table there before it runs anything.
        cursor.execute("CREATE SCHEMA IF NOT EXISTS control")
        if plan.is_adopted:
            upgrade(schema_version.BASELINE)
            adoption.take_over(cursor)
        upgrade(plan.after)


def _lock_tables(cursor: Cursor) -> None:
    """Lock the engine's tables exclusively, in the order of their creation, so that no other session works meanwhile.

    The version table is not locked, since every session reads it first.
    """
    cursor.execute(
        "SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c"
        " JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname IN ('control', 'ops', 'quarantine') AND c.relkind IN ('r', 'p')"
        " AND c.relname <> 'alembic_version' AND c.relowner = 'publisher'::pg_catalog.regrole ORDER BY c.oid"
    )
    for table in warehouse.fetch_all(cursor):
        cursor.execute(
            sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(table.nspname, table.relname))
        )


def _drop_objects(cursor: Cursor) -> None:
    """Drop the objects of highwater/sql/warehouse/; tables, and functions that their constraints call, stay.

    Raises:
        ConfigurationError: an object that is not Highwater's depends on one of them.
    """
    made = plans.objects(cursor)
    for one in made:
        if one.kind == "trigger":
            cursor.execute(one.drop)
    left = [one for one in made if one.kind in ("view", "function")]
    dependents.refuse(cursor, [(one.classid, one.oid) for one in left])
    for one in left:
        cursor.execute(one.drop)


@contextmanager
def _keeping_grants_of_others(cursor: Cursor) -> Iterator[None]:
    """Grant privileges of roles that are not ours again on the objects that the block drops and creates again."""
    before = _grants_of_others(cursor)
    yield
    lost = sorted(before - _grants_of_others(cursor))
    for grant in lost:
        if grant.kind == "FUNCTION":
            cursor.execute("SELECT to_regprocedure(%s) IS NOT NULL", (grant.name,))
        elif grant.kind == "TABLE":
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (grant.name,))
        else:
            cursor.execute("SELECT to_regnamespace(%s) IS NOT NULL", (grant.name,))
        if not warehouse.fetch_value(cursor):
            log.warning("%s had %s on %s, which no longer exists", grant.grantee, grant.privilege, grant.name)
            continue
        # Name, privilege and kind come from the server, the name quoted.
        cursor.execute(
            sql.SQL("GRANT {} ON {} {} TO {} {}").format(
                sql.SQL(grant.privilege),
                sql.SQL(grant.kind),
                sql.SQL(grant.name),
                sql.Identifier(grant.grantee),
                sql.SQL("WITH GRANT OPTION" if grant.is_grantable else ""),
            )
        )


def _grants_of_others(cursor: Cursor) -> set[Any]:
    warehouse.run_file(cursor, "schema/grants.sql", {"roles": plans.our_roles()})
    return set(warehouse.fetch_all(cursor))


def _remember(cursor: Cursor) -> None:
    """Store the fingerprints of the applied files and of the objects they created."""
    fingerprints = plans.file_fingerprints()
    fingerprints[plans.OBJECTS] = plans.fingerprint_of(plans.objects(cursor))
    cursor.execute("DELETE FROM control.repeatable")
    cursor.execute(
        "INSERT INTO control.repeatable (name, fingerprint, applied_at)"
        " SELECT r.name, r.fingerprint, ops.clock() FROM unnest(%s::text[], %s::text[]) AS r (name, fingerprint)",
        (list(fingerprints), list(fingerprints.values())),
    )
