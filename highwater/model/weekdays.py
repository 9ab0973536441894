"""Days of the week by name: what people type, and the numbers of ISO 8601 that the warehouse keeps."""

from __future__ import annotations

from collections.abc import Sequence

from highwater.model.errors import ConfigurationError

NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


SAID = f"one of {', '.join(NAMES)}, or its first three letters (mon), or 1 (Monday) to 7"
"""How a weekday may be given, in every command, file and form."""

_KNOWN = {name.lower(): number for number, name in enumerate(NAMES, 1)}
_KNOWN |= {name[:3]: number for name, number in _KNOWN.items()} | {str(number): number for number in _KNOWN.values()}


def number_of(name: object) -> int:
    """The number of a weekday, 1 (Monday) to 7, as it was given.

    Raises:
        ValueError: it is none; says what is.
    """
    try:
        return _KNOWN[str(name).strip().lower()]
    except KeyError:
        raise ValueError(f"no such weekday; expected {SAID}") from None


def weekdays_of(names: Sequence[str] | None) -> list[int] | None:
    """The numbers of weekdays as `number_of` takes each; None where all are meant.

    Raises:
        ConfigurationError: one does not exist, or none is given; says what may be.
    """
    if names is None:
        return None
    if not names:
        raise ConfigurationError(f"no weekday is given: expected {SAID}")
    for name in names:
        try:
            number_of(name)
        except ValueError as strange:
            raise ConfigurationError(f"weekday {name!r}: {strange}") from None
    numbers = sorted({number_of(name) for name in names})
    return None if len(numbers) == len(NAMES) else numbers
