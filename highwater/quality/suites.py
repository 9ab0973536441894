"""Suite files: ``expectations/<suite>.json``; what Great Expectations would silently skip is refused."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NoReturn

from highwater.environment import settings
from highwater.model import documents, expected
from highwater.model.errors import ConfigurationError
from highwater.quality import row_conditions

FOLDER = settings.ROOT / "expectations"
SEVERITIES = ("critical", "warning")
BATCH = "{batch}"
PARAMETER = "$PARAMETER"

_SUITE_KEYS = ("name", "meta", "expectations")
_RULE_KEYS = ("type", "kwargs", "severity", "description")
_SHAPE_TYPES = ("expect_table_columns_to_match_ordered_list", "expect_table_columns_to_match_set")


@dataclass(frozen=True)
class Rule:
    """One expectation of a suite file; ``position`` counts from 1."""

    position: int
    type: str
    kwargs: Mapping[str, Any]
    severity: str
    description: str

    @property
    def label(self) -> str:
        """Its name in messages."""
        return f"expectation {self.position} ({self.type})"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it checks; empty for a rule about the whole table or one written in SQL."""
        if self.type in _SHAPE_TYPES:
            return ()  # the listed columns are the expectation itself
        named = [self.kwargs[key] for key in ("column", "column_A", "column_B") if key in self.kwargs]
        return (*named, *self.kwargs.get("column_list", ()))

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of its parameters."""
        return tuple(
            value[PARAMETER] for value in self.kwargs.values() if isinstance(value, dict) and PARAMETER in value
        )

    @property
    def query(self) -> str | None:
        """The author's own SQL for the offending rows, over ``{batch}``."""
        return self.kwargs.get("unexpected_rows_query")

    @property
    def condition(self) -> Any:
        """The rows that it applies to, as a clause of SQLAlchemy; None for all.

        Raises:
            ValueError: the row_condition cannot be parsed.
        """
        given = self.kwargs.get("row_condition")
        return None if given is None else row_conditions.read(given, self.kwargs.get("condition_parser"))

    def build(self) -> Any:
        """The Great Expectations object; ``meta.position`` identifies its result.

        Raises:
            ValueError: Great Expectations refuses these kwargs.
        """
        kwargs = dict(self.kwargs)
        if self.query is not None:
            # Every offending row is sent to the client, though only their number is used: keep the rows small.
            kwargs["unexpected_rows_query"] = f"SELECT 1 FROM ({self.query.rstrip('; ')}) AS offending"  # noqa: S608
        return expectation_types()[self.type](
            **kwargs, severity=self.severity, description=self.description, meta={"position": self.position}
        )


@dataclass(frozen=True)
class Suite:
    """A suite file that passed its checks."""

    name: str
    rules: tuple[Rule, ...]

    @property
    def file(self) -> str:
        """Its file, for messages."""
        return _file(self.name)


def load_suite(suite: str) -> Suite:
    """Read a suite and check everything that needs no table: its form, its expectation types and their kwargs.

    Raises:
        ConfigurationError: names the file, the expectation, the bad value and the valid ones.
    """
    document = _read(suite)
    _known(suite, "key", document, _SUITE_KEYS)
    if document.get("name") != suite:
        _refuse(suite, f"invalid name {document.get('name')!r}: expected that of the file")
    entries = document.get("expectations")
    if not isinstance(entries, list) or not entries:
        _refuse(suite, "invalid expectations: expected a list of at least one")
    rules: list[Rule] = []
    for position, entry in enumerate(entries, start=1):
        rule = _rule(suite, position, entry)
        for earlier in rules:
            if (earlier.type, earlier.kwargs) == (rule.type, rule.kwargs):
                _refuse(suite, f"{rule.label} repeats expectation {earlier.position}")
        rules.append(rule)
    return Suite(suite, tuple(rules))


def check_suite(suite: str, columns: Sequence[str], parameters: Mapping[str, object]) -> Suite:
    """Read a suite and check everything that can be checked before data moves; returns it.

    Args:
        suite: the name of the file in ``expectations/``, without ``.json``.
        columns: the columns of the table that it will run on.
        parameters: the values for its ``{"$PARAMETER": name}``.

    Raises:
        ConfigurationError: names the file, the expectation, the bad value and the valid ones.
    """
    loaded = load_suite(suite)
    for rule in loaded.rules:
        _known(suite, f"column of {rule.label}", rule.columns, columns)
        if (condition := rule.condition) is not None:
            _known(suite, f"column of the row_condition of {rule.label}", [*row_conditions.columns(condition)], columns)
        _known(suite, f"$PARAMETER of {rule.label}", rule.parameters, sorted(parameters))
        for name in rule.parameters:
            if parameters[name] is None:  # Great Expectations takes None for "no bound" and passes everything
                _refuse(suite, f"$PARAMETER {name!r} of {rule.label} is None")
    return loaded


