"""The conditions of policies: named SQL predicates that switch catch-up off while they do not hold."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from psycopg2.extensions import cursor as Cursor

from highwater.model.errors import ConfigurationError
from highwater.store import sentences, warehouse

log = logging.getLogger(__name__)

FOLDER = "catchup_control/conditions"
PATIENCE = 5
"""Seconds after which a predicate times out."""


@dataclass(frozen=True)
class Check:
    """The result of one check of a condition; where it failed, ``answer`` is None and ``error`` says why."""

    condition: str
    dataset: str
    answer: bool | None
    error: str | None
    holds: bool
    flipped: bool

    def __str__(self) -> str:
        """One line for a log."""
        result = f"cannot be checked: {self.error}" if self.error else f"answers {self.answer}"
        switched = f"; it switches catch-up of {self.dataset} {'on' if self.holds else 'off'}"
        return f"condition {self.condition} of {self.dataset} {result}{switched if self.flipped else ''}"


def known() -> dict[str, str]:
    """The project's conditions by name, each with the leading comment of its file."""
    found = {}
    for path in sorted((warehouse.SQL / FOLDER).glob("*.sql")):
        lines = path.read_text().splitlines()
        head = next((n for n, line in enumerate(lines) if not line.startswith("--")), len(lines))
        found[path.stem] = " ".join(line.removeprefix("--").strip() for line in lines[:head])
    return found


def register(cursor: Cursor) -> None:
    """Update control.conditions from the project's files; one without a file is deleted unless a policy names it."""
    for name, description in known().items():
        cursor.execute(
            "INSERT INTO control.conditions (condition, description) VALUES (%s, %s) ON CONFLICT (condition) DO UPDATE"
            " SET description = excluded.description WHERE conditions.description <> excluded.description",
            (name, description),
        )
    cursor.execute(
        "DELETE FROM control.conditions AS k WHERE k.condition <> ALL(%s) AND NOT EXISTS"
        " (SELECT FROM control.catchup_policies AS p WHERE k.condition = ANY(p.conditions))",
        (list(known()),),
    )


def evaluate() -> Iterator[Check]:
    """Check each condition that a policy names, and record its answer.

    One that fails, times out or returns no boolean changes nothing: its previous answer still counts.
    """
    with warehouse.session("loader") as cursor:
        cursor.execute("SELECT control.forget_conditions()")
        warehouse.run_file(cursor, "policy/in_use.sql")
        in_use = warehouse.fetch_all(cursor)
    for condition, dataset in in_use:
        try:
            answer, error = ask(condition, dataset), None
        except Exception as failure:
            # An error in a user's SQL must not keep the other conditions from being checked.
            answer, error = None, sentences.of(failure)
        with warehouse.session("loader") as cursor:
            cursor.execute(
                "SELECT flipped, holds FROM control.record_condition(%s, %s, %s, %s)",
                (condition, dataset, answer, error),
            )
            flipped, holds = warehouse.fetch(cursor)
        yield Check(condition, dataset, answer, error, holds, flipped)


def ask(condition: str, dataset: str) -> bool:
    """The current answer of a predicate for a dataset. It runs read-only, with the rights of the analyst.

    Raises:
        ConfigurationError: no such file, or it does not return one row with one boolean.
        psycopg2.Error: it fails or times out.
    """
    name = f"{FOLDER}/{condition}.sql"
    with closing(warehouse.connect("analyst", patience=PATIENCE)) as link:
        link.set_session(readonly=True)
        with link, link.cursor() as cursor:
            warehouse.run_file(cursor, name, {"dataset": dataset})
            rows = warehouse.fetch_all(cursor) if cursor.description else []
    if len(rows) != 1 or len(rows[0]) != 1 or not isinstance(rows[0][0], bool):
        got = f"{len(rows)} rows" if len(rows) != 1 else f"({', '.join(map(repr, rows[0]))})"
        raise ConfigurationError(f"sql/{name} returns {got} for {dataset}: expected one row with one boolean")
    return rows[0][0]
