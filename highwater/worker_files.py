"""What a machine that runs tasks may know: a folder with a few of the secrets, and no way to Airflow's metadata."""

from __future__ import annotations

from pathlib import Path

from highwater import airflow_files, credentials, settings
from highwater.errors import ConfigurationError

ROLES = ("loader", "analyst", "simulator")
"""The roles that tasks log in as, beside the sources' readers, whose passwords are in connections.json."""

BROKER = "redis:6379/0"
"""Where docker-compose.celery.yaml has the queue: host, port and database."""


def write(folder: Path, broker: str = BROKER) -> None:
    """Put the files of workers and broker into ``folder``, made anew from the secrets; the anchor once there is one.

    Raises:
        ConfigurationError: the folder is not there, or a secret was never made.
    """
    config = settings.get()
    if not folder.is_dir():
        raise ConfigurationError(f"--workers={folder} is no folder: mount the volume of the workers there")
    for role in ROLES:
        _secret(folder / f"{role}_password", credentials.password(role) + "\n")
    _secret(folder / "connections.json", (config.secrets / "connections.json").read_text())
    password = credentials.secret("broker_password")
    _secret(folder / "broker_password", password + "\n")
    # no line break at its end: it would become a part of the database's number
    _secret(folder / "broker_url", f"redis://:{password}@{broker}")
    if config.anchor_file.exists():
        airflow_files.replace(folder / "anchor", config.anchor_file.read_text())


def _secret(path: Path, text: str) -> None:
    airflow_files.replace(path, text, mode=0o440)
