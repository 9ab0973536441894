"""The remaining time in words: a range, from `ops.estimate_rest`."""

from __future__ import annotations

from datetime import timedelta
from math import ceil, floor

UNITS = (("s", 10, 90), ("min", 60, 90 * 60), ("h", 3600, 48 * 3600), ("days", 86400, float("inf")))
"""Name, seconds that it is rounded to, and seconds up to which it is used."""


def rest_in_words(at_least: timedelta | None, at_most: timedelta | None) -> str:
    """``2-4 min``; empty if it is not known yet. The range is rounded outwards."""
    if at_least is None or at_most is None:
        return ""
    low, high = at_least.total_seconds(), at_most.total_seconds()
    name, step = next((name, step) for name, step, most in UNITS if high <= most)
    shown = step if name == "s" else 1
    first, last = floor(low / step) * shown, max(ceil(high / step), 1) * shown
    if first == 0:
        return f"up to {last} {name}"
    return f"about {last} {name}" if first == last else f"{first}-{last} {name}"
