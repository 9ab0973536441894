"""Environment variables and psql command lines on a machine without Docker; they contain no passwords."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from highwater.environment import credentials, settings
from highwater.local import server


def environment(port: int) -> dict[str, str]:
    """The environment of every Airflow process of this home folder, with the UI on ``port``.

    It contains no secrets: Airflow reads each from a file. ``config/airflow.env`` has what is the same everywhere.
    """
    home, root, secrets = settings.get().home, settings.ROOT, settings.get().secrets
    shared = dict(line.split("=", 1) for line in lines_of(root / "config/airflow.env"))
    paths = [str(root), str(root / "config"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **shared,
        **os.environ,
        "HIGHWATER_HOME": str(home),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(root / "config/plugins"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(settings.get().ui_passwords_file),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__SECRETS__BACKEND_KWARG__CONNECTIONS_FILE_PATH": str(secrets / "connections.json"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD": _cat(secrets / "metadata_url"),
        "AIRFLOW__CORE__FERNET_KEY_CMD": _cat(secrets / "fernet_key"),
        "AIRFLOW__API_AUTH__JWT_SECRET_CMD": _cat(secrets / "jwt_secret"),
        "AIRFLOW__API__SECRET_KEY_CMD": _cat(secrets / "api_secret_key"),
    }


def psql_command(role: str) -> str:
    """A command line that logs in to the warehouse as ``role``, with the password in a file only this user can read."""
    config = settings.get()
    passwords = credentials.password_file(role)
    program = "psql" if shutil.which("psql") else str(server.program("psql"))
    where = ["-h", config.warehouse_host, "-p", str(config.warehouse_port), "-U", role, "-d", config.warehouse_database]
    return f"PGPASSFILE={shlex.quote(str(passwords))} {shlex.join([program, *where])}"


def lines_of(path: Path) -> list[str]:
    """The lines of a file except comments and blank ones; empty if the file does not exist."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in lines if line and not line.startswith("#")]


def _cat(path: Path) -> str:
    return shlex.join(["cat", str(path)])
