"""When a failed task is retried, by the kind of failure: a source is unavailable, something is busy, or it is final."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from airflow.sdk import RetryDecision, RetryPolicy

from highwater.model.errors import Busy, SourceIncomplete, kind_of

FIRST, LONGEST = 5.0, 900.0
"""Seconds: the first and the longest wait for an unavailable source."""
BUSY = (2.0, 10.0)
"""Seconds: the shortest and the longest wait for a busy table."""
NOT_CLOSED = 60.0
"""Seconds to wait for a source that has not closed a window."""


class ByKind(RetryPolicy):
    """Unavailable or unknown: exponential backoff with jitter. Busy: soon. Final errors: never.

    The number of retries stays the task's ``retries``, so that Airflow and ops.attempts agree on the last try.
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Any | None = None
    ) -> RetryDecision:
        """Whether and when the task is retried after this failure."""
        kind = kind_of(exception)
        if getattr(exception, "is_final", False):
            return RetryDecision.fail(f"{kind}: a retry would not help")
        if isinstance(exception, Busy):
            seconds = random.uniform(*BUSY)  # noqa: S311 - parts tasks that collided
        elif isinstance(exception, SourceIncomplete):
            seconds = NOT_CLOSED
        else:
            longest = min(LONGEST, FIRST * 2 ** min(try_number - 1, 20))
            seconds = random.uniform(longest / 2, longest)  # noqa: S311
        return RetryDecision.retry(timedelta(seconds=seconds), f"{kind}: retry in {seconds:.0f} s")

    def serialize(self) -> dict[str, Any]:
        """There are no settings."""
        return {}

    @classmethod
    def deserialize(cls, _data: dict[str, Any]) -> ByKind:
        """The policy, which has no settings."""
        return cls()
