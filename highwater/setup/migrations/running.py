"""Runs the files of a folder of sql/, statement by statement, so that an error is told by its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2.extensions import cursor as Cursor

from highwater.model import sql_text
from highwater.model.errors import ConfigurationError
from highwater.setup.migrations import planning
from highwater.store import driver_errors, warehouse
from highwater.store.driver_errors import Kind

SHOWN = 60
"""Characters of a statement that an error shows."""


def run_folder(cursor: Cursor, folder: str) -> None:
    """Run the files of a folder of statements, the engine's or the project's, in the order of their names.

    Raises:
        ConfigurationError: a statement is refused; says in which file and line, how it begins, and the way out.
    """
    for path in planning.files(folder):
        name = f"{folder}/{path.name}"
        text = warehouse.read_sql(name)
        for start, statement in sql_text.statements(text):
            with _located(name, text, start, statement):
                cursor.execute(statement)


def run_repeatable(cursor: Cursor) -> None:
    """Run the files of ``highwater/sql/warehouse/``, whose objects are all gone by now.

    Raises:
        ConfigurationError: a statement is refused, or it makes what would be there the next time.
    """
    for path in planning.files("warehouse"):
        refuse_lasting(path.name, path.read_text())
    run_folder(cursor, "warehouse")


def refuse_lasting(file: str, text: str) -> None:
    """Refuse a file of ``highwater/sql/warehouse/`` that does more than make functions, views, triggers and rights.

    Raises:
        ConfigurationError: says where, and where such a statement belongs.
    """
    for start, statement in sql_text.statements(text):
        if not _REPEATABLE.match(statement):
            raise ConfigurationError(
                f"highwater/sql/warehouse/{file}, line {sql_text.line_of(text, start)}: the statement that begins"
                f" {_beginning(statement)!r} would not be undone before the file is run again: functions, views,"
                " triggers and rights are made there; a published table of yours belongs into sql/datasets/, a table of"
                " the engine's into a new folder of highwater/sql/migrations/; nothing was changed"
            )


_REPEATABLE = re.compile(
    r"(CREATE\s+(OR\s+REPLACE\s+)?(FUNCTION|PROCEDURE|VIEW|TRIGGER)|COMMENT\s+ON|GRANT|REVOKE)\b", re.IGNORECASE
)


@contextmanager
def _located(name: str, text: str, start: int, statement: str) -> Iterator[None]:
    try:
        yield
    except psycopg2.Error as error:
        # What waits or breaks off is no mistake of the file, and what Highwater's functions refuse they say themselves.
        is_mistake = driver_errors.kind_of(error) in (Kind.CONFIGURATION, Kind.DATA) and error.pgcode is not None
        if not is_mistake or str(error.pgcode).startswith("HW"):
            raise
        line = sql_text.line_of(text, start + int(error.diag.statement_position or 1) - 1)
        raise ConfigurationError(
            f"{warehouse.shown(name)}, line {line} is refused: {driver_errors.said(error)}:"
            f" correct the statement that begins {_beginning(statement)!r} and start again; nothing was changed"
        ) from error


def _beginning(statement: str) -> str:
    words = " ".join(statement.split())
    return words if len(words) <= SHOWN else f"{words[:SHOWN]}…"
