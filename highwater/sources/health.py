"""Health checks of what a load needs. Each is bounded in time and stores a row with its verdict and duration."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from time import perf_counter

from highwater.environment import settings
from highwater.model.errors import Unhealthy
from highwater.sources import sources
from highwater.store import sentences, warehouse

TIMEOUT = 15.0
"""Seconds after which a check without a result counts as failed."""
MIN_FREE = 512 * 2**20
"""Bytes that must be free where the platform keeps its files."""

ADVISORY = frozenset({"ledger"})
"""Checks that stop no load: their findings are incidents, which further loads do not make worse."""


@dataclass(frozen=True)
class Verdict:
    """The result of a check; ``problem`` is None if it passed."""

    name: str
    problem: str | None
    seconds: float


def check(run_id: str, connections: Sequence[str]) -> list[Verdict]:
    """Run every check and store a row for each; returns the verdicts.

    Raises:
        Unhealthy: names each failed check that stops loads, and why.
    """
    checks: dict[str, Callable[[], str | None]] = {
        "warehouse writable": _not_writable,
        "free disk": _disk_full,
        "locks": _locked,
        "replication": _replication_behind,
        "ledger": _ledger_inconsistent,
    }
    return _record(run_id, checks | _of_sources(connections))


def check_sources(run_id: str, connections: Sequence[str]) -> None:
    """Check only that these sources are available: for work outside of an attempt, which would record a failure.

    Raises:
        Unhealthy: names each unavailable source, and why.
    """
    _record(run_id, _of_sources(connections))


def _of_sources(connections: Sequence[str]) -> dict[str, Callable[[], str | None]]:
    return {f"source {name}": partial(_source_unavailable, name) for name in connections}


def _record(run_id: str, checks: Mapping[str, Callable[[], str | None]]) -> list[Verdict]:
    verdicts = [_bounded(name, probe) for name, probe in checks.items()]
    with warehouse.session("loader") as cursor:
        for verdict in verdicts:
            cursor.execute(
                "SELECT ops.record_health_check(%s, %s, %s, %s, %s)",
                (
                    verdict.name,
                    "unwell" if verdict.problem else "well",
                    verdict.problem or "",
                    verdict.seconds,
                    run_id,
                ),
            )
    if unwell := [f"{each.name}: {each.problem}" for each in verdicts if each.problem and each.name not in ADVISORY]:
        raise Unhealthy("; ".join(unwell))
    return verdicts


def _bounded(name: str, probe: Callable[[], str | None]) -> Verdict:
    """Run a check in a thread of its own; one that hangs is abandoned and ends with the process."""
    found: list[str | None] = []

    def run() -> None:
        try:
            found.append(probe())
        except Exception as error:
            found.append(sentences.of(error))

    begun = perf_counter()
    thread = threading.Thread(target=run, name=f"health {name}", daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    problem = found[0] if found else f"no answer within {TIMEOUT:g} s"
    return Verdict(name, problem, perf_counter() - begun)


def _not_writable() -> str | None:
    with warehouse.session("loader") as cursor:
        cursor.execute("SET LOCAL statement_timeout = '10s'")
        # Creates a set as a load does, then rolls back.
        cursor.execute(
            "SELECT ops.new_set_table(ops.new_set(d.dataset, tstzrange(d.first_window, d.first_window + d.step),"
            " 'health', 'check'), 'raw', '{one}', '{integer}') FROM control.datasets AS d ORDER BY d.dataset LIMIT 1"
        )
        cursor.connection.rollback()
    return None


def _disk_full() -> str | None:
    home = settings.get().home
    free = shutil.disk_usage(home).free
    return None if free >= MIN_FREE else f"{free // 2**20} MiB are free in {home}, {MIN_FREE // 2**20} are needed"


def _locked() -> str | None:
    return _problem(
        "SELECT count(*) || ' sessions have waited for a lock for longer than a minute' FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND state_change < now() - interval '1 minute'"
        " AND datname = current_database() HAVING count(*) > 0"
    )


def _replication_behind() -> str | None:
    return _problem(
        "SELECT 'a standby is behind by ' || max(replay_lag) FROM pg_stat_replication"
        " WHERE replay_lag > interval '5 minutes' HAVING count(*) > 0"
    )


def _ledger_inconsistent() -> str | None:
    """Whether exactly the landed windows of each partitioned table have a partition with rows."""
    return _problem(warehouse.read_sql("ops/ledger_inconsistent.sql"))


def _source_unavailable(connection: str) -> str | None:
    with sources.snapshot(connection) as cursor:
        cursor.execute("SET LOCAL statement_timeout = '10s'")
        cursor.execute("SELECT 1")
    return None


def _problem(query: str) -> str | None:
    """The sentence that a query gives if something is wrong; None if it gives no row."""
    with closing(warehouse.connect("loader")) as link, link, link.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '10s'")
        cursor.execute(query)
        return None if cursor.rowcount == 0 else str(warehouse.fetch_value(cursor))
