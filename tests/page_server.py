"""Airflow's API server alone, for tests of the page: real logins, real rights, no scheduler."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx
from waiting import wait_until

from highwater.environment import settings
from highwater.local import environment as local_environment
from highwater.setup import metadata

USERS = "admin:admin,vera:viewer"
"""vera may look at all, and do nothing."""


class PageServer:
    """Where it listens, and a client for each of its users."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.passwords: dict[str, str] = json.loads(settings.get().ui_passwords_file.read_text())

    def token(self, user: str) -> str:
        """What Airflow gives a user for name and password."""
        login = {"username": user, "password": self.passwords[user]}
        return str(httpx.post(f"{self.address}/auth/token", json=login, timeout=60).json()["access_token"])

    def client(self, user: str | None) -> httpx.Client:
        """A browser, without what draws: it has the cookie of a login, or none."""
        cookies = {"_token": self.token(user)} if user else None
        return httpx.Client(base_url=f"{self.address}/highwater", cookies=cookies, timeout=60)


@contextmanager
def page_server() -> Iterator[PageServer]:
    """Start it on the platform whose settings are in force; ends it with the block."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = local_environment.environment(port) | {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": USERS}
    home = settings.get().home
    (home / "airflow").mkdir(exist_ok=True)
    metadata.migrate(home / "migrate.log", environment)
    address = f"http://127.0.0.1:{port}"
    with (home / "page-server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "airflow", "api-server"],
            env={**os.environ, **environment},
            cwd=home / "airflow",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until("the API server answers", lambda: _answers(server, address))
        yield PageServer(address)
    finally:
        server.terminate()
        server.wait()


def _answers(server: subprocess.Popen[bytes], address: str) -> bool:
    assert server.poll() is None, f"it died: {(settings.get().home / 'page-server.log').read_text()[-3000:]}"
    try:
        return httpx.get(f"{address}/api/v2/version", timeout=5).is_success
    except httpx.HTTPError:
        return False
