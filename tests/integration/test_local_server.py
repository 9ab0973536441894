"""The embedded Postgres comes back from what happens to a server on a person's machine."""

from __future__ import annotations

import os
import pwd
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from highwater.environment import settings
from highwater.local import placement
from highwater.local import server as local_server
from highwater.store import warehouse


@pytest.fixture
def home(scratch: Callable[[str], Path]) -> Iterator[Path]:
    """A home of its own with nothing in it; the session's platform is out of sight meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HIGHWATER_HOME", str(scratch("server")))
        settings.get.cache_clear()
        yield settings.get().home
        local_server.remove()
    settings.get.cache_clear()


def _postmaster() -> int:
    return int((placement.data_folder() / "postmaster.pid").read_text().split()[0])


def _ask(question: str) -> str:
    link = warehouse.connect("postgres", "postgres")
    with link, link.cursor() as cursor:
        cursor.execute(question)
        row = cursor.fetchone()
    link.close()
    assert row is not None
    return str(row[0])


def test_starting_twice_is_starting_once(home: Path) -> None:
    port = local_server.start()
    pid = _postmaster()
    assert local_server.start() == port
    assert _postmaster() == pid
    local_server.stop()
    local_server.stop()
    assert not local_server.running()


def test_it_listens_on_this_machine_alone_and_asks_for_the_password(home: Path) -> None:
    local_server.start()
    listening = [c.laddr.ip for c in psutil.Process(_postmaster()).net_connections() if c.status == "LISTEN"]
    assert listening == ["127.0.0.1"]
    assert _ask("SHOW fsync") == "on"
    (settings.get().secrets / "postgres_password").chmod(stat.S_IRUSR | stat.S_IWUSR)
    (settings.get().secrets / "postgres_password").write_text("wrong")
    with pytest.raises(Exception, match="password authentication failed"):
        _ask("SELECT 1")


def test_data_outlives_a_kill_of_the_server(home: Path) -> None:
    local_server.start()
    _ask("CREATE TABLE public.kept AS SELECT 7 AS n; SELECT 1")
    server = psutil.Process(_postmaster())
    server.kill()
    server.wait(timeout=10)
    assert not local_server.running()
    local_server.start()
    assert _ask("SELECT n FROM public.kept") == "7"


def test_a_lock_file_whose_pid_is_another_process_by_now_is_stale(home: Path) -> None:
    local_server.start()
    lock = placement.data_folder() / "postmaster.pid"
    left, owner = lock.read_text(), lock.stat()
    pid = str(_postmaster())
    local_server.stop()
    # of the server's own user: Postgres itself takes only the pids of others for stale
    with subprocess.Popen(["sleep", "600"], user=owner.st_uid if os.geteuid() == 0 else None) as other:
        try:
            lock.write_text(left.replace(pid, str(other.pid), 1))
            os.chown(lock, owner.st_uid, owner.st_gid)
            assert not local_server.running()
            local_server.start()
            assert local_server.running()
        finally:
            other.kill()


def test_a_port_taken_meanwhile_is_given_up_for_a_free_one(home: Path) -> None:
    taken = local_server.start()
    local_server.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", taken))
        other.listen()
        assert local_server.start() != taken
        assert _ask("SHOW port") == str(settings.get().warehouse_port)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a home that is closed to the server's user")
def test_a_home_closed_to_the_server_s_user_has_its_data_elsewhere(home: Path) -> None:
    home.chmod(0o700)
    local_server.start()
    data = placement.data_folder()
    assert data.is_relative_to(placement.ELSEWHERE)
    user = pwd.getpwuid(data.stat().st_uid).pw_name
    assert user in placement.UNPRIVILEGED
    local_server.remove()
    assert not data.exists()
