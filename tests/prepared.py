"""What every session of tests begins with, made once and kept beside the installed packages: .venv/prepared/.

A bootstrapped platform is kept as a folder, under a hash of what makes it; Airflow's metadata as a dump.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path

from kept_states import as_admin

from highwater.environment import settings
from highwater.local import placement, server
from highwater.setup import bootstrap
from highwater.store import warehouse

FOLDER = Path(sys.prefix) / "prepared"
KEPT = 4
"""Number of platforms that are kept, 0.1 GB each: those used last."""
MADE_BY = (
    *("highwater/environment", "highwater/local", "highwater/setup", "highwater/sql"),
    *("simulation", "sql", "config", "expectations", "tests/prepared.py"),
)
"""What makes a platform. Other code may change it too: a start of today's code follows on each copy."""
LOCKS = ("docker/airflow/requirements.lock", "docker/airflow/requirements-dev.lock")
OF_ONE_HOME = {"server.lock", "platform.env"}
"""Files that belong to one home: a lock, and the ports it has chosen."""


def start_platform(environment: Mapping[str, str]) -> None:
    """Start a server with a bootstrapped platform in the home that the settings name, which is new.

    Args:
        environment: the settings that it is made with.
    """
    home, data = placement.home(), placement.data_folder()
    kept = FOLDER / f"platform-{_hash(MADE_BY + LOCKS, environment)}"
    if data != home / "postgres" or not _fetch(kept, home):
        server.start()
        bootstrap.run()
        if data == home / "postgres":
            server.stop()
            _keep(home, kept)
            server.start()
        return
    server.start()
    bootstrap.run()


def migrate_metadata() -> None:
    """Make Airflow's metadata in the database of the settings: from the dump if it is empty and there is one, else by
    Airflow itself."""
    kept = FOLDER / f"metadata-{_hash((*LOCKS, 'tests/prepared.py'), {})}.sql"
    database = f"--dbname={settings.get().metadata_database}"
    with closing(warehouse.connect("postgres", settings.get().metadata_database)) as link, link.cursor() as cursor:
        cursor.execute("SELECT to_regclass('public.alembic_version') IS NULL")
        is_empty = warehouse.fetch_value(cursor)
    if is_empty and kept.exists():
        options = ("--no-psqlrc", "--quiet", "--output", os.devnull, "--set=ON_ERROR_STOP=1", database)
        psql = (placement.binaries() / "psql", *options, "--command=SET ROLE airflow", f"--file={kept}")
        subprocess.run(psql, check=True, capture_output=True, env=as_admin())
        return
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(command, check=True, capture_output=True, env=dict(os.environ))
    if not is_empty:
        return
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as draft:
        dump = Path(draft, kept.name)
        pg_dump = (placement.binaries() / "pg_dump", "--no-owner", "--no-privileges", f"--file={dump}", database)
        subprocess.run(pg_dump, check=True, capture_output=True, env=as_admin())
        dump.rename(kept)


def _hash(names: Iterable[str], environment: Mapping[str, str]) -> str:
    """A hash of settings and of all files of these names and in these folders of the checkout."""
    found = hashlib.sha256(repr(sorted(environment.items())).encode())
    for name in names:
        path = settings.ROOT / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.suffix != ".pyc":
                found.update(f"\0{file.relative_to(settings.ROOT)}\0".encode() + file.read_bytes())
    return found.hexdigest()[:16]


def _fetch(kept: Path, home: Path) -> bool:
    """Copy a kept platform into a home; whether there was one."""
    try:
        os.utime(kept)
        _copy(kept, home)
    except (FileNotFoundError, subprocess.CalledProcessError):
        # There is no such database, or another session has just dropped it.
        for path in home.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return False
    return True


def _keep(home: Path, kept: Path) -> None:
    """Keep a stopped platform, and drop those not used for the longest time."""
    FOLDER.mkdir(exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=FOLDER))
    _copy(home, draft)
    with suppress(OSError):  # Another session was faster.
        draft.rename(kept)
    shutil.rmtree(draft, ignore_errors=True)
    for old in sorted(FOLDER.glob("platform-*"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    """Copy a home with the owners and modes of its files."""
    parts = [path for path in source.iterdir() if path.name not in OF_ONE_HOME]
    subprocess.run(["cp", "--archive", *parts, target], check=True, capture_output=True)
