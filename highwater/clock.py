"""The one seam to the wall clock."""

import os
from datetime import UTC, datetime

SETTING = "HIGHWATER_NOW"


def frozen() -> datetime | None:
    """The moment that ``HIGHWATER_NOW`` (ISO 8601) pins the clock to, in UTC, or None when time runs."""
    pinned = os.environ.get(SETTING)
    if not pinned:
        return None
    moment = datetime.fromisoformat(pinned)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def now() -> datetime:
    """The current moment in UTC; the SQL side reads the same seam through ``ops.clock()``."""
    return frozen() or datetime.now(UTC)
