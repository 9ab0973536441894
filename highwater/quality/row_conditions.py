"""The ``row_condition`` of a rule: which rows it applies to, parsed as Great Expectations does, and as SQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

EXPECTED = """expected one comparison such as col("kind")=="web", or an object as Great Expectations writes them"""
PARSERS = ("great_expectations", "great_expectations__experimental__")


def read(condition: Any, parser: str | None) -> Any:
    """A condition as the clause of SQLAlchemy that Great Expectations builds from it.

    Args:
        condition: a text such as ``col("kind")=="web"``, or an object such as ``{"type": "comparison", …}``.
        parser: the ``condition_parser`` of the suite, for a text.

    Raises:
        ValueError: it cannot be parsed, or only in part; says why.
    """
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.execution_engine import SqlAlchemyExecutionEngine
    from great_expectations.expectations import legacy_row_conditions, row_conditions

    try:
        if isinstance(condition, str):
            if parser not in PARSERS:
                raise ValueError(f"the condition_parser of a text must be {PARSERS[0]!r}, but is {parser!r}")
            # Great Expectations silently ignores what follows the first comparison.
            legacy_row_conditions.parse_string(legacy_row_conditions.condition, condition, parse_all=True)
            return legacy_row_conditions.parse_condition_to_sqlalchemy(condition)
        known = row_conditions.validate_row_condition(row_conditions.deserialize_row_condition(condition))
        engine = SqlAlchemyExecutionEngine.__new__(SqlAlchemyExecutionEngine)
        return engine.condition_to_filter_clause(known)
    except legacy_row_conditions.ParseException as error:
        raise ValueError(f"{condition!r} cannot be parsed from character {error.loc + 1} on; {EXPECTED}") from error
    except (GreatExpectationsError, TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(f"{' '.join(str(error).split())}; {EXPECTED}") from error


def columns(clause: Any) -> Iterator[str]:
    """The columns that a clause names."""
    from sqlalchemy.sql import visitors
    from sqlalchemy.sql.elements import ColumnClause

    for part in visitors.iterate(clause):
        if isinstance(part, ColumnClause):
            yield part.name


def as_sql(clause: Any) -> str:
    """The clause with literal values, for psql."""
    from sqlalchemy.dialects.postgresql.base import PGDialect

    dialect = PGDialect(paramstyle="named")  # type: ignore[no-untyped-call]
    return str(clause.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
