"""A platform of docker compose in a folder of its own, as after a fresh clone of the repository."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import tenacity

ROOT = Path(__file__).resolve().parents[2]
ONE_SHOTS = ("preflight", "secrets", "init")
DATABASES = ("metadata", "warehouse")
AIRFLOW = ("apiserver", "scheduler", "worker", "dag-processor", "triggerer")
SERVICES = (*DATABASES, "redis", *AIRFLOW)
CHANNEL_DAYS = 3
LANDED = "FROM ops.window_ledger WHERE dataset = '{dataset}' AND upper(window_range) <= '{anchor}'"
"""Of the history: what becomes due while the tests run is not in their count."""


def free_ports(count: int) -> list[int]:
    """This number of ports on which nothing listens."""
    sockets = [socket.socket() for _ in range(count)]
    for probe in sockets:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in sockets]
    for probe in sockets:
        probe.close()
    return ports


def copy_of_checkout(folder: Path) -> None:
    """Copy what git knows, with what is edited but not committed; no .env and nothing that git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


class Stack:
    """One compose project with ports of its own."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.ui_port, self.warehouse_port = free_ports(2)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("HIGHWATER_", "SIMULATION_", "COMPOSE_"))}
        self.environment = {
            **inherited,
            "COMPOSE_PROJECT_NAME": name,
            "HIGHWATER_UI_PORT": str(self.ui_port),
            "HIGHWATER_WAREHOUSE_PUBLISHED_PORT": str(self.warehouse_port),
            **settings,
        }

    @property
    def url(self) -> str:
        """Where the UI is published."""
        return f"http://127.0.0.1:{self.ui_port}"

    def run(self, *command: str, check: bool = True, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the folder, with these settings on top; shows what it said if it fails."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            check=False,
            env=self.environment | settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert not check or done.returncode == 0, f"{command} said:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done

    def compose(self, *arguments: str, check: bool = True, **settings: str) -> subprocess.CompletedProcess[str]:
        """`docker compose …` in the folder."""
        return self.run("docker", "compose", *arguments, check=check, **settings)

    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(AssertionError),
        wait=tenacity.wait_fixed(60),
        stop=tenacity.stop_after_attempt(3),
        reraise=True,
    )
    def build(self) -> None:
        """Build the images, which downloads: tried again, since a mirror may be away for a minute."""
        self.compose("build")

    def up(self) -> None:
        """What a user types, and the wait for all to be healthy."""
        self.compose("up", "--detach", "--wait")

    def inspect(self, service: str) -> dict[str, Any]:
        """`docker inspect` of the service's container, also one that has ended."""
        container = self.compose("ps", "--all", "--quiet", service).stdout.strip()
        details: dict[str, Any] = json.loads(self.run("docker", "inspect", container).stdout)[0]
        return details

    def sql(self, statement: str, database: str = "warehouse", server: str = "warehouse") -> list[tuple[str, ...]]:
        """Run a statement as the admin, on the server's own socket; rows of text."""
        said = self.compose(
            "exec", "-T", server, "psql", "-U", "postgres", "-d", database, "-qAtc", statement
        ).stdout  # fmt: skip
        return [tuple(line.split("|")) for line in said.splitlines()]

    def landed(self, dataset: str = "daily_sales") -> int:
        """How many windows of a dataset before the anchor are in the ledger."""
        return int(self.sql(f"SELECT count(*) {self._landed(dataset)}")[0][0])

    def hashes(self) -> list[tuple[str, ...]]:
        """Dataset, window and content of the days before the anchor that landed."""
        return self.sql(f"SELECT dataset, window_range, content_hash {self._landed('daily_sales')} ORDER BY 1, 2")

    def _landed(self, dataset: str) -> str:
        return LANDED.format(dataset=dataset, anchor=self.environment["HIGHWATER_ANCHOR"])

    def secret(self, name: str) -> str:
        """One generated secret, read where it lies."""
        path = f"/run/highwater-secrets/{name}"
        return self.compose("run", "--rm", "--no-deps", "-T", "secrets", "cat", path).stdout.strip()

    def log_in(self, password: str) -> httpx.Response:
        """What the UI's login form does, through the published port."""
        return httpx.post(f"{self.url}/auth/token", json={"username": "admin", "password": password}, timeout=20)
