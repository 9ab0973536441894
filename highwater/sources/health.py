"""Is what a load needs well? Each check is bounded, and leaves a row with its verdict and how long it took."""

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

PATIENCE = 15.0
"""Seconds after which a check that has not come back counts as failed."""
LEAST_FREE = 512 * 2**20
"""Bytes that must be free where the platform keeps its files."""

TOLD = frozenset({"ledger"})
"""Checks that hold no load up: what they find is an incident, and loading more makes it no worse."""


@dataclass(frozen=True)
class Verdict:
    """What a check came to: ``problem`` is None when all is well."""

    name: str
    problem: str | None
    seconds: float


def check(run_id: str, connections: Sequence[str]) -> list[Verdict]:
    """Make every check and store a row for each; returns the verdicts.

    Raises:
        Unhealthy: names each check that failed and holds loads up, and why.
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
    """Ask only whether these sources are there: for who turns to one outside of an attempt, which would record it.

    Raises:
        Unhealthy: names each that is away, and why.
    """
    _record(run_id, _of_sources(connections))


def _of_sources(connections: Sequence[str]) -> dict[str, Callable[[], str | None]]:
    return {f"source {name}": partial(_source_away, name) for name in connections}


def _record(run_id: str, checks: Mapping[str, Callable[[], str | None]]) -> list[Verdict]:
    verdicts = [_bounded(name, look) for name, look in checks.items()]
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
    if unwell := [f"{each.name}: {each.problem}" for each in verdicts if each.problem and each.name not in TOLD]:
        raise Unhealthy("; ".join(unwell))
    return verdicts


def _bounded(name: str, look: Callable[[], str | None]) -> Verdict:
    """Run a check in a thread of its own: one that hangs is left behind, and ends with the process."""
    found: list[str | None] = []

    def run() -> None:
        try:
            found.append(look())
        except Exception as error:
            found.append(sentences.of(error))

    begun = perf_counter()
    thread = threading.Thread(target=run, name=f"health {name}", daemon=True)
    thread.start()
    thread.join(PATIENCE)
    problem = found[0] if found else f"no answer within {PATIENCE:g} s"
    return Verdict(name, problem, perf_counter() - begun)


def _not_writable() -> str | None:
    with warehouse.session("loader") as cursor:
        cursor.execute("SET LOCAL statement_timeout = '10s'")
        # As a load does, and taken back.
        cursor.execute(
            "SELECT ops.new_set_table(ops.new_set(d.dataset, tstzrange(d.first_window, d.first_window + d.step),"
            " 'health', 'check'), 'raw', '{one}', '{integer}') FROM control.datasets AS d ORDER BY d.dataset LIMIT 1"
        )
        cursor.connection.rollback()
    return None


def _disk_full() -> str | None:
    home = settings.get().home
    free = shutil.disk_usage(home).free
    return None if free >= LEAST_FREE else f"{free // 2**20} MiB are free in {home}, {LEAST_FREE // 2**20} are needed"


def _locked() -> str | None:
    return _asked(
        "SELECT count(*) || ' sessions have waited for a lock for longer than a minute' FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND state_change < now() - interval '1 minute'"
        " AND datname = current_database() HAVING count(*) > 0"
    )


def _replication_behind() -> str | None:
    return _asked(
        "SELECT 'a standby is behind by ' || max(replay_lag) FROM pg_stat_replication"
        " WHERE replay_lag > interval '5 minutes' HAVING count(*) > 0"
    )


def _ledger_inconsistent() -> str | None:
    """Every landed window of a partitioned table has its partition with rows, and no other one has."""
    return _asked(warehouse.read_sql("ops/ledger_inconsistent.sql"))


def _source_away(connection: str) -> str | None:
    with sources.snapshot(connection) as cursor:
        cursor.execute("SET LOCAL statement_timeout = '10s'")
        cursor.execute("SELECT 1")
    return None


def _asked(query: str) -> str | None:
    """The sentence a query gives when something is wrong, None when it gives no row."""
    with closing(warehouse.connect("loader")) as link, link, link.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '10s'")
        cursor.execute(query)
        row = warehouse.fetch(cursor)
    return None if row is None else str(row[0])
