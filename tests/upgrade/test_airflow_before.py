"""The metadata of the Airflow before comes to the tables of the Airflow installed here, with all that is in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from highwater.environment import credentials, settings
from highwater.local import environment as local_environment
from highwater.setup import metadata, roles
from highwater.store import warehouse

BEFORE = "3.2.2"
"""The last release of the series before ours."""
DATABASE = "older_airflow"
DAG = """
from datetime import datetime

from airflow.sdk import dag, task


@dag(schedule=None, start_date=datetime(2026, 10, 1))
def older():
    @task
    def nothing():
        pass

    nothing()


older()
"""
WHAT_IS_THERE = """
SELECT 'connection' AS what, conn_id AS name FROM connection
UNION ALL SELECT 'run', r.dag_id || ' ' || r.run_id || ' ' || r.state FROM dag_run AS r
UNION ALL SELECT 'version', v.dag_id || ' ' || v.version_number FROM dag_version AS v
UNION ALL SELECT 'pool', p.pool || ' ' || p.slots FROM slot_pool AS p WHERE p.pool = 'mine'
ORDER BY 1, 2
"""


@pytest.fixture
def before(scratch: Callable[[str], Path]) -> Path:
    """The programs of an environment with the Airflow of before."""
    folder = scratch("airflow-before")
    uv = shutil.which("uv")
    assert uv, "scripts/test puts uv on the path"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder / "venv"], check=True)
    wanted = [f"apache-airflow=={BEFORE}", "apache-airflow-providers-postgres", "psycopg2-binary"]
    python = folder / "venv/bin/python"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *wanted], check=True)
    return folder / "venv/bin"


@pytest.fixture
def its_metadata(platform: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty database for it, which the settings lead to."""
    with closing(warehouse.connect("postgres", "postgres")) as link:
        link.autocommit = True
        with link.cursor() as cursor:
            roles.prepare_database(cursor, DATABASE, owner="airflow")
    monkeypatch.setenv("HIGHWATER_METADATA_DATABASE", DATABASE)
    settings.get.cache_clear()
    yield
    monkeypatch.undo()
    settings.get.cache_clear()
    with closing(warehouse.connect("postgres", "postgres")) as link:
        link.autocommit = True
        with link.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


def there() -> list[tuple[str, ...]]:
    with closing(warehouse.connect_metadata("airflow", DATABASE)) as link, link.cursor() as cursor:
        cursor.execute(WHAT_IS_THERE)
        return [tuple(row) for row in cursor.fetchall()]


def test_runs_versions_connections_and_pools_stay(
    before: Path, its_metadata: None, scratch: Callable[[str], Path], tmp_path: Path
) -> None:
    config, home = settings.get(), scratch("home-of-older-airflow")
    (home / "dags").mkdir()
    (home / "dags/older.py").write_text(DAG)
    url = (
        f"postgresql+psycopg2://airflow:{credentials.password('airflow')}"
        f"@{config.warehouse_host}:{config.warehouse_port}/{DATABASE}"
    )
    shared = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__FERNET_KEY": credentials.secret("fernet_key"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
    }

    def airflow(program: Path | str, *arguments: str, **more: str) -> str:
        done = subprocess.run(
            [program, *arguments],
            env={"PATH": os.defpath, "HOME": str(home), **shared, **more},
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    old = before / "airflow"
    airflow(old, "db", "migrate")
    airflow(old, "pools", "set", "mine", "3", "for a test")
    airflow(old, "connections", "add", "helpdesk", "--conn-uri", "postgresql://reader:s3cret@db.example/crm")
    airflow(old, "dags", "reserialize")
    airflow(old, "dags", "trigger", "older", "--run-id", "asked__before")
    known = there()
    assert {what for what, _ in known} == {"connection", "pool", "run", "version"}

    log = tmp_path / "migrate.log"
    metadata.migrate(log, {**local_environment.environment(1), **shared})
    assert there() == known
    new = Path(sys.executable).with_name("airflow")
    shown = airflow(new, "connections", "get", "helpdesk", "--output", "json")
    assert "s3cret" in shown
    assert "asked__before" in airflow(new, "dags", "list-runs", "older", "--output", "json")
