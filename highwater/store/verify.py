"""Is what the ledger says still there? Compares published content with the ledger, a window at a time."""

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
"""In how many nightly looks everything that landed is compared once."""


@dataclass(frozen=True)
class Looked:
    """A landed window that was compared with its ledger row; ``problem`` says what differs, None: nothing does.

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

    A dataset that is loaded by its changes is compared as a whole: its newest window stands for it.

    Raises:
        ConfigurationError: there is no such dataset; lists those there are.
    """
    with warehouse.session("analyst") as cursor:
        if dataset is not None:
            ledger.grid(cursor, dataset)
        warehouse.run_file(cursor, "ops/landed_windows.sql", {"dataset": dataset, "since": start, "until": end})
        return [(row.dataset, Window(row.window_start, row.window_end)) for row in warehouse.fetch_all(cursor)]


def look(role: str, windows: list[tuple[str, Window]]) -> Iterator[Looked]:
    """Compare these windows with the ledger, one after the other, each in a transaction of its own, as that role.

    One whose table somebody holds for too long is not compared: it comes as held.
    """
    for dataset, window in windows:
        try:
            with in_words(), warehouse.session(role) as cursor:
                cursor.execute("SELECT ops.verify_window(%s, %s)", (dataset, ledger.as_range(window)))
                problem = warehouse.fetch_value(cursor)
        except Busy as busy:
            log.warning("%s %s is not compared now: %s", dataset, window, busy)
            yield Looked(dataset, window, None, str(busy))
        else:
            yield Looked(dataset, window, problem)


def sums(role: str, dataset: str | None = None) -> list[tuple[str, str]]:
    """Compare the sums kept of the ledger, of one dataset or of all, with it, as that role; returns what differs.

    Raises:
        Busy: somebody held the ledger for too long.
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
        Busy: somebody held one of the tables for too long.
    """
    with in_words(), warehouse.session("analyst") as cursor:
        cursor.execute(
            "SELECT d.dataset, p FROM control.datasets AS d"
            " CROSS JOIN LATERAL ops.unaccounted_partitions(d.dataset) AS p"
            " WHERE %(dataset)s::text IS NULL OR d.dataset = %(dataset)s ORDER BY 1, 2",
            {"dataset": dataset},
        )
        return [(row.dataset, row.p) for row in warehouse.fetch_all(cursor)]


def nightly_share(within: timedelta) -> list[Looked]:
    """Compare the seventh of all that landed which was compared longest ago; returns what differs.

    The sums over the ledger are compared every time.

    Args:
        within: for how long at most; what is left is the first of the next night.

    Raises:
        Busy: some could not be compared; the others were.
    """
    for dataset, problem in sums("loader"):
        log.warning("%s: %s", dataset, problem)
    windows = landed()
    share = windows[: ceil(len(windows) / NIGHTS)]
    begun, different, done, held = perf_counter(), [], 0, []
    for looked in look("loader", share):
        done += 1
        if looked.held:
            held.append(looked)
        if looked.problem:
            log.warning("%s %s: %s", looked.dataset, looked.window, looked.problem)
            different.append(looked)
        if perf_counter() - begun > within.total_seconds():
            break
    compared = done - len(held)
    log.info("%d of %d landed windows compared with the ledger, %d differ", compared, len(windows), len(different))
    if done < len(share):
        log.warning("the time of %s was over: %d windows of this night's share are left", within, len(share) - done)
    if held:
        first = held[0]
        raise Busy(
            f"{len(held)} landed windows could not be compared with the ledger, first {first.dataset} {first.window}: "
            f"{first.held}"
        )
    return different
