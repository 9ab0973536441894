"""kill -9 in the middle of each stage, and between the merge and its commit: done again, nothing is lost or doubled."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from shopping import compare, here, land, there, value
from stage_of_its_own import STAGES, perform
from waiting import wait_until

from highwater.environment import settings
from highwater.local import placement, server
from highwater.store import warehouse

Change = Callable[[str], int]
SOURCE, TARGET = "sources", "warehouse"

BLOCKS = [
    ("determine_mode", TARGET, "control.sources", False),
    ("identify_changes", SOURCE, "shop.orders", False),
    ("process_changes", TARGET, "sales.orders", False),
    # the rows are merged and the ledger row is written; then it waits, and is killed before it commits
    ("update_checkpoint", TARGET, "quarantine.refused_keys", False),
    # committed, but the task dies before it can say so
    ("update_checkpoint", TARGET, "ops.processing_summary", True),
    ("validate_consistency", TARGET, "ops.consistency_checks", True),
]
NAMES = [f"{stage} at {table}" for stage, _, table, _ in BLOCKS]


def kill_in(stage: str, given: Any, database: str, table: str) -> None:
    """Start the stage in a process, hold the table it needs, and kill it once it waits for it."""
    link = warehouse.connect("postgres", getattr(settings.get(), f"{database}_database"))
    with closing(link), link.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        process = subprocess.Popen(
            [sys.executable, str(settings.ROOT / "tests/stage_of_its_own.py")],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(settings.ROOT), str(settings.ROOT / "tests")])},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(pickle.dumps((stage, given)))
        process.stdin.close()

        def waits() -> bool:
            assert process.poll() is None, process.stderr and process.stderr.read().decode()
            return _another_session_waits_for(table, database)

        wait_until(f"{stage} comes to {table}", waits, seconds=60)
        process.kill()
        assert process.wait() == -signal.SIGKILL


def _another_session_waits_for(table: str, database: str) -> bool:
    with warehouse.session("postgres", getattr(settings.get(), f"{database}_database")) as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE relation = %s::regclass AND NOT granted)", (table,))
        return bool(warehouse.fetch_value(cursor))


@pytest.mark.parametrize(("stage", "database", "table", "has_landed"), BLOCKS, ids=NAMES)
def test_a_stage_that_was_killed_is_done_again_and_nothing_is_lost_or_doubled(
    small_shop: Change, stage: str, database: str, table: str, has_landed: bool
) -> None:
    land()
    small_shop("UPDATE shop.orders SET amount = 600 WHERE order_id <= 50")
    small_shop("DELETE FROM shop.orders WHERE order_id > 290")
    expected = there()
    done: Any = None
    for name in STAGES:
        if name == stage:
            kill_in(name, done, database, table)
            assert (here() == expected) is has_landed
            assert value("SELECT count(*) FROM ops.window_ledger") == 1 + has_landed
        done = perform(name, done)
    assert here() == expected
    assert (done.keys, value("SELECT count(*) FROM ops.window_ledger")) == ((), 2)
    assert value("SELECT revision FROM ops.checkpoints") == 2
    assert value("SELECT live_rows FROM ops.checkpoints") == 290
    assert value("SELECT stage FROM ops.attempts WHERE state = 'lost'") == stage
    own = "SELECT count(*) FROM ops.attempts WHERE state <> 'lost' AND run_id = 'run killed'"
    assert value(own) == len(STAGES)


def test_a_merge_whose_database_is_killed_has_not_happened(small_shop: Change) -> None:
    """All of Postgres dies between the merge and its commit."""
    land()
    small_shop("UPDATE shop.orders SET amount = 600 WHERE order_id <= 50")
    changes = perform("process_changes", perform("identify_changes", perform("determine_mode", None)))
    kill_in("update_checkpoint", changes, TARGET, "quarantine.refused_keys")
    postmaster = int((placement.data_folder() / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, signal.SIGQUIT)
    wait_until("the server to be gone", lambda: not psutil.pid_exists(postmaster), seconds=60)
    server.start()
    assert value("SELECT count(*) FROM ops.window_ledger") == 1
    assert here() != there()
    perform("update_checkpoint", changes)
    assert here() == there()
    assert compare().keys == ()
