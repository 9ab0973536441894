"""The only access to the wall clock."""

import os
from datetime import UTC, datetime
from pathlib import Path

from highwater.model.errors import ConfigurationError

SETTING = "HIGHWATER_NOW"
FILE_SETTING = "HIGHWATER_NOW_FILE"


def frozen() -> datetime | None:
    """The moment the clock is pinned to, in UTC, or None when time runs.

    It is ISO 8601: in the file that ``HIGHWATER_NOW_FILE`` names, read at each call, so that replacing the file moves
    the clock of running programs; else in ``HIGHWATER_NOW``.

    Raises:
        ConfigurationError: the file cannot be read, or the value is not a moment.
    """
    if file := os.environ.get(FILE_SETTING):
        return _moment(_read(file), f"{FILE_SETTING}={file} holds")
    pinned = os.environ.get(SETTING)
    return _moment(pinned, f"{SETTING} holds") if pinned else None


def now() -> datetime:
    """The current moment in UTC; in SQL it is ``ops.clock()``."""
    return frozen() or datetime.now(UTC)


def of_airflow() -> datetime:
    """The current moment in UTC as Airflow sees it when it dates runs: a pinned clock does not move it."""
    return datetime.now(UTC)


def _read(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"{FILE_SETTING}={file} cannot be read: {error.strerror}") from None


def _moment(text: str, where: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{where} {text!r}: expected a moment in ISO 8601") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
