"""The conditions of policies: named predicates in SQL that switch catch-up off while they do not hold."""

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
"""Seconds that a predicate gets to answer."""


@dataclass(frozen=True)
class Look:
    """What one look at a condition came to: ``answer`` is None, and ``error`` says why, where it could not be had."""

    condition: str
    dataset: str
    answer: bool | None
    error: str | None
    holds: bool
    flipped: bool

    def __str__(self) -> str:
        """One line for a log."""
        seen = "cannot be looked at: " + str(self.error) if self.error else f"answers {self.answer}"
        switched = f"; catch-up of {self.dataset} is switched {'on' if self.holds else 'off'} by it"
        return f"condition {self.condition} of {self.dataset} {seen}{switched if self.flipped else ''}"


def known() -> dict[str, str]:
    """The conditions there are, by name, each with the comment its file begins with."""
    found = {}
    for path in sorted((warehouse.SQL / FOLDER).glob("*.sql")):
        lines = path.read_text().splitlines()
        head = next((n for n, line in enumerate(lines) if not line.startswith("--")), len(lines))
        found[path.stem] = " ".join(line.removeprefix("--").strip() for line in lines[:head])
    return found


def register(cursor: Cursor) -> None:
    """Write down in control.conditions which there are; one without a file goes, unless a policy names it."""
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


def evaluate() -> Iterator[Look]:
    """Look at each condition that a policy names, and keep what it answers.

    One that fails, hangs or gives no boolean changes nothing: what it answered before still counts.
    """
    with warehouse.session("loader") as cursor:
        cursor.execute("SELECT control.forget_conditions()")
        warehouse.run_file(cursor, "policy/in_use.sql")
        in_use = warehouse.fetch_all(cursor)
    for condition, dataset in in_use:
        try:
            answer, error = ask(condition, dataset), None
        except Exception as failure:
            # Whatever a person's SQL brings about, the other conditions are still looked at.
            answer, error = None, sentences.of(failure)
        with warehouse.session("loader") as cursor:
            cursor.execute(
                "SELECT flipped, holds FROM control.record_condition(%s, %s, %s, %s)",
                (condition, dataset, answer, error),
            )
            flipped, holds = warehouse.fetch(cursor)
        yield Look(condition, dataset, answer, error, holds, flipped)


def ask(condition: str, dataset: str) -> bool:
    """What a predicate answers for a dataset now; it may read what the analyst may, and changes nothing.

    Raises:
        ConfigurationError: there is no such file, or it gives something else than one row with one boolean.
        psycopg2.Error: it fails, or takes longer than it is given.
    """
    name = f"{FOLDER}/{condition}.sql"
    with closing(warehouse.connect("analyst", patience=PATIENCE)) as link:
        link.set_session(readonly=True)
        with link, link.cursor() as cursor:
            warehouse.run_file(cursor, name, {"dataset": dataset})
            rows = warehouse.fetch_all(cursor) if cursor.description else []
    if len(rows) != 1 or len(rows[0]) != 1 or not isinstance(rows[0][0], bool):
        got = f"{len(rows)} rows" if len(rows) != 1 else f"({', '.join(map(repr, rows[0]))})"
        raise ConfigurationError(f"sql/{name} gives {got} for {dataset}, not one row with one boolean")
    return rows[0][0]
