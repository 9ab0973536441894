"""Runs the files of a folder of sql/, statement by statement, so that an error names its file and line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2.extensions import cursor as Cursor

from highwater.model import sql_text
from highwater.model.errors import ConfigurationError
from highwater.setup.migrations import plans
from highwater.store import driver_errors, warehouse
from highwater.store.driver_errors import Kind

SHOWN = 60
"""Number of characters of a statement that an error shows."""


def run_folder(cursor: Cursor, folder: str) -> None:
    """Run the files of a folder of statements, of the engine or the project, in the order of their names.

    Raises:
        ConfigurationError: a statement fails; names its file, line and beginning, and the way out.
    """
    for path in plans.files(folder):
        name = f"{folder}/{path.name}"
        text = warehouse.read_sql(name)
        for start, statement in sql_text.statements(text):
            with _located(name, text, start, statement):
                cursor.execute(statement)


def run_repeatable(cursor: Cursor) -> None:
    """Run the files of ``highwater/sql/warehouse/``, whose objects have been dropped.

    Raises:
        ConfigurationError: a statement fails, or creates something that would not be dropped before the next run.
    """
    for path in plans.files("warehouse"):
        refuse_lasting(path.name, path.read_text())
    run_folder(cursor, "warehouse")


def refuse_lasting(file: str, text: str) -> None:
    """Refuse a file of ``highwater/sql/warehouse/`` that does more than create functions, views, triggers and grants.

    Raises:
        ConfigurationError: names the statement, and the folder where it belongs.
    """
    for start, statement in sql_text.statements(text):
        if not _REPEATABLE.match(statement):
            raise ConfigurationError(
                f"highwater/sql/warehouse/{file}, line {sql_text.line_of(text, start)}: the statement that begins"
                f" {_beginning(statement)!r} would not be undone before the file is run again: expected functions,"
                " views, triggers or grants; a published table of yours belongs in sql/datasets/, a table of the engine"
                " in a new folder of highwater/sql/migrations/; nothing was changed"
            )


_REPEATABLE = re.compile(
    r"(CREATE\s+(OR\s+REPLACE\s+)?(FUNCTION|PROCEDURE|VIEW|TRIGGER)|COMMENT\s+ON|GRANT|REVOKE)\b", re.IGNORECASE
)


@contextmanager
def _located(name: str, text: str, start: int, statement: str) -> Iterator[None]:
    try:
        yield
    except psycopg2.Error as error:
        # A lock timeout or a lost connection is not an error of the file, and Highwater's functions explain themselves.
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
