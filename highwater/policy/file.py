"""``config/catchup.yaml``: policies and closed days in a file, checked before anything of it is applied."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from psycopg2.extensions import cursor as Cursor
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from highwater.environment import settings
from highwater.model import documents, expected, policy, weekdays
from highwater.model.errors import ConfigurationError
from highwater.store import warehouse

DEFAULT = settings.ROOT / "config/catchup.yaml"

_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+[+-][0-9:]+")
_SPAN = re.compile(r"(-?[0-9]{1,9}) *(second|minute|hour|day|week)s?")


def span(text: Any) -> Any:
    """``90 days``, ``36 hours``, ``30 minutes`` or ``2 weeks`` as a timedelta; None and timedeltas unchanged.

    Raises:
        ValueError: it has another form, is not positive, or is longer than `policy.LONGEST`.
    """
    if text is None or isinstance(text, timedelta):
        return text
    found = _SPAN.fullmatch(str(text).strip().lower())
    if found is None:
        raise ValueError("expected a span such as '90 days', '36 hours', '30 minutes' or '2 weeks'")
    try:
        length = timedelta(**{f"{found[2]}s": int(found[1])})
    except OverflowError:
        raise ValueError(f"expected at most {policy.LONGEST.days} days") from None
    if length <= timedelta(0):
        raise ValueError("expected a positive span such as '90 days'")
    if length > policy.LONGEST:
        raise ValueError(f"expected at most {policy.LONGEST.days} days")
    return length


def usual_day(day: Any) -> Any:
    """A date unchanged, or from text such as ``2026-12-25``.

    Raises:
        ValueError: it is no date, or one outside of `policy.FIRST_DAY` to `policy.LAST_DAY`, surely a typo.
    """
    if isinstance(day, str):
        try:
            day = date.fromisoformat(day)
        except ValueError:
            raise ValueError("expected a date such as 2026-12-25") from None
    if not isinstance(day, date) or isinstance(day, datetime):
        raise ValueError("expected a date such as 2026-12-25")
    if not policy.FIRST_DAY <= day <= policy.LAST_DAY:
        raise ValueError(f"expected a date between {policy.FIRST_DAY} and {policy.LAST_DAY}")
    return day


class _Strict(BaseModel):
    # Strict: `true` is not taken as a number, `1` as a text, or a number as a day.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PolicyEntry(_Strict):
    """A policy in the file; a key that is left out has its default."""

    enabled: bool = True
    max_age: Annotated[timedelta | None, BeforeValidator(span)] = None
    max_windows: Annotated[int | None, Field(ge=1, le=2**31 - 1)] = None
    skip_weekdays: Annotated[list[Annotated[int, BeforeValidator(weekdays.number_of)]], Field(max_length=6)] = []
    skip_closed_days: bool = True
    conditions: list[str] = []


class ClosedDay(_Strict):
    """A closed day in the file, for all datasets or those named."""

    day: Annotated[date, BeforeValidator(usual_day)]
    reason: Annotated[str, Field(min_length=1)]
    datasets: Literal["all"] | list[str] = "all"


class PolicyFile(_Strict):
    """The file: policies by dataset, and the closed days."""

    policies: dict[str, PolicyEntry] = {}
    closed_days: list[ClosedDay] | None = None


def load(path: Path) -> PolicyFile:
    """Read and validate the file.

    Raises:
        ConfigurationError: it does not exist, is not YAML, or has invalid values; names each, and what was expected.
    """
    document = documents.read_yaml(path)
    try:
        return PolicyFile.model_validate({} if document.content is None else document.content)
    except ValidationError as error:
        problems = "; ".join(
            f"line {document.line(problem['loc'])}: {_sentence(problem)}" for problem in error.errors()
        )
        raise ConfigurationError(f"invalid {path}, nothing of it is applied: {problems}") from None


def check(dataset: str, values: dict[str, Any]) -> PolicyEntry:
    """A policy with these values, validated like those of the file.

    Raises:
        ConfigurationError: invalid values; names each, and what was expected.
    """
    try:
        return PolicyEntry.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(_sentence(problem) for problem in error.errors())
        raise ConfigurationError(f"invalid policy of {dataset}: {problems}") from None


def refuse_unknown(cursor: Cursor, datasets: set[str], conditions: set[str]) -> None:
    """Check that all of these datasets and conditions exist.

    Raises:
        ConfigurationError: names the first that does not, and lists those that do.
    """
    cursor.execute("SELECT dataset FROM control.datasets ORDER BY dataset")
    _refuse_strange("dataset", datasets, [row[0] for row in cursor.fetchall()])
    cursor.execute("SELECT condition FROM control.conditions ORDER BY condition")
    _refuse_strange("condition", conditions, [row[0] for row in cursor.fetchall()])


def apply(cursor: Cursor, wanted: PolicyFile, reason: str) -> list[str]:
    """Set the policies and closed days to those of the file; returns one line per change.

    A dataset that the file does not name keeps its policy. If the file lists closed days, all others are deleted.

    Raises:
        ConfigurationError: an unknown dataset or condition; lists the known ones.
    """
    datasets = {*wanted.policies, *(name for day in wanted.closed_days or () for name in _datasets(day) if name)}
    refuse_unknown(cursor, datasets, {name for entry in wanted.policies.values() for name in entry.conditions})
    changed: list[str] = []
    for dataset, entry in wanted.policies.items():
        changed += change(cursor, dataset, entry.model_dump(), reason)
    if wanted.closed_days is not None:
        changed += _close(cursor, wanted.closed_days)
    return changed


def change(cursor: Cursor, dataset: str, values: dict[str, Any], reason: str | None) -> list[str]:
    """Set these columns of a policy; returns one line per column that changed."""
    cursor.execute("SELECT FROM control.catchup_policies WHERE dataset = %s FOR UPDATE", (dataset,))
    cursor.execute("SELECT * FROM control.sound_policies WHERE dataset = %s", (dataset,))
    before = warehouse.fetch(cursor)
    cursor.execute(
        "SELECT p.max_age::text AS max_age, p.conditions::text AS conditions FROM control.catchup_policies AS p"
        " INNER JOIN control.sound_policies AS s USING (dataset)"
        " WHERE dataset = %s AND (p.max_age, p.conditions) IS DISTINCT FROM (s.max_age, s.conditions)",
        (dataset,),
    )
    unsound = warehouse.fetch(cursor)
    if "conditions" in values or "skip_weekdays" in values:
        values = values | {k: sorted(set(values[k])) for k in ("conditions", "skip_weekdays") if k in values}
    different = {name: value for name, value in values.items() if getattr(before, name) != value}
    was = before._asdict()
    if unsound:
        # Values from an older warehouse that every reader ignores (see control.sound_policies): delete them now.
        was |= unsound._asdict()
        different = {"max_age": before.max_age, "conditions": before.conditions} | different
    if different:
        cursor.execute(
            "UPDATE control.catchup_policies SET enabled = %(enabled)s,"
            " max_age = %(max_age)s, max_windows = %(max_windows)s,"
            " skip_weekdays = %(skip_weekdays)s::smallint[], skip_closed_days = %(skip_closed_days)s,"
            " conditions = %(conditions)s::text[], reason = %(reason)s WHERE dataset = %(dataset)s",
            before._asdict() | different | {"dataset": dataset, "reason": reason},
        )
    return [f"{dataset}: {name} {shown(was[name], name)} -> {shown(value, name)}" for name, value in different.items()]


def _close(cursor: Cursor, days: list[ClosedDay]) -> list[str]:
    """Set the closed days to exactly these; returns one line per change."""
    wanted = {(str(day.day), name): day.reason for day in days for name in _datasets(day)}
    # As text: a row of an older warehouse may hold a day outside of Python's range.
    cursor.execute("SELECT day::text AS day, dataset, reason FROM control.closed_days ORDER BY day, dataset")
    there = {(row.day, row.dataset): row.reason for row in warehouse.fetch_all(cursor)}
    changed = []
    for day, dataset in there.keys() - wanted.keys():
        cursor.execute(
            "DELETE FROM control.closed_days WHERE day = %s::date AND dataset IS NOT DISTINCT FROM %s", (day, dataset)
        )
        changed.append(f"{day} is open again for {dataset or 'every dataset'}")
    for (day, dataset), reason in wanted.items():
        if there.get((day, dataset)) == reason:
            continue
        cursor.execute(
            "INSERT INTO control.closed_days (day, dataset, reason) VALUES (%s::date, %s, %s)"
            " ON CONFLICT (day, coalesce(dataset, '')) DO UPDATE SET reason = excluded.reason",
            (day, dataset, reason),
        )
        changed.append(f"{day} is closed for {dataset or 'every dataset'}: {reason}")
    return sorted(changed)


def _datasets(day: ClosedDay) -> list[str | None]:
    return [None] if day.datasets == "all" else list(day.datasets)


def _refuse_strange(what: str, named: set[str], known: list[str]) -> None:
    if strange := sorted(named - set(known)):
        raise ConfigurationError(f"unknown {what} {strange[0]!r}: expected one of {', '.join(known)}")


def _sentence(problem: Any) -> str:
    """One problem as a sentence: the value and what was expected."""
    place = [str(part) for part in problem["loc"] if not str(part).startswith(("function-", "list[", "literal["))]
    if problem["type"] == "extra_forbidden":
        model: type[BaseModel] = PolicyFile
        if len(place) > 1:
            model = PolicyEntry if place[0] == "policies" else ClosedDay
        where = ".".join(place[:-1]) or "the file"
        return f"unknown key {place[-1]!r} in {where}: expected one of {', '.join(model.model_fields)}"
    where = ".".join(place) or "the file"
    if problem["type"] == "missing":
        return f"{where} is missing"
    return f"{where} {expected.shown(problem['input'])}: {expected.expected(problem)}"


def shown(value: Any, name: str = "") -> str:
    """A value of a policy, formatted for people; ``name`` is its column."""
    if value is None or value == []:
        return "none"
    if name == "skip_weekdays":
        return ", ".join(weekdays.NAMES[day - 1] for day in value)
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        return f"{datetime.fromisoformat(value).astimezone(UTC):%Y-%m-%d %H:%M}"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).removesuffix(", 0:00:00")
