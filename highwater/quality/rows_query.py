"""SQL for psql that lists the rows that break an expectation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from highwater.model.errors import ConfigurationError
from highwater.quality import row_conditions
from highwater.quality.suites import BATCH, Rule, Suite
from highwater.store import driver_errors

DUPLICATES = """SELECT * FROM {rows}
WHERE ({columns}) IN (SELECT {columns} FROM {rows} GROUP BY {columns} HAVING count(*) > 1) ORDER BY {columns}"""
EMPTY = "SELECT * FROM {rows} WHERE {column} IS NULL"
LARGEST = "SELECT * FROM {rows} ORDER BY {column} DESC NULLS LAST LIMIT 100"
COUNT = "SELECT count(*) FROM {rows}"
SHAPE = """SELECT ordinal_position, column_name, data_type FROM information_schema.columns
WHERE table_schema = {schema} AND table_name = {name} ORDER BY ordinal_position"""

# Great Expectations selects one column; people need the whole row.
_ONE_COLUMN = re.compile(r"\ASELECT [^()]*? \nFROM (?=\S+ \nWHERE )")
# It also leaves out the rule's condition.
_TABLE = re.compile(r"(?<=\nFROM )\S+(?= \nWHERE )|(?<=FROM )\S+(?= \nWHERE )")
# And it writes a datetime as Python does, which is not SQL.
_PYTHON_DATETIME = re.compile(r"datetime\.datetime\(([\d, ]+)(?:, tzinfo=datetime\.timezone\.utc)?\)")


class RowsQueries:
    """Writes these queries for one table; quoting needs an open cursor."""

    def __init__(self, cursor: Cursor, schema: str, table: str) -> None:
        self._cursor = cursor
        self._schema, self._name = schema, table
        self._table = sql.Identifier(schema, table)

    def of(self, rule: Rule, result: Mapping[str, Any]) -> str:
        """The query for a broken rule, on one line, ending in a semicolon.

        Args:
            rule: the broken rule.
            result: the details of Great Expectations; their ``unexpected_index_query`` is used if there is one.
        """
        query = self._authors(rule) or self._written(_template(rule, result), rule)
        query = query or self._of_condition(_runnable(result["unexpected_index_query"]), rule)
        return query.replace(" \n", " ").replace("\n", " ").rstrip("; ") + ";"

    def try_authors(self, suite: Suite) -> None:
        """Let Postgres plan the queries that the suite's author wrote.

        Raises:
            ConfigurationError: Postgres refuses one, as for a misspelled column; with its reason and hint.
        """
        for rule in suite.rules:
            if (query := self._authors(rule)) is None:
                continue
            try:
                self._cursor.execute(sql.SQL("EXPLAIN {}").format(sql.SQL(query)))
            except psycopg2.ProgrammingError as error:
                reason = driver_errors.said(error)
                raise ConfigurationError(f"{suite.file}: {rule.label} is refused: {reason}: {query}") from None

    def _authors(self, rule: Rule) -> str | None:
        if rule.query is None:
            return None
        return rule.query.replace(BATCH, self._table.as_string(self._cursor)).replace("{{", "{").replace("}}", "}")

    def _written(self, template: str | None, rule: Rule) -> str | None:
        if template is None:
            return None
        names: dict[str, sql.Composable] = {"rows": self._rows(rule)}
        names |= {"schema": sql.Literal(self._schema), "name": sql.Literal(self._name)}
        if rule.columns:
            names["column"] = sql.Identifier(rule.columns[0])
            names["columns"] = sql.SQL(", ").join(map(sql.Identifier, rule.columns))
        return sql.SQL(template).format(**names).as_string(self._cursor)

    def _rows(self, rule: Rule) -> sql.Composable:
        """The table, or those of its rows that the rule applies to."""
        if rule.condition is None:
            return self._table
        where = sql.SQL(row_conditions.as_sql(rule.condition))
        return sql.SQL("(SELECT * FROM {} WHERE {}) AS matching").format(self._table, where)

    def _of_condition(self, query: str, rule: Rule) -> str:
        if rule.condition is None:
            return query
        rows = self._rows(rule).as_string(self._cursor)
        return _TABLE.sub(lambda _: rows, query, count=1)


def _template(rule: Rule, result: Mapping[str, Any]) -> str | None:
    """The template for the kind of rule; None to use the query of Great Expectations."""
    if rule.type in ("expect_column_values_to_be_unique", "expect_compound_columns_to_be_unique"):
        return DUPLICATES  # theirs are long, and for several columns ambiguous
    if "unexpected_index_query" in result:
        return None
    if rule.columns:
        return EMPTY if "non_null" in rule.type else LARGEST
    return COUNT if "row_count" in rule.type else SHAPE


def _runnable(query: str) -> str:
    return _ONE_COLUMN.sub("SELECT * FROM ", _PYTHON_DATETIME.sub(_sql_literal, query))


def _sql_literal(python: re.Match[str]) -> str:
    year, month, day, hour, minute, second, microsecond, *_ = *map(int, python[1].split(",")), 0, 0
    return f"'{datetime(year, month, day, hour, minute, second, microsecond, tzinfo=UTC).isoformat()}'"
