"""A hundred seeded schedules of faults: after each the same windows lie there, once, with the same content.

A step of a schedule is a load in a process of its own that meets one fault at one of its statements: it is killed, its
source or the warehouse ends its sessions, its source refuses it, another process does the same at once. Between steps
the clock may jump. Then the backlog is loaded without faults, as the next run would.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import batches
import loading
import pytest
from psycopg2.extensions import connection as Connection
from psycopg2.extras import NamedTupleCursor
from rows import named
from waiting import wait_until

from highwater.environment import settings
from highwater.incidents import alerts
from highwater.loading import staging
from highwater.recovery import backlog
from highwater.store import ledger, publish, warehouse
from highwater.store.ledger import Run

pytestmark = pytest.mark.usefixtures("empty_warehouse", "one_window_due")
SCHEDULES, QUICK = 100, 10
NOON = datetime(2026, 10, 31, 12, tzinfo=UTC)
WINDOW = batches.window(12)
READERS = ("billing_reader", "web_reader")
JUMPS = [timedelta(minutes=5), timedelta(hours=2), timedelta(days=-365), timedelta(days=-1), timedelta(minutes=-90)]
MOST_STATEMENTS = 130
"""A little more than a load executes, counted before and after each, so that some loads meet no fault."""


@pytest.fixture(scope="module")
def one_window_due(platform: Path) -> Iterator[None]:
    """One window of each dataset is due."""
    begin = "UPDATE control.datasets SET first_window = %s WHERE dag_id = 'system_recovery_processing'"
    with warehouse.session("postgres") as cursor:
        # What a file before has landed would hold the grid where it is.
        cursor.execute("TRUNCATE ops.window_ledger CASCADE")
        cursor.execute(begin, (WINDOW.start,))
    yield
    with warehouse.session("postgres") as cursor:
        cursor.execute(begin, (batches.FIRST,))


@pytest.fixture(scope="module")
def undisturbed(platform: Path) -> dict[str, str]:
    """The content of the window of each dataset when nothing goes wrong, computed aside."""
    return {dataset: loading.hash_of(batches.stage(dataset, WINDOW)) for dataset in batches.DATASETS}


def load(dataset: str, run: Run) -> None:
    """Carry the window through the stages that move data, each a recorded attempt, as a task does."""
    with ledger.attempt(dataset, WINDOW, "extract", run):
        staged = batches.stage(dataset, WINDOW)
    with ledger.attempt(dataset, WINDOW, "load", run):
        publish.publish_window(dataset, WINDOW, staged, run)
    with ledger.attempt(dataset, WINDOW, "summarise", run), warehouse.session("loader") as cursor:
        ledger.summarise(cursor, dataset, WINDOW, run)
        staging.drop_obsolete(cursor, dataset, WINDOW, run)


def end_sessions(*roles: str) -> None:
    """What a restarted server does to its clients."""
    with closing(_connect("postgres")) as link, link, link.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY(%s)", (list(roles),))


FAULTS: dict[str, Callable[[], None]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "cut source": lambda: end_sessions(*READERS),
    "cut warehouse": lambda: end_sessions("loader"),
}
_connect = warehouse.connect


def start(dataset: str, run: Run, fault: str | None, at: int) -> int:
    """Load in a process of its own that meets the fault at the statement of that number; returns its pid."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        executed = 0

        def count() -> None:
            nonlocal executed
            executed += 1
            if fault is not None and executed == at:
                FAULTS[fault]()

        class Counting(NamedTupleCursor):
            def execute(self, query: Any, vars: Any = None) -> None:
                count()
                super().execute(query, vars)  # type: ignore[no-untyped-call]
                count()

            def copy_expert(self, *arguments: Any, **named: Any) -> None:
                count()
                super().copy_expert(*arguments, **named)

        def connect(role: str, database: str | None = None) -> Connection:
            link = _connect(role, database)
            link.cursor_factory = Counting
            return link

        warehouse.connect = connect  # type: ignore[assignment]
        load(dataset, run)
        status = 0
    finally:
        os._exit(status)


def reap(*pids: int) -> list[int]:
    """How the processes ended; the claims of those that were killed are gone then."""
    ends = [os.waitpid(pid, 0)[1] for pid in pids]
    wait_until("their claims to end", _nothing_lives, seconds=30)
    return ends


