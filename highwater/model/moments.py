"""Days and moments as people type them, in every command: ``2026-10-24``, ``yesterday``, ``10d``, ``36h``; in UTC."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

from highwater.model import clock
from highwater.model.errors import ConfigurationError

DAY = timedelta(days=1)

FORMS = "a day (2026-10-24, today, yesterday, 10d for ten days ago) or a moment (2026-10-24T06:00, 10dT06:00, 36h, now)"
"""Accepted forms, in UTC, for help texts and errors."""
DAYS = "a day: 2026-10-24, today, yesterday, or 10d for ten days ago"

_NAMED = {"today": 0, "yesterday": 1}
_AGO = re.compile(r"([0-9]{1,5}) ?([dw])")
_DAY_AND_HOUR = re.compile(r"(.+?)[Tt ]([0-9]{2}:.+)")
_HOURS_AGO = re.compile(r"([0-9]{1,6}) ?h")


def moment(text: str, name: str, *, end: bool = False) -> datetime:
    """The moment that a text names; a day is its start, or with ``end`` its end, so that a last day is included.

    Hours ago are rounded down to the hour, so that the same text names the same moment for the rest of the hour.

    Raises:
        ConfigurationError: it is neither, or beyond the calendar; ``name`` is the argument it was given as.
    """
    try:
        if (found := _day(text)) is not None:
            return midnight(found) + (DAY if end else timedelta())
        return _moment(text)
    except (ValueError, OverflowError):
        raise ConfigurationError(f"invalid {name} {text!r}: expected {FORMS}") from None


def parse_range(begin: str, end: str) -> tuple[datetime | None, datetime | None]:
    """The moments of ``--from`` and ``--to``; None for one that is not given.

    Raises:
        ConfigurationError: one is not a moment, or the range ends before it begins.
    """
    first = moment(begin, "--from") if begin else None
    last = moment(end, "--to", end=True) if end else None
    if first is not None and last is not None and last <= first:
        raise ConfigurationError(f"--from {begin!r} is not before --to {end!r}: did you mean them the other way round?")
    return first, last


def day(text: str, name: str) -> date:
    """The day that a text names.

    Raises:
        ConfigurationError: it names no day; ``name`` is the argument it was given as.
    """
    try:
        if (found := _day(text)) is not None:
            return found
    except (ValueError, OverflowError):
        pass
    raise ConfigurationError(f"invalid {name} {text!r}: expected {DAYS}")


def is_day(text: str) -> bool:
    """Whether a text names a whole day."""
    try:
        return _day(text) is not None
    except (ValueError, OverflowError):
        return False


def midnight(of: date) -> datetime:
    """The moment at which a day begins."""
    return datetime.combine(of, time(), tzinfo=UTC)


def _day(text: str) -> date | None:
    """None if it is written as a moment."""
    given = text.strip()
    today = clock.now().date()
    if given.lower() in _NAMED:
        return today - _NAMED[given.lower()] * DAY
    if ago := _AGO.fullmatch(given.lower()):
        return today - int(ago[1]) * (DAY if ago[2] == "d" else 7 * DAY)
    try:
        return date.fromisoformat(given)
    except ValueError:
        return None


def _moment(text: str) -> datetime:
    given = text.strip()
    if given.lower() == "now":
        return clock.now()
    if ago := _HOURS_AGO.fullmatch(given.lower()):
        return clock.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=int(ago[1]))
    if (apart := _DAY_AND_HOUR.fullmatch(given)) and (named := _day(apart[1])) is not None:
        given = f"{named.isoformat()}T{apart[2]}"
    found = datetime.fromisoformat(given)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
