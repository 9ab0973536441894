"""A real PgBouncer in front of a Postgres, one connection for all who ask, for tests of sources behind one."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

BINARY = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


def need() -> str:
    """The program; without it the test is skipped, but never in CI."""
    if BINARY is None:
        if os.environ.get("CI"):
            pytest.fail("pgbouncer is not installed: .ci/run installs it")
        pytest.skip("there is no pgbouncer here: sources behind a pooler are not tested")
    return BINARY


@contextmanager
def pooler(folder: Path, port: int, user: str, password: str, mode: str = "transaction", **more: str) -> Iterator[int]:
    """Runs one that passes on every database of ``port``; yields its own port.

    Args:
        folder: an empty one, that an unprivileged program can reach.
        port: of the server behind it.
        user: who may log in.
        password: theirs, here and there.
        mode: its pool_mode.
        more: further settings of it.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        mine: int = probe.getsockname()[1]
    (folder / "users").write_text(f'"{user}" "{password}"\n')
    given = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(mine),
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": str(folder / "users"),
        "pool_mode": mode,
        "default_pool_size": "1",
        "logfile": str(folder / "log"),
    }
    settings = "\n".join(f"{name} = {value}" for name, value in (given | more).items())
    (folder / "ini").write_text(f"[databases]\n* = host=127.0.0.1 port={port}\n[pgbouncer]\n{settings}\n")
    as_whom: dict[str, Any] = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid} if os.geteuid() == 0 else {}
    for path in (folder, *folder.iterdir()):
        if as_whom:
            shutil.chown(path, "nobody", as_whom["group"])
    running = subprocess.Popen([need(), str(folder / "ini")], stderr=subprocess.DEVNULL, **as_whom)
    try:
        wait_until("pgbouncer listens", lambda: _answers(mine))
        yield mine
    finally:
        running.terminate()
        running.wait(10)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
