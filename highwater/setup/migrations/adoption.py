"""Adopts a warehouse from before versions existed: creates the tables of the first version and copies its rows.

Whatever code created the warehouse, the resulting schema is that of a new one by construction. Published tables,
staging sets and former versions of windows are unchanged.
"""

from __future__ import annotations

import logging
from graphlib import TopologicalSorter
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from highwater.model.errors import ConfigurationError
from highwater.setup.migrations import dependents, plans, statements
from highwater.store import driver_errors, warehouse
from highwater.store.driver_errors import Kind

log = logging.getLogger(__name__)

SCHEMAS = ("control", "ops", "quarantine")
ASIDE = "aside_"
"""Prefix of the schemas of the former tables until their rows are copied."""
NEW = ("alembic_version", "repeatable")
"""Tables that no warehouse without versions has."""
RULES_OF_RECORDS = (
    "window_is_usual",
    "windows_are_usual",
    "names_are_short",
    "counts_are_usual",
    "changes_are_counted",
    "moments_are_usual",
    "keys_are_keys",
    "source_is_the_id_of_a_connection",
)
"""Constraints on records. A row that violates one was not written by the engine, may break readers, and is deleted."""
RECORDS = (
    "attempts",
    "consistency_checks",
    "health_checks",
    "integrity_checks",
    "processing_summary",
    "source_checks",
    "unread_policies",
    "validation_results",
)
"""Tables of schema ops to which these constraints apply."""


def set_aside(cursor: Cursor) -> None:
    """Rename the schemas of the engine's tables to make room for new ones.

    Raises:
        ConfigurationError: an object that is not Highwater's depends on a table, view or function in them.
    """
    cursor.execute(
        "SELECT k.classid, k.oid FROM (SELECT 'pg_class'::regclass::oid::bigint AS classid, oid::bigint AS oid,"
        " relnamespace AS namespace FROM pg_catalog.pg_class"
        " UNION ALL SELECT 'pg_proc'::regclass::oid::bigint, oid::bigint, pronamespace FROM pg_catalog.pg_proc"
        " UNION ALL SELECT 'pg_type'::regclass::oid::bigint, oid::bigint, typnamespace FROM pg_catalog.pg_type) AS k"
        " JOIN pg_catalog.pg_namespace AS n ON n.oid = k.namespace WHERE n.nspname = ANY(%s::name[])",
        (list(SCHEMAS),),
    )
    dependents.refuse(cursor, [(row.classid, row.oid) for row in warehouse.fetch_all(cursor)])
    # Triggers would fire on the changes below.
    for one in plans.objects(cursor):
        if one.kind == "trigger":
            cursor.execute(one.drop)
    cursor.execute("SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname = ANY(%s::name[])", (list(SCHEMAS),))
    for schema in warehouse.fetch_all(cursor):
        cursor.execute(
            sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(
                sql.Identifier(schema.nspname), sql.Identifier(ASIDE + schema.nspname)
            )
        )


def take_over(cursor: Cursor) -> None:
    """Copy the rows of the former tables into the new ones, and drop the former tables.

    Raises:
        ConfigurationError: a table is not the engine's, or a row violates a constraint of its new table.
    """
    statements.run_folder(cursor, "adoption/aside")
    former, new = _columns(cursor, ASIDE), _columns(cursor, "")
    unknown = sorted(former.keys() - new.keys())
    if unknown:
        raise ConfigurationError(
            f"table {unknown[0]} is not Highwater's: move it into a schema of your own"
            f" (ALTER TABLE {unknown[0]} SET SCHEMA …) and start again; nothing was changed"
        )
    for table in _order(cursor):
        if table in former:
            _copy(cursor, table, former[table], new[table])
    _continue_numbers(cursor)
    for schema in SCHEMAS:
        cursor.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(ASIDE + schema)))


def _columns(cursor: Cursor, prefix: str) -> dict[str, dict[str, Any]]:
    """By table and column: whether it is not null, and its default expression."""
    cursor.execute(
        "SELECT substr(n.nspname, length(%(prefix)s) + 1) || '.' || c.relname AS table, a.attname AS name,"
        " a.attnotnull AS is_filled, a.attgenerated <> '' AS is_generated,"
        " CASE WHEN a.attidentity = '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END AS preset"
        " FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
        " JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
        " LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum"
        " WHERE n.nspname = ANY(%(schemas)s::name[]) AND c.relkind IN ('r', 'p') AND c.relname <> ALL(%(new)s::name[])"
        " ORDER BY c.oid, a.attnum",
        {"prefix": prefix, "schemas": [prefix + schema for schema in SCHEMAS], "new": list(NEW)},
    )
    tables: dict[str, dict[str, Any]] = {}
    for row in warehouse.fetch_all(cursor):
        tables.setdefault(row.table, {})[row.name] = row
    return tables


