"""Known sources and their rules: changes of control.known_sources and control.sources."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, Any, Literal

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from highwater.environment import commands
from highwater.model import expected
from highwater.model.errors import ConfigurationError
from highwater.policy import file
from highwater.store import driver_errors, warehouse


def add(source: str, holds: str) -> bool:
    """Register a source; returns False if it was known, which keeps its description.

    Raises:
        ConfigurationError: the name is no valid connection name, or the description is empty.
    """
    with _in_words(), warehouse.session("operator") as cursor:
        cursor.execute(
            "INSERT INTO control.known_sources (source, holds) VALUES (%s, %s) ON CONFLICT DO NOTHING", (source, holds)
        )
        return cursor.rowcount == 1


class _Rules(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    catch_up: Literal["all", "reliable", "none"] = "all"
    reliability_threshold: Annotated[float, Field(ge=0, le=1)] = 0.8
    reliability_checks: Annotated[int, Field(ge=1, le=1000)] = 10
    catch_up_limit: Annotated[timedelta, BeforeValidator(file.span)] = timedelta(days=30)
    statement_timeout: Annotated[timedelta, BeforeValidator(file.span)] = timedelta(minutes=2)


def check(rules: dict[str, Any]) -> dict[str, Any]:
    """The given rules, by column, with validated and converted values.

    Raises:
        ConfigurationError: an invalid value; names it and what was expected.
    """
    try:
        checked = _Rules.model_validate(rules)
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0]).replace("_", " ")
        said = f"{name} {expected.shown(problem['input'])}: {expected.expected(problem)}"
        raise ConfigurationError(f"invalid rule of the source: {said}") from None
    return {name: getattr(checked, name) for name in rules}


def trust(source: str, dataset: str | None, rules: dict[str, Any]) -> None:
    """Set the given rules of a source, by column; with ``dataset`` it gets a row if it has none.

    Raises:
        ConfigurationError: an unknown source or dataset, an invalid value, or no rule yet and no dataset given.
    """
    rules = check(rules)
    with _in_words(), warehouse.session("operator") as cursor:
        refuse_unknown(cursor, source)
        if dataset is not None:
            file.refuse_unknown(cursor, {dataset}, set())
            cursor.execute(
                "INSERT INTO control.sources (dataset, source, strategy) VALUES (%s, %s, 'windows')"
                " ON CONFLICT (source) DO NOTHING",
                (dataset, source),
            )
        cursor.execute("SELECT dataset FROM control.sources WHERE source = %s FOR UPDATE", (source,))
        row = warehouse.fetch(cursor)
        if row is None:
            raise ConfigurationError(f"source {source!r} has no rule yet: give the dataset that it feeds by --dataset")
        if dataset not in (None, row.dataset):
            raise ConfigurationError(f"source {source!r} feeds {row.dataset}, not {dataset}")
        if rules:
            assigned = sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in rules
            )
            cursor.execute(
                sql.SQL("UPDATE control.sources SET {} WHERE source = %(source)s").format(assigned),
                rules | {"source": source},
            )


def refuse_unknown(cursor: Cursor, source: str) -> None:
    """Check that a source is known.

    Raises:
        ConfigurationError: it is not; lists the known ones.
    """
    cursor.execute("SELECT source FROM control.known_sources ORDER BY source")
    known = [row[0] for row in cursor.fetchall()]
    if source not in known:
        raise ConfigurationError(
            f"unknown source {source!r}: expected one of {', '.join(known)}; add a new one by"
            f" {commands.typed(f'sources add {source} --holds …')}"
        )


@contextmanager
def _in_words() -> Iterator[None]:
    """Translates violations of the table's constraints.

    Raises:
        ConfigurationError: a value violates a constraint; names it.
    """
    try:
        yield
    except (psycopg2.IntegrityError, psycopg2.DataError) as error:
        raise ConfigurationError(f"invalid rule of the source: {driver_errors.said(error)}") from None
