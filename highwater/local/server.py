"""The Postgres of a machine without Docker: the embedded binaries on a data folder of our own, on 127.0.0.1 only."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from highwater.environment import credentials, settings
from highwater.local.placement import ELSEWHERE, binaries, data_folder, home, run, server_user
from highwater.local.settings import is_free, remember, remember_port
from highwater.model.errors import HighwaterError

PORT = "HIGHWATER_WAREHOUSE_PORT"
FIRST_PORT = 15432
CONFIGURATION = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    # A reader of all of a table locks each of its partitions.
    "max_locks_per_transaction": "256",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "wal_level": "minimal",  # a table filled by the transaction that made it goes to disk once, not twice
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
"""For many short queries and a few large loads on one machine; durability (fsync) stays as it comes."""


def start() -> int:
    """Start the server, making its data folder first if there is none; returns its port.

    Does nothing when it runs already. A port that somebody else took meanwhile is replaced by a free one; the port
    is kept in ``<home>/platform.env``, where the settings find it.

    Raises:
        HighwaterError: Postgres did not start; carries the end of its log.
        ConfigurationError: the data folder belongs to another user.
    """
    with _alone():
        credentials.ensure()
        remember(_this_server())
        data = data_folder()
        if not (home() / "postgres/PG_VERSION").exists():
            _initialise(data)
        if _running(data):
            return settings.get().warehouse_port
        _clear_stale_lock(data)
        while True:
            port = remember_port(PORT, FIRST_PORT)
            options = " ".join(f"-c {name}={value}" for name, value in CONFIGURATION.items())
            log = data / "server.log"
            started = run(
                program("pg_ctl"), "start", "-w", "-t", "120", "-D", data, "-l", log, "-o", f"-p {port} {options}"
            )
            if started.returncode == 0:
                return port
            if is_free(port):
                end = "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else started.stderr
                raise HighwaterError(f"Postgres did not start on port {port} with data in {data}:\n{end}")


def _this_server() -> dict[str, str]:
    """The way to the embedded server: a ``.env`` that leads compose to somebody's own warehouse is not for it."""
    return {
        "HIGHWATER_WAREHOUSE_HOST": "127.0.0.1",
        "HIGHWATER_WAREHOUSE_ADMIN": "postgres",
        "HIGHWATER_WAREHOUSE_ADMIN_PASSWORD_FILE": str(settings.get().secrets / "postgres_password"),
        "HIGHWATER_WAREHOUSE_SSLMODE": "disable",
    }


def stop() -> None:
    """Stop the server: open transactions are rolled back. Does nothing when it isn't running.

    Raises:
        HighwaterError: it is still there after a minute.
    """
    _stop("fast")


def _stop(mode: str) -> None:
    with _alone():
        data = data_folder()
        if _running(data):
            stopped = run(program("pg_ctl"), "stop", "-w", "-t", "60", "-m", mode, "-D", data)
            if stopped.returncode != 0 and _running(data):
                raise HighwaterError(f"Postgres with data in {data} did not stop: {stopped.stderr.strip()}")


def remove() -> None:
    """Stop the server and delete its data, wherever it lies.

    Raises:
        HighwaterError: it is still there after a minute.
    """
    # At once: what is about to be deleted need not be written to disk first, which takes long on a busy one.
    _stop("immediate")
    data = data_folder()
    shutil.rmtree(data, ignore_errors=True)
    if data.parent.parent == ELSEWHERE:
        shutil.rmtree(data.parent)


def running() -> bool:
    """Whether the server of this home runs."""
    return _running(data_folder())


def program(name: str) -> Path:
    """The path of one of Postgres' programs, e.g. ``psql``."""
    return binaries() / name


@contextmanager
def _alone() -> Iterator[None]:
    """One process at a time starts or stops the server of a home."""
    with (home() / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _initialise(data: Path) -> None:
    """Make the cluster aside and rename it: one that was cut short is not taken for whole."""
    draft = data.with_name(data.name + ".new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    with tempfile.NamedTemporaryFile("w", dir=data.parent, prefix=".initdb") as password:
        password.write(credentials.password("postgres"))
        password.flush()
        if user := server_user():
            os.chown(draft, user.pw_uid, user.pw_gid)
            os.chown(password.name, user.pw_uid, user.pw_gid)
        made = run(
            *(program("initdb"), "-D", draft, "-U", "postgres", "-A", "scram-sha-256", "--pwfile", password.name),
            *("-E", "UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"),
        )
    if made.returncode != 0:
        raise HighwaterError(f"initdb in {draft} failed: {made.stderr.strip()}")
    shutil.rmtree(data, ignore_errors=True)
    draft.rename(data)
    entry = home() / "postgres"
    if data != entry.resolve():
        entry.unlink(missing_ok=True)
        entry.symlink_to(data)


def _clear_stale_lock(data: Path) -> None:
    """After a ``kill -9``: wait for orphaned backends, then drop the lock file, whose pid may be anybody's by now."""
    _gone, left = psutil.wait_procs(_processes_in(data), timeout=20)
    if not left:
        (data / "postmaster.pid").unlink(missing_ok=True)


def _running(data: Path) -> bool:
    """Whether the process named in the lock file is there and is the server of this very folder."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except FileNotFoundError:
        return False
    return any(process.pid == pid for process in _processes_in(data))


def _processes_in(data: Path) -> list[psutil.Process]:
    """The processes of the server: postmaster and backends all have the data folder as their working directory."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(data.resolve()):
                found.append(process)
    return found
