"""Waiting for a condition, for tests: time only bounds it, nothing is judged by how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(what: str, holds: Callable[[], object], seconds: float = 420) -> None:
    """Return once the condition holds.

    Raises:
        AssertionError: the time is up.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)
