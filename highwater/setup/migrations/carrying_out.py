"""Carries out a plan: one transaction, from whatever state to the schema of this code."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from highwater.setup.migrations import adoption, dependents, planning, running
from highwater.setup.migrations.planning import Plan
from highwater.store import schema_version, warehouse

log = logging.getLogger(__name__)


def carry_out(link: Connection, prepare: Callable[[Cursor], None]) -> Plan:
    """Bring the warehouse to the version of this code; returns what there was to do.

    Args:
        link: the publisher's, with no transaction under way.
        prepare: what the transaction begins with: the settings that files of start/ and datasets/ ask for.

    Raises:
        ConfigurationError: the warehouse is newer than this code, or not Highwater's; a file is refused; something of
            somebody else's needs what is made anew. Nothing has changed then.
    """
    with link, link.cursor() as cursor:
        plan = planning.plan(cursor)
    with _upgrading(link, plan) as upgrade, link, link.cursor() as cursor:
        prepare(cursor)
        if plan.makes_objects:
            with _keeping_grants_of_others(cursor):
                _change_tables(cursor, plan, upgrade)
                running.run_repeatable(cursor)
            if plan.is_adopted:
                running.run_folder(cursor, "adoption")
        running.run_folder(cursor, "start")
        running.run_folder(cursor, "datasets")
        if plan.makes_objects:
            _remember(cursor)
    return plan


@contextmanager
def _upgrading(link: Connection, plan: Plan) -> Iterator[Callable[[str], None]]:
    """What applies migrations; Alembic is loaded only where there are some."""
    if not plan.versions:
        yield lambda version: None
        return
    # What it says of itself is for its developers.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from highwater.setup.migrations import tables

    with tables.upgrading(link) as upgrade:
        yield upgrade


def _change_tables(cursor: Cursor, plan: Plan, upgrade: Callable[[str], None]) -> None:
    """Everything up to the tables of the present version; triggers, views and functions are gone then."""
    if plan.is_adopted:
        _lock_tables(cursor)
        adoption.set_aside(cursor)
    elif plan.before is not None:
        _lock_tables(cursor)
        _drop_objects(cursor)
    if plan.versions:
        # Alembic keeps its version there, and makes that before it runs anything.
        cursor.execute("CREATE SCHEMA IF NOT EXISTS control")
        if plan.is_adopted:
            upgrade(schema_version.BASELINE)
            adoption.take_over(cursor)
        upgrade(plan.after)


def _lock_tables(cursor: Cursor) -> None:
    """Take the engine's tables for this transaction alone, in the order they were made in: nobody is at work meanwhile.

    Not the one with the version, which every session asks for at its beginning.
    """
    cursor.execute(
        "SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c"
        " JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname IN ('control', 'ops', 'quarantine') AND c.relkind IN ('r', 'p')"
        " AND c.relname <> 'alembic_version' AND c.relowner = 'publisher'::pg_catalog.regrole ORDER BY c.oid"
    )
    for schema, table in warehouse.fetch_all(cursor):
        cursor.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(schema, table)))


def _drop_objects(cursor: Cursor) -> None:
    """Drop what the files of highwater/sql/warehouse/ have made; tables, and the functions that their rules call, stay.

    Raises:
        ConfigurationError: something of somebody else's needs one of them.
    """
    made = planning.objects(cursor)
    for one in made:
        if one.kind == "trigger":
            cursor.execute(one.drop)
    left = [one for one in made if one.kind in ("view", "function")]
    dependents.refuse(cursor, [(one.classid, one.oid) for one in left])
    for one in left:
        cursor.execute(one.drop)


@contextmanager
def _keeping_grants_of_others(cursor: Cursor) -> Iterator[None]:
    """Rights that the admin has given to roles that are not ours are given again to what is made anew in the block."""
    before = _grants_of_others(cursor)
    yield
    lost = sorted(before - _grants_of_others(cursor))
    for kind, name, privilege, is_grantable, grantee in lost:
        if kind == "FUNCTION":
            cursor.execute("SELECT to_regprocedure(%s) IS NOT NULL", (name,))
        elif kind == "TABLE":
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (name,))
        else:
            cursor.execute("SELECT to_regnamespace(%s) IS NOT NULL", (name,))
        if not warehouse.fetch_value(cursor):
            log.warning("%s had %s on %s, which is no more", grantee, privilege, name)
            continue
        # The server has quoted the name, and knows the privilege and the kind.
        cursor.execute(
            sql.SQL("GRANT {} ON {} {} TO {} {}").format(
                sql.SQL(privilege),
                sql.SQL(kind),
                sql.SQL(name),
                sql.Identifier(grantee),
                sql.SQL("WITH GRANT OPTION" if is_grantable else ""),
            )
        )


def _grants_of_others(cursor: Cursor) -> set[Any]:
    warehouse.run_file(cursor, "schema/grants.sql", {"roles": planning.our_roles()})
    return {(row.kind, row.name, row.privilege, row.is_grantable, row.grantee) for row in warehouse.fetch_all(cursor)}


def _remember(cursor: Cursor) -> None:
    """Write down which files were applied, and what they have made."""
    fingerprints = planning.file_fingerprints()
    fingerprints[planning.OBJECTS] = planning.fingerprint_of(planning.objects(cursor))
    cursor.execute("DELETE FROM control.repeatable")
    cursor.execute(
        "INSERT INTO control.repeatable (name, fingerprint, applied_at)"
        " SELECT r.name, r.fingerprint, ops.clock() FROM unnest(%s::text[], %s::text[]) AS r (name, fingerprint)",
        (list(fingerprints), list(fingerprints.values())),
    )