def _nothing_lives() -> bool:
    with warehouse.session("analyst") as cursor:
        cursor.execute("SELECT NOT EXISTS (SELECT FROM ops.live_attempts)")
        return bool(warehouse.fetch_value(cursor))


def step(dice: random.Random, number: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """One load with one fault, both by the dice; returns what it was."""
    dataset = dice.choice(list(batches.DATASETS))
    what = dice.choice(["kill", "kill", "cut source", "cut warehouse", "away", "twice", "jump"])
    at = dice.randint(1, MOST_STATEMENTS)
    run = Run("system_recovery_processing", f"run {number}")
    if what == "jump":
        monkeypatch.setenv("HIGHWATER_NOW", (NOON + dice.choice(JUMPS)).isoformat())
        reap(start(dataset, run, None, 0))
    elif what == "twice":
        other = Run(run.dag_id, f"run {number} again")
        reap(start(dataset, run, "kill", at), start(dataset, other, None, 0))
    elif what == "away":
        reader = READERS[list(batches.DATASETS).index(dataset)]
        with warehouse.session("postgres") as cursor:
            cursor.execute(f"ALTER ROLE {reader} NOLOGIN")
        ends = reap(start(dataset, run, None, 0))
        with warehouse.session("postgres") as cursor:
            cursor.execute(f"ALTER ROLE {reader} LOGIN")
        assert ends != [0]
    else:
        reap(start(dataset, run, what, at))
    return f"{what} {dataset} at {at}"


@pytest.mark.parametrize(
    "seed", [*range(QUICK), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(QUICK, SCHEDULES))]
)
def test_after_a_schedule_of_faults_all_is_as_without(
    seed: int, undisturbed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(seed)
    steps = [step(dice, number, monkeypatch) for number in range(dice.randint(1, 3))]
    monkeypatch.setenv("HIGHWATER_NOW", NOON.isoformat())
    with warehouse.session("loader") as cursor:
        left = {d: backlog.backlog(cursor, d, 9) for d in batches.DATASETS}
    for dataset, windows in left.items():
        assert windows in ([], [WINDOW])
        if windows:
            load(dataset, Run("system_recovery_processing", "run after"))
    alerts.look()
    with warehouse.session("analyst") as cursor:
        cursor.execute("SELECT dataset, window_range, content_hash FROM ops.window_ledger ORDER BY 1")
        rows = named(cursor)
        assert {row.dataset: row.content_hash for row in rows} == undisturbed, steps
        assert [row.window_range for row in rows] == [ledger.as_range(WINDOW)] * 2
        for dataset in batches.DATASETS:
            cursor.execute(f"SELECT content_hash FROM ops.table_content('sales.{dataset}')")
            assert warehouse.fetch_value(cursor) == undisturbed[dataset], steps
        cursor.execute("SELECT count(*) FROM ops.gaps WHERE dataset = ANY(%s)", (list(batches.DATASETS),))
        assert warehouse.fetch_value(cursor) == 0
        cursor.execute(
            "SELECT (SELECT count(*) FROM quarantine.rejected_rows)"
            " = (SELECT sum(rows_quarantined) FROM ops.window_ledger)"
        )
        assert warehouse.fetch_value(cursor), steps
        warehouse.run_file(cursor, "ops/ledger_inconsistent.sql")
        assert warehouse.fetch(cursor) is None, steps


def test_the_faults_come_at_every_part_of_a_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the schedules would prove little: the dice reach each stage."""
    run = Run("system_recovery_processing", "run a")
    (end,) = reap(start("payments", run, "kill", MOST_STATEMENTS))
    assert end == 0, "a load has fewer statements"
    with warehouse.session("postgres") as cursor:
        cursor.execute("DELETE FROM quarantine.rejected_rows")
        cursor.execute("DELETE FROM ops.processing_summary")
        cursor.execute(f"DROP TABLE {loading.partition('payments', WINDOW)}")
        cursor.execute("DELETE FROM ops.window_ledger")
    states = set()
    for at in range(1, MOST_STATEMENTS, 3):
        if reap(start("payments", run, "kill", at)) == [signal.SIGKILL]:
            with warehouse.session("analyst") as cursor:
                cursor.execute("SELECT max(stage) FILTER (WHERE state = 'running') FROM ops.attempts")
                states.add(warehouse.fetch_value(cursor))
    assert {"extract", "load", "summarise"} <= states
    assert settings.get().home.exists()
