"""Verification: compares published content with the ledger, one window at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from time import perf_counter

from highwater.model.errors import Busy
from highwater.model.windows import Window
from highwater.store import ledger, warehouse
from highwater.store.publish import in_words

log = logging.getLogger(__name__)

NIGHTS = 7
"""Number of nightly runs in which every landed window is compared once."""


@dataclass(frozen=True)
class Compared:
    """A landed window that was compared with its ledger row; ``problem`` says what differs, or is None.

    ``held`` says why it could not be compared.
    """

    dataset: str
    window: Window
    problem: str | None
    held: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it was compared, and nothing differs."""
        return self.problem is None and self.held is None


def landed(
    dataset: str | None = None, start: datetime | None = None, end: datetime | None = None
) -> list[tuple[str, Window]]:
    """The landed windows that overlap ``[start, end)`` (UTC), those that were compared longest ago first.

    A dataset that is loaded by its changes is compared as a whole, and has its newest window here.

    Raises:
        ConfigurationError: unknown dataset; lists the known ones.
    """
    with warehouse.session("analyst") as cursor:
        if dataset is not None:
            ledger.grid(cursor, dataset)
        warehouse.run_file(cursor, "ops/landed_windows.sql", {"dataset": dataset, "since": start, "until": end})
        return [(row.dataset, Window(row.window_start, row.window_end)) for row in warehouse.fetch_all(cursor)]


def compare(role: str, windows: list[tuple[str, Window]]) -> Iterator[Compared]:
    """Compare windows with the ledger as a role, one by one, each in its own transaction.

    A window whose table another session holds for too long is returned as held.
    """
    for dataset, window in windows:
        try:
            with in_words(), warehouse.session(role) as cursor:
                cursor.execute("SELECT ops.verify_window(%s, %s)", (dataset, ledger.as_range(window)))
                problem = warehouse.fetch_value(cursor)
        except Busy as busy:
            log.warning("%s %s cannot be compared now: %s", dataset, window, busy)
            yield Compared(dataset, window, None, str(busy))
        else:
            yield Compared(dataset, window, problem)


def sums(role: str, dataset: str | None = None) -> list[tuple[str, str]]:
    """Compare the rollup of the ledger with it, for one dataset or all, as a role; returns what differs.

    Raises:
        Busy: another session held the ledger for too long.
    """
    with in_words(), warehouse.session(role) as cursor:
        cursor.execute(
            "SELECT d.dataset, ops.verify_months(d.dataset) AS problem FROM control.datasets AS d"
            " WHERE %(dataset)s::text IS NULL OR d.dataset = %(dataset)s ORDER BY 1",
            {"dataset": dataset},
        )
        return [(row.dataset, row.problem) for row in warehouse.fetch_all(cursor) if row.problem]


def unaccounted(dataset: str | None = None) -> list[tuple[str, str]]:
    """The partitions that no landed window accounts for, each with its dataset.

    Raises:
        Busy: another session held one of the tables for too long.
    """
    with in_words(), warehouse.session("analyst") as cursor:
        cursor.execute(
            "SELECT d.dataset, p FROM control.datasets AS d"
            " CROSS JOIN LATERAL ops.unaccounted_partitions(d.dataset) AS p"
            " WHERE %(dataset)s::text IS NULL OR d.dataset = %(dataset)s ORDER BY 1, 2",
            {"dataset": dataset},
        )
        return [(row.dataset, row.p) for row in warehouse.fetch_all(cursor)]


def nightly_share(within: timedelta) -> list[Compared]:
    """Compare the seventh of all landed windows that was compared longest ago; returns what differs.

    The rollup of the ledger is compared every time.

    Args:
        within: the time limit; windows that are left come first the next night.

    Raises:
        Busy: some could not be compared; the others were.
    """
    for dataset, problem in sums("loader"):
        log.warning("%s: %s", dataset, problem)
    windows = landed()
    share = windows[: ceil(len(windows) / NIGHTS)]
    begun, different, done, held = perf_counter(), [], 0, []
    for compared in compare("loader", share):
        done += 1
        if compared.held:
            held.append(compared)
        if compared.problem:
            log.warning("%s %s: %s", compared.dataset, compared.window, compared.problem)
            different.append(compared)
        if perf_counter() - begun > within.total_seconds():
            break
    log.info(
        "%d of %d landed windows compared with the ledger, %d differ", done - len(held), len(windows), len(different)
    )
    if done < len(share):
        log.warning(
            "the time limit of %s was reached: %d windows of this night's share are left", within, len(share) - done
        )
    if held:
        first = held[0]
        raise Busy(
            f"{len(held)} landed windows could not be compared with the ledger, first {first.dataset} {first.window}: "
            f"{first.held}"
        )
    return different
