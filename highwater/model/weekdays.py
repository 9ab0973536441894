"""Days of the week by name: what people type, and the numbers of ISO 8601 that the warehouse keeps."""

from __future__ import annotations

from collections.abc import Sequence

from highwater.model.errors import ConfigurationError

NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def weekdays_of(names: Sequence[str] | None) -> list[int] | None:
    """The numbers of weekdays from their names, the first three letters or the numbers; None where all are meant.

    Raises:
        ConfigurationError: one does not exist, or none is given; lists those that do.
    """
    if names is None:
        return None
    known = {name.lower(): number for number, name in enumerate(NAMES, 1)}
    known |= {name[:3]: number for name, number in known.items()} | {str(number): number for number in known.values()}
    strange = [name for name in names if name.strip().lower() not in known]
    if strange or not names:
        said = f"weekday {strange[0]!r} does not exist" if strange else "no weekday is given"
        raise ConfigurationError(f"{said}: {', '.join(NAMES)}")
    numbers = sorted({known[name.strip().lower()] for name in names})
    return None if len(numbers) == len(NAMES) else numbers