def expectation_types() -> dict[str, Any]:
    """Every expectation type that Great Expectations knows, with its class."""
    import great_expectations.expectations.core  # noqa: F401  registers them
    from great_expectations.expectations.registry import (
        get_expectation_impl,
        list_registered_expectation_implementations,
    )

    return {name: get_expectation_impl(name) for name in sorted(list_registered_expectation_implementations())}


def _read(suite: str) -> dict[str, Any]:
    there = sorted(path.stem for path in FOLDER.glob("*.json"))
    if suite not in there:
        raise ConfigurationError(f"file {_file(suite)} does not exist: {_choice(suite, there)}")
    document = documents.read_json(FOLDER / f"{suite}.json", name=_file(suite))
    if not isinstance(document, dict):
        _refuse(suite, f"it must hold an object with {', '.join(_SUITE_KEYS)}, but holds {type(document).__name__}")
    return document


def _rule(suite: str, position: int, entry: Any) -> Rule:
    from great_expectations.expectations.expectation import Expectation

    where = f"expectation {position}"
    if not isinstance(entry, dict):
        _refuse(suite, f"{where} must be an object with {', '.join(_RULE_KEYS)}, but is {entry!r}")
    _known(suite, f"key of {where}", entry, _RULE_KEYS)
    for needed, kind in (("type", str), ("kwargs", dict), ("description", str)):
        if not isinstance(entry.get(needed), kind):
            _refuse(suite, f"{needed} of {where} must be a {kind.__name__}, but is {entry.get(needed)!r}")
    types = expectation_types()
    _known(suite, f"type of {where}", [entry["type"]], types)
    rule = Rule(position, entry["type"], entry["kwargs"], entry.get("severity", SEVERITIES[0]), entry["description"])
    _known(suite, f"severity of {rule.label}", [rule.severity], SEVERITIES)
    fields = set(types[rule.type].__fields__) - set(Expectation.__fields__) - {"batch_id"}
    _known(suite, f"kwarg of {rule.label}", rule.kwargs, sorted(fields))
    for kwarg, value in rule.kwargs.items():
        if PARAMETER in json.dumps(value) and not (isinstance(value, dict) and set(value) == {PARAMETER}):
            _refuse(suite, f"{rule.label} has a {PARAMETER} inside {kwarg}: only a whole kwarg can be one")
    if rule.query is not None and BATCH not in rule.query:
        _refuse(suite, f"the query of {rule.label} must read from {BATCH}, but is {rule.query!r}")
    try:
        _ = rule.condition
    except ValueError as error:
        _refuse(suite, f"the row_condition of {rule.label} is refused: {error}")
    try:
        rule.build()
    except ValueError as error:
        _refuse(suite, f"{rule.label} is refused by Great Expectations: {_why(rule, error)}")
    return rule


def _why(rule: Rule, error: ValueError) -> str:
    """Great Expectations' problems with the kwargs of a rule: name, value, what was expected."""
    problems = error.errors() if hasattr(error, "errors") else []
    said = []
    for problem in problems:
        name = str(problem["loc"][0])
        value = f" {expected.shown(rule.kwargs[name])}" if name in rule.kwargs else ""
        said.append(f"{name}{value}: {expected.expected_by_version_one(problem)}")
    return "; ".join(said) or " ".join(str(error).split())


def _known(suite: str, what: str, values: Collection[Any], valid: Collection[str]) -> None:
    for value in values:
        if value not in valid:
            _refuse(suite, f"{what} {value!r} is unknown: {_choice(str(value), valid)}")


def _choice(value: str, valid: Collection[str]) -> str:
    near = get_close_matches(value, valid, n=3)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"expected one of {', '.join(valid)}" if valid else "expected none"


def _refuse(suite: str, problem: str) -> NoReturn:
    raise ConfigurationError(f"{_file(suite)}: {problem}")


def _file(suite: str) -> str:
    return f"{FOLDER.name}/{suite}.json"
