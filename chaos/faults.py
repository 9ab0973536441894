"""The faults: each is struck, held until something has met it, and healed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import psycopg2
from holding import held

from chaos.felt import MISSED, Felt
from chaos.platform import Platform
from chaos.schedule import Strike
from chaos.source_faults import restore_source, source_away, source_cut, source_slow
from highwater.environment import settings
from highwater.local import placement, server
from highwater.model.errors import HighwaterError

SMALL_DISK = 24
"""MiB of the small disk that is filled up."""


def strike(platform: Platform, wanted: Strike, felt: Felt) -> str:
    """Strike once; returns what came of it."""
    return FAULTS[wanted.kind](platform, wanted.target, felt)


def kill_task(platform: Platform, table: str, felt: Felt) -> str:
    """``kill -9`` to a task that waits for a table it needs."""
    with held(settings.get().warehouse_database, table) as waiting:
        # Which processes are tasks is found out only when a session waits: it reads every process.
        victims = platform.until(lambda: sorted(who & platform.airflow.pids_of_tasks()) if (who := waiting()) else [])
        if victims:
            os.kill(victims[0], signal.SIGKILL)
            felt.senders_killed += 1
    return f"killed one that waited for {table}" if victims else MISSED


def kill_component(component: str) -> Callable[[Platform, str, Felt], str]:
    """``kill -9`` to a component of Airflow; its supervisor starts it again."""

    def fault(platform: Platform, _target: str, felt: Felt) -> str:
        platform.until(lambda: _at_work(platform))
        platform.airflow.revive()
        platform.airflow.kill(component)
        platform.airflow.launch(component)
        # It runs the callbacks of failed runs.
        felt.senders_killed += component == "dag-processor"
        return "killed and started again"

    return fault


def kill_postgres(platform: Platform, _target: str, felt: Felt) -> str:
    """``kill -9`` to the postmaster: metadata, warehouse and sources are gone at once, and come back."""
    pid = int((placement.data_folder() / "postmaster.pid").read_text().split("\n", 1)[0])
    live = platform.until(lambda: _at_work(platform)) or 0
    os.kill(pid, signal.SIGKILL)
    server.start()
    felt.senders_killed += 1  # they take turns
    return f"killed under {live} attempts and started again"


def disk_full(platform: Platform, _target: str, _felt: Felt) -> str:
    """What is staged goes to a small disk that is full, until an attempt has failed by it."""
    if platform.disk:
        return f"left out: {platform.disk}"
    mark = platform.last_attempt()
    filler = platform.home / "small/filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 16)):
            pass
    query = (
        "SELECT FROM ops.attempts WHERE attempt_id > %s AND error ~ 'No space left'"
        " UNION ALL SELECT FROM ops.health_checks WHERE verdict = 'unwell' AND detail ~ 'No space left'"
        " AND run_id IN (SELECT run_id FROM ops.attempts WHERE attempt_id > %s)"
    )
    platform.rows("ALTER FUNCTION ops.new_set_table SET default_tablespace = 'chaos_small'", role="postgres")
    try:
        found = platform.until(lambda: platform.rows(query, (mark, mark)))
    finally:
        filler.unlink()
        platform.rows("ALTER FUNCTION ops.new_set_table SET default_tablespace = ''", role="postgres")
    return "no space left for an attempt" if found else MISSED


def two_schedulers(platform: Platform, _target: str, felt: Felt) -> str:
    """A second scheduler beside the first, until all work is done."""
    platform.airflow.revive()
    platform.airflow.second("scheduler")
    felt.heals.append(platform.airflow.end_remains)
    return "two until the end"


def clock_jumps(platform: Platform, by: str, _felt: Felt) -> str:
    """The clock of everybody is wrong, until ten more attempts have begun, one waits for its time, or all is done."""
    amount, unit = by.split()
    right = platform.now
    platform.set_clock(right + timedelta(**{unit: int(amount)}))
    mark = platform.last_attempt()
    # By a clock that went back no batch is closed, and who has seen that looks again a minute later.
    waits = "SELECT count(*) > 0 FROM ops.attempts WHERE attempt_id > %s AND error_kind = 'source incomplete'"

    def felt() -> str:
        if platform.value(waits, (mark,)):
            return "until an attempt waited for its time"
        return "for ten attempts" if platform.attempts_since(mark) >= 10 else ""

    seen = platform.until(felt)
    platform.set_clock(right)
    platform.parse()
    return f"wrong {seen or 'for the rest'}"


FAULTS: dict[str, Callable[[Platform, str, Felt], str]] = {
    "kill task": kill_task,
    "kill scheduler": kill_component("scheduler"),
    "kill triggerer": kill_component("triggerer"),
    "kill dag-processor": kill_component("dag-processor"),
    "kill postgres": kill_postgres,
    "source away": source_away,
    "source slow": source_slow,
    "source cut": source_cut,
    "restore source": restore_source,
    "disk full": disk_full,
    "two schedulers": two_schedulers,
    "clock jumps": clock_jumps,
}


def _at_work(platform: Platform) -> int:
    """How many attempts are under way."""
    return int(platform.value("SELECT count(*) FROM ops.live_attempts"))


@contextmanager
def small_disk(platform: Platform) -> Iterator[None]:
    """A file system of a few MiB as a tablespace for what is staged; where there can be none, ``disk`` says why."""
    folder = platform.home / "small"
    user = placement.server_user()
    if user is None:
        platform.disk = "only root may mount the small disk that is filled"
        yield
        return
    folder.mkdir()
    mounted = subprocess.run(
        [
            "mount",
            "-t",
            "tmpfs",
            "-o",
            f"size={SMALL_DISK}m,mode=0700,uid={user.pw_uid},gid={user.pw_gid}",
            "chaos",
            folder,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        platform.disk = f"no small disk can be mounted here: {mounted.stderr.strip()}"
        yield
        return
    try:
        platform.rows(f"CREATE TABLESPACE chaos_small LOCATION '{folder}'", role="postgres", database="postgres")
        platform.rows("GRANT CREATE ON TABLESPACE chaos_small TO publisher", role="postgres")
        yield
    finally:
        _unmount_later(folder)


def _unmount_later(folder: Path) -> None:
    """The server has files open there until it stops: the mount goes when nobody uses it any more."""
    subprocess.run(["umount", "--lazy", folder], capture_output=True, check=False)


ERRORS = (psycopg2.Error, HighwaterError, OSError)
