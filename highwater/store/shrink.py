"""The guard on volume: a person accepts that the next load of a window has far fewer rows than are published."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from highwater.model.windows import Window
from highwater.store import ledger, warehouse
from highwater.store.publish import in_words, retry_when_busy
from highwater.store.rollback import window_named


@dataclass(frozen=True)
class Accepted:
    """An unused row of control.accepted_reloads."""

    accepted_id: int
    accepted_by: str
    reason: str
    accepted_at: datetime


@dataclass(frozen=True)
class Plan:
    """What is published of a window, how the dataset guards it, and what was accepted already.

    ``version`` and ``rows`` are None if it has not landed; ``max_shrink`` is a share, 0 to 1.
    """

    dataset: str
    window: Window
    version: int | None
    rows: int | None
    on_shrink: str
    max_shrink: Decimal
    accepted: Accepted | None


def plan(dataset: str, name: str) -> Plan:
    """Preview an acceptance; changes nothing.

    Raises:
        ConfigurationError: unknown dataset, or the name is not that of a window.
        DataRejected: the window has not ended yet; with the message of `accept`.
    """
    with in_words(), warehouse.session("analyst") as cursor:
        window = window_named(name, dataset, ledger.grid(cursor, dataset))
        known = {"dataset": dataset, "window": ledger.as_range(window)}
        cursor.execute("SELECT (ops.acceptable(%(dataset)s, %(window)s)).dataset", known)
        cursor.execute(
            "SELECT l.version, l.rows_published, d.on_shrink, d.max_shrink FROM control.datasets AS d"
            " LEFT JOIN ops.window_ledger AS l ON l.dataset = d.dataset AND l.window_range = %(window)s"
            " WHERE d.dataset = %(dataset)s",
            known,
        )
        found = warehouse.fetch(cursor)
        cursor.execute(
            "SELECT accepted_id, accepted_by, reason, accepted_at FROM control.accepted_reloads"
            " WHERE dataset = %(dataset)s AND window_range = %(window)s AND used_at IS NULL",
            known,
        )
        row = warehouse.fetch(cursor)
    accepted = warehouse.as_dataclass(Accepted, row) if row else None
    return Plan(dataset, window, found.version, found.rows_published, found.on_shrink, found.max_shrink, accepted)


@retry_when_busy
def accept(wanted: Plan, by: str, reason: str) -> Accepted:
    """Accept it for one load; an earlier acceptance that is unused is returned instead.

    Raises:
        DataRejected: it is not a window of the dataset's grid, or has not ended yet.
    """
    with in_words(), warehouse.session("operator") as cursor:
        cursor.execute(
            "SELECT accepted_id, accepted_by, reason, accepted_at FROM ops.accept_shrink(%s, %s, %s, %s)",
            (wanted.dataset, ledger.as_range(wanted.window), by, reason),
        )
        return warehouse.as_dataclass(Accepted, warehouse.fetch(cursor))
