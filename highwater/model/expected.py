"""What a value was expected to be: Pydantic's problems as the end of a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KINDS = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "string": "text",
    "list": "a list",
    "dict": "a mapping of names to values",
    "model": "a mapping of names to values",
    "date": "a date such as 2026-10-24",
    "datetime": "a moment such as 2026-10-24T06:00",
    "time": "a time of day such as 06:00",
    "time_delta": "a span of time such as 2 hours",
    "decimal": "a number",
    "path": "a path",
}
"""By the prefix of the type of a problem: ``int_parsing``, ``int_type``, ``int_from_float``."""

_WORDS = {
    "missing": "a value is missing",
    "extra_forbidden": "unknown name",
    "literal_error": "expected {expected}",
    "enum": "expected {expected}",
    "string_pattern_mismatch": "expected text of the form {pattern}",
    "greater_than_equal": "expected at least {ge}",
    "less_than_equal": "expected at most {le}",
    "greater_than": "expected more than {gt}",
    "less_than": "expected less than {lt}",
    "string_too_short": "expected at least {min_length} characters",
    "string_too_long": "expected at most {max_length} characters",
    "too_short": "expected at least {min_length} entries",
    "too_long": "expected at most {max_length} entries",
}


def expected(problem: Mapping[str, Any]) -> str:
    """What a problem of ``ValidationError.errors()`` expected of the value: the end of a sentence."""
    kind, context = problem["type"], problem.get("ctx") or {}
    if kind == "value_error":
        # From one of our validators, whose message is a sentence.
        return str(context.get("error") or problem["msg"].removeprefix("Value error, "))
    if kind in _WORDS:
        return _WORDS[kind].format(**context)
    known = [beginning for beginning in _KINDS if kind == beginning or kind.startswith(f"{beginning}_")]
    return f"expected {_KINDS[max(known, key=len)] if known else 'another value: ' + kind.replace('_', ' ')}"


_OF_VERSION_ONE = {
    "value_error.number.not_le": "at most {limit_value:g}",
    "value_error.number.not_ge": "at least {limit_value:g}",
    "value_error.number.not_lt": "less than {limit_value:g}",
    "value_error.number.not_gt": "more than {limit_value:g}",
    "value_error.const": "{permitted}",
    "type_error.enum": "another value",
    "type_error.integer": "a whole number",
    "type_error.float": "a number",
    "type_error.bool": "true or false",
    "type_error.str": "text",
    "type_error.list": "a list",
    "type_error.dict": "a mapping of names to values",
}


def expected_by_version_one(problem: Mapping[str, Any]) -> str:
    """The same for a problem of Pydantic 1, which Great Expectations uses."""
    words = _OF_VERSION_ONE.get(problem["type"])
    if words is None:
        return " ".join(str(problem["msg"]).split())
    return f"expected {words.format(**problem.get('ctx') or {})}"


def shown(value: object) -> str:
    """A value as it is quoted in a sentence: as given, cut if it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


LONGEST = 80
"""Most characters of a value that a sentence quotes."""
