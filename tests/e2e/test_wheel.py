"""The package installed beside a plain Airflow, in a project that shares nothing with this repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from rows import one
from waiting import wait_until

from highwater.environment import settings
from highwater.environment.settings import ROOT
from highwater.local import server as local_server
from highwater.store import warehouse

GUIDE = (ROOT / "docs/tutorial/your-own-data.md").read_text()
BLOCKS = dict(re.findall(r"^```(.+?)\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL))
FILES = {name.split(" ")[1]: text for name, text in BLOCKS.items() if re.search(r" \S+/", name)}
FIRST = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=5)
"""So that three windows are due whatever time of the day it is."""
HELP_DESK = """
CREATE SCHEMA helpdesk;
CREATE TABLE helpdesk.tickets AS
SELECT n AS ticket_id, now() - n * interval '1 hour' AS opened_at, 'Mail' AS channel, 5 AS minutes_to_answer
FROM generate_series(1, 200) AS n;
"""


@pytest.fixture(scope="module")
def programs(scratch: Callable[[str], Path]) -> Path:
    """The programs of an empty environment into which only the wheel was installed, with what it asks for.

    The versions are those of the lock, so that no new release of another package decides this test.
    """
    folder = scratch("wheel")
    uv = shutil.which("uv")
    assert uv, "scripts/test puts uv on the path"
    lock = (ROOT / "docker/airflow/requirements.lock").read_text()
    known = re.findall(r"^([\w.-]+==.*?) *\\?$", lock, re.MULTILINE)
    (folder / "constraints.txt").write_text("\n".join(known))
    commands: tuple[list[str | Path], ...] = (
        [uv, "build", "--quiet", "--wheel", "--out-dir", folder / "dist", ROOT],
        [uv, "venv", "--quiet", "--python", sys.executable, folder / "venv"],
    )
    for command in commands:
        subprocess.run(command, check=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    python, constraints = folder / "venv/bin/python", folder / "constraints.txt"
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", python, "--constraint", constraints, wheel], check=True
    )
    return folder / "venv/bin"


@pytest.fixture(scope="module")
def project(scratch: Callable[[str], Path]) -> Path:
    """A folder with the files of the guide, whose first window is five days ago."""
    folder = scratch("project")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        dated = text.replace("2026-10-01 00:00+00", f"{FIRST:%Y-%m-%d} 00:00+00")
        (folder / name).write_text(dated.replace("2026, 10, 1,", f"{FIRST.year}, {FIRST.month}, {FIRST.day},"))
    return folder


@pytest.fixture(scope="module")
def server(scratch: Callable[[str], Path]) -> Iterator[settings.Settings]:
    """A Postgres with nothing in it; the settings that lead there."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("HIGHWATER_", "SIMULATION_"))]:
            patch.delenv(name)
        patch.setenv("HIGHWATER_HOME", str(scratch("empty-server")))
        settings.get.cache_clear()
        local_server.start()
        try:
            yield settings.get()
        finally:
            local_server.remove()
    settings.get.cache_clear()


@pytest.fixture(scope="module")
def environment(
    server: settings.Settings, programs: Path, project: Path, scratch: Callable[[str], Path]
) -> dict[str, str]:
    """The environment of a shell in which the package is installed, beside a server of Postgres."""
    config, home = server, scratch("home-of-wheel")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    at = f"{config.warehouse_host}:{config.warehouse_port}"
    with closing(warehouse.connect("postgres", "postgres")) as link:
        link.autocommit = True
        with link.cursor() as cursor:
            cursor.execute("CREATE DATABASE crm")
            cursor.execute("CREATE DATABASE own_airflow")
    with closing(warehouse.connect("postgres", "crm")) as link, link, link.cursor() as cursor:
        cursor.execute(HELP_DESK)
    password = (config.secrets / "postgres_password").read_text().strip()
    return {
        "PATH": os.pathsep.join([str(programs), os.defpath]),
        "HOME": str(home),
        "HIGHWATER_HOME": str(home),
        "HIGHWATER_PROJECT": str(project),
        "HIGHWATER_WAREHOUSE_HOST": config.warehouse_host,
        "HIGHWATER_WAREHOUSE_PORT": str(config.warehouse_port),
        "HIGHWATER_WAREHOUSE_DATABASE": "own_warehouse",
        "HIGHWATER_WAREHOUSE_ADMIN_PASSWORD_FILE": str(config.secrets / "postgres_password"),
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(project / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        # Its scheduler may be there before its API server, which tasks report to: they are tried again.
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "5",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://postgres:{password}@{at}/own_airflow",
        "AIRFLOW_CONN_HELPDESK": f"postgresql://postgres:{password}@{at}/crm",
        "GX_ANALYTICS_ENABLED": "false",
    }


def highwater(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        ["highwater", *arguments], env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def airflow(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Airflow as its quick start starts it: scheduler, DAG processor, API server and triggerer."""
    folder = Path(environment["AIRFLOW_HOME"])
    folder.mkdir()
    with (folder / "log").open("wb") as log:
        started = subprocess.Popen(
            ["airflow", "standalone"], env=environment, cwd="/", stdout=log, stderr=log, start_new_session=True
        )
    yield started
    everything = [psutil.Process(started.pid), *psutil.Process(started.pid).children(recursive=True)]
    os.killpg(started.pid, signal.SIGTERM)
    _, alive = psutil.wait_procs(everything, timeout=60)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive)


def test_it_migrates_an_empty_warehouse_and_lands_three_windows(
    environment: dict[str, str], request: pytest.FixtureRequest
) -> None:
    assert "0.2.0" in highwater(environment, "migrate")
    assert "│ outage" not in highwater(environment, "--help")
    started = request.getfixturevalue("airflow")

    def landed() -> int:
        assert started.poll() is None, (Path(environment["AIRFLOW_HOME"]) / "log").read_text()[-3000:]
        with closing(warehouse.connect("postgres", "own_warehouse")) as link, link.cursor() as cursor:
            cursor.execute("SELECT count(*), sum(rows_published) FROM ops.window_ledger WHERE dataset = 'tickets'")
            count, rows = one(cursor)
        return int(count) if rows else 0

    wait_until("three windows have landed", lambda: landed() >= 3)
    (known,) = json.loads(highwater(environment, "status", "--json"))["datasets"]
    assert known["dataset"] == "tickets"
    assert known["windows_landed"] >= 3


def test_airflow_knows_its_plugin_and_its_provider(programs: Path, environment: dict[str, str]) -> None:
    program = (
        "from airflow import plugins_manager; from airflow.providers_manager import ProvidersManager;"
        " print([p['name'] for p in plugins_manager.get_plugin_info()], 'highwater' in ProvidersManager().providers)"
    )
    done = subprocess.run(
        [programs / "python", "-c", program], env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "['highwater'] True"
