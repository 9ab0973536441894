"""Postgres on a machine without Docker: the embedded binaries with their own data folder, on 127.0.0.1 only."""

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
    # A query over a whole partitioned table locks each partition.
    "max_locks_per_transaction": "256",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "wal_level": "minimal",  # a table filled in the transaction that created it is written to disk once, not twice
    "max_wal_senders": "0",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
"""Tuned for many short queries and a few large loads on one machine; durability (fsync) keeps its default."""


def start() -> int:
    """Start the server, creating its data folder if necessary; returns its port.

    Does nothing if it is already running. If its port has been taken by another program, a free one is chosen; the
    port is stored in ``<home>/platform.env``, where the settings find it.

    Raises:
        HighwaterError: Postgres did not start; contains the end of its log.
        ConfigurationError: the data folder belongs to another user.
    """
    with _server_locked():
        credentials.ensure()
        remember(_server_settings())
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


def _server_settings() -> dict[str, str]:
    """Settings that lead to the embedded server, overriding a ``.env`` that names another warehouse for compose."""
    return {
        "HIGHWATER_WAREHOUSE_HOST": "127.0.0.1",
        "HIGHWATER_WAREHOUSE_ADMIN": "postgres",
        "HIGHWATER_WAREHOUSE_ADMIN_PASSWORD_FILE": str(settings.get().secrets / "postgres_password"),
        "HIGHWATER_WAREHOUSE_SSLMODE": "disable",
    }


def stop() -> None:
    """Stop the server; open transactions are rolled back. Does nothing if it is not running.

    Raises:
        HighwaterError: it is still running after a minute.
    """
    _stop("fast")


def _stop(mode: str) -> None:
    with _server_locked():
        data = data_folder()
        if _running(data):
            stopped = run(program("pg_ctl"), "stop", "-w", "-t", "60", "-m", mode, "-D", data)
            if stopped.returncode != 0 and _running(data):
                raise HighwaterError(f"Postgres with data in {data} did not stop: {stopped.stderr.strip()}")


def remove() -> None:
    """Stop the server and delete its data, wherever that is.

    Raises:
        HighwaterError: it is still running after a minute.
    """
    # Data that is about to be deleted need not be written to disk first, which is slow on a busy server.
    _stop("immediate")
    data = data_folder()
    shutil.rmtree(data, ignore_errors=True)
    if data.parent.parent == ELSEWHERE:
        shutil.rmtree(data.parent)


def running() -> bool:
    """Whether the server of this home folder is running."""
    return _running(data_folder())


def program(name: str) -> Path:
    """The path of a Postgres program, e.g. ``psql``."""
    return binaries() / name


@contextmanager
def _server_locked() -> Iterator[None]:
    """Only one process at a time starts or stops the server of a home folder."""
    with (home() / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _initialise(data: Path) -> None:
    """Create the cluster under another name and rename it, so that an interrupted initdb never looks complete."""
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
    """After a ``kill -9``: wait for orphaned backends, then delete the lock file, whose pid may have been reused."""
    _gone, left = psutil.wait_procs(_processes_in(data), timeout=20)
    if not left:
        (data / "postmaster.pid").unlink(missing_ok=True)


def _running(data: Path) -> bool:
    """Whether the process named in the lock file exists and is the server of this folder."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except FileNotFoundError:
        return False
    return any(process.pid == pid for process in _processes_in(data))


def _processes_in(data: Path) -> list[psutil.Process]:
    """The processes of the server: postmaster and backends have the data folder as working directory."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(data.resolve()):
                found.append(process)
    return found
