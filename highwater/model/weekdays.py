"""Days of the week: the names that people type, and the ISO 8601 numbers that the warehouse stores."""

from __future__ import annotations

from collections.abc import Sequence

from highwater.model.errors import ConfigurationError

NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


SAID = f"one of {', '.join(NAMES)}, or its first three letters (mon), or 1 (Monday) to 7"
"""Accepted forms of a weekday in commands, files and forms."""

_KNOWN = {name.lower(): number for number, name in enumerate(NAMES, 1)}
_KNOWN |= {name[:3]: number for name, number in _KNOWN.items()} | {str(number): number for number in _KNOWN.values()}


def number_of(name: object) -> int:
    """The number of a weekday, 1 (Monday) to 7.

    Raises:
        ValueError: it is not a weekday; says what is expected.
    """
    try:
        return _KNOWN[str(name).strip().lower()]
    except KeyError:
        raise ValueError(f"expected {SAID}") from None


def weekdays_of(names: Sequence[str] | None) -> list[int] | None:
    """The numbers of weekdays, each as `number_of` accepts it; None for all.

    Raises:
        ConfigurationError: one is not a weekday, or the list is empty; says what is expected.
    """
    if names is None:
        return None
    if not names:
        raise ConfigurationError(f"no weekdays given: expected {SAID}")
    for name in names:
        try:
            number_of(name)
        except ValueError as strange:
            raise ConfigurationError(f"invalid weekday {name!r}: {strange}") from None
    numbers = sorted({number_of(name) for name in names})
    return None if len(numbers) == len(NAMES) else numbers
