"""When a failed task is tried again, by what failed: the source is away, something is busy, or trying is in vain."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from airflow.sdk import RetryDecision, RetryPolicy

from highwater.model.errors import Busy, SourceIncomplete, kind_of

FIRST, LONGEST = 5.0, 900.0
"""Seconds: the first wait for a source that is away, and the longest."""
BUSY = (2.0, 10.0)
"""Seconds between which a busy table is waited for."""
NOT_CLOSED = 60.0
"""Seconds to wait for a source that has not closed a window."""


class ByKind(RetryPolicy):
    """Away (and whatever is unknown): twice as long each time, with jitter. Busy: soon. Final errors: never.

    How often is the task's ``retries`` to say, so that Airflow and ops.attempts agree on which try is the last.
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Any | None = None
    ) -> RetryDecision:
        """What happens after this failure."""
        kind = kind_of(exception)
        if getattr(exception, "is_final", False):
            return RetryDecision.fail(f"{kind}: trying again changes nothing")
        if isinstance(exception, Busy):
            seconds = random.uniform(*BUSY)  # noqa: S311 - to part those that collided
        elif isinstance(exception, SourceIncomplete):
            seconds = NOT_CLOSED
        else:
            longest = min(LONGEST, FIRST * 2 ** min(try_number - 1, 20))
            seconds = random.uniform(longest / 2, longest)  # noqa: S311
        return RetryDecision.retry(timedelta(seconds=seconds), f"{kind}: tried again in {seconds:.0f} s")

    def serialize(self) -> dict[str, Any]:
        """There is nothing to set."""
        return {}

    @classmethod
    def deserialize(cls, _data: dict[str, Any]) -> ByKind:
        """The same again."""
        return cls()