def _order(cursor: Cursor) -> list[str]:
    """The new tables, each after the tables that it references."""
    cursor.execute(
        "SELECT n.nspname || '.' || c.relname AS table, array_agg(fn.nspname || '.' || fc.relname) FILTER"
        " (WHERE fc.oid <> c.oid) AS wanted"
        " FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
        " LEFT JOIN pg_catalog.pg_constraint AS k ON k.conrelid = c.oid AND k.contype = 'f'"
        " LEFT JOIN pg_catalog.pg_class AS fc ON fc.oid = k.confrelid"
        " LEFT JOIN pg_catalog.pg_namespace AS fn ON fn.oid = fc.relnamespace"
        " WHERE n.nspname = ANY(%s::name[]) AND c.relkind IN ('r', 'p') GROUP BY 1 ORDER BY 1",
        (list(SCHEMAS),),
    )
    return list(TopologicalSorter({row.table: row.wanted or [] for row in warehouse.fetch_all(cursor)}).static_order())


def _copy(cursor: Cursor, table: str, former: dict[str, Any], new: dict[str, Any]) -> None:
    """Copy the rows of one table by the columns that both have; a null in a not null column becomes its default."""
    schema, name = table.split(".")
    columns = [column for column in new if column in former and not new[column].is_generated]
    values = [
        sql.SQL("coalesce(t.{}, {})").format(sql.Identifier(column), sql.SQL(new[column].preset))
        if new[column].is_filled and not former[column].is_filled and new[column].preset
        else sql.SQL("t.{}").format(sql.Identifier(column))
        for column in columns
    ]
    here, there = sql.Identifier(schema, name), sql.Identifier(ASIDE + schema, name)
    if schema == "ops" and name in RECORDS:
        _leave_behind(cursor, table, here, there, former)
    try:
        cursor.execute(
            sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} AS t").format(
                here, sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(", ").join(values), there
            )
        )
    except psycopg2.Error as error:
        if driver_errors.kind_of(error) is not Kind.DATA:
            raise
        raise ConfigurationError(
            f"a row of {table} cannot be copied: {driver_errors.said(error)}:"
            " correct it with the version that wrote it, then start again; nothing was changed"
        ) from error


def _leave_behind(
    cursor: Cursor, table: str, here: sql.Identifier, there: sql.Identifier, former: dict[str, Any]
) -> None:
    """Delete and log the rows of a former table of records that violate `RULES_OF_RECORDS`."""
    cursor.execute(
        "SELECT k.conname AS rule, pg_catalog.pg_get_expr(k.conbin, k.conrelid) AS condition,"
        " (SELECT array_agg(a.attname::text) FROM pg_catalog.pg_attribute AS a"
        "   WHERE a.attrelid = k.conrelid AND a.attnum = ANY(k.conkey)) AS columns"
        " FROM pg_catalog.pg_constraint AS k"
        " WHERE k.conrelid = %s::regclass AND k.contype = 'c' AND k.conname = ANY(%s::name[]) ORDER BY 1",
        (table, list(RULES_OF_RECORDS)),
    )
    for rule in warehouse.fetch_all(cursor):
        if former.keys() >= set(rule.columns):
            cursor.execute(sql.SQL("DELETE FROM {} WHERE NOT ({})").format(there, sql.SQL(rule.condition)))
            if cursor.rowcount:
                log.warning(
                    "deleted %s rows of %s that violate the constraint %s",
                    cursor.rowcount,
                    table,
                    rule.rule,
                )


def _continue_numbers(cursor: Cursor) -> None:
    """Continue each sequence at the value of the former one."""
    cursor.execute(
        "SELECT n.nspname AS schema, s.relname AS name FROM pg_catalog.pg_class AS s"
        " JOIN pg_catalog.pg_namespace AS n ON n.oid = s.relnamespace"
        " JOIN pg_catalog.pg_class AS f ON f.relname = s.relname AND f.relkind = 'S'"
        " JOIN pg_catalog.pg_namespace AS fn ON fn.oid = f.relnamespace AND fn.nspname = %s || n.nspname"
        " WHERE n.nspname = ANY(%s::name[]) AND s.relkind = 'S'",
        (ASIDE, list(SCHEMAS)),
    )
    for sequence in warehouse.fetch_all(cursor):
        cursor.execute(
            sql.SQL("SELECT pg_catalog.setval({}::regclass, f.last_value, f.is_called) FROM {} AS f").format(
                sql.Literal(f"{sequence.schema}.{sequence.name}"),
                sql.Identifier(ASIDE + sequence.schema, sequence.name),
            )
        )
