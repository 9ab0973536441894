"""The simulated billing system and web site: generates missing six-hour batches, and knows their defects."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg2 import sql
from psycopg2.errors import LockNotAvailable

from highwater.environment import settings
from highwater.model.errors import Busy, ConfigurationError
from highwater.model.windows import Grid, Window
from highwater.store import warehouse
from simulation import settings as simulation_settings

DAYS_BEFORE_ANCHOR = 3
STEP = timedelta(hours=6)
CLOSES_AFTER = timedelta(minutes=5)
"""Time after its end at which a batch is complete at the source."""
CYCLE = 100


@dataclass(frozen=True)
class Source:
    """A source of batches: its schema, the part of SIMULATION_ROWS_PER_DAY in a batch, and the slot of each defect.

    Row k of a batch (from 0) has the defect whose slot is k modulo ``CYCLE``, as in the SQL of the source.
    """

    schema: str
    share: int
    refused: dict[str, int]
    duplicate: int = 5

    def rows_per_batch(self) -> int:
        """The number of rows of a batch."""
        return simulation_settings.get().rows_per_day // self.share

    def rejected(self, rows: int) -> dict[str, int]:
        """The number of rows of a batch with ``rows`` rows that must be quarantined, by reason."""
        return {reason: _count(slot, rows) for reason, slot in self.refused.items()}

    def duplicates(self, rows: int) -> int:
        """The number of duplicates in a batch with ``rows`` rows."""
        return _count(self.duplicate, rows)


BILLING = Source("billing", 40, {"amount not positive": 2, "unknown currency": 3})
WEB = Source("web", 4, {"no session": 2, "viewed outside the window": 3})


def history(now: datetime) -> list[Window]:
    """The batches that have ended by ``now``, starting three days before the anchor.

    Raises:
        ConfigurationError: ``now`` has no time zone.
    """
    if now.tzinfo is None:
        raise ConfigurationError(f"the simulation needs a moment with a time zone, got {now!r}")
    first = settings.get().days_before_anchor(DAYS_BEFORE_ANCHOR)
    return list(Grid(first, STEP).windows(first, now))


def advance(now: datetime) -> dict[str, list[Window]]:
    """Generate every missing batch that has ended, in each source. Idempotent.

    Each batch is one transaction, so a crash leaves only complete batches, and concurrent callers generate each once.

    Returns:
        The batches that this call generated, by source, oldest first.

    Raises:
        Busy: another caller has been generating one of them for too long.
    """
    return {source.schema: _advance(source, history(now)) for source in (BILLING, WEB)}


def _advance(source: Source, batches: list[Window]) -> list[Window]:
    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        cursor.execute(sql.SQL("SELECT batch_start FROM {}").format(sql.Identifier(source.schema, "closed_batches")))
        existing = {row.batch_start for row in warehouse.fetch_all(cursor)}
    return [batch for batch in batches if batch.start not in existing and _make(source, batch)]


def _make(source: Source, batch: Window) -> bool:
    """Generate one batch; returns False if another caller generated it first."""
    config, company = settings.get(), simulation_settings.get()
    values = [batch.start, source.rows_per_batch(), company.seed]
    if source is BILLING:
        values.append(company.shop_orders)
    call = sql.SQL("SELECT {}({})").format(
        sql.Identifier(source.schema, "generate_batch"), sql.SQL(", ").join([sql.Placeholder()] * (len(values) + 1))
    )
    try:
        with warehouse.session("simulator", config.sources_database) as cursor:
            cursor.execute(call, [*values, batch.end + CLOSES_AFTER])
            return warehouse.fetch_value(cursor) is not None
    except LockNotAvailable:
        raise Busy(
            f"another simulation is still generating {source.schema} {batch}: try again when it has finished"
        ) from None


def _count(slot: int, rows: int) -> int:
    return len(range(slot, rows, CYCLE))
