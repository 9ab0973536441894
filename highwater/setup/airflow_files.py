"""Files with secrets that Airflow reads: its connections, the URL of its metadata database, the UI's login."""

from __future__ import annotations

import json
from typing import Any

from highwater.environment import commands, credentials, files, project, settings
from highwater.model.errors import ConfigurationError


def write() -> None:
    """Write the files from the secrets and the settings; a file with the same content is left alone.

    Raises:
        ConfigurationError: a secret does not exist.
    """
    config = settings.get()
    connections = json.dumps(project.extension().connections(), indent=2) + "\n"
    files.replace(config.secrets / "connections.json", connections, mode=0o440)
    # No line break at its end: Airflow would take it for a part of the database's name.
    files.replace(config.secrets / "metadata_url", _metadata_url(), mode=0o640)
    # Airflow opens this file for writing.
    files.replace(
        config.ui_passwords_file, json.dumps({"admin": credentials.secret("admin_password")}) + "\n", mode=0o600
    )


def connections() -> dict[str, dict[str, Any]]:
    """The connections in the file, by name, each with conn_type, host, port, schema, login, password, extra.

    Raises:
        ConfigurationError: the file does not exist.
    """
    file = settings.get().secrets / "connections.json"
    try:
        known: dict[str, dict[str, Any]] = json.loads(file.read_text())
    except OSError:
        raise ConfigurationError(f"{file} is missing: {commands.typed('bootstrap')} creates it") from None
    return known


def _metadata_url() -> str:
    config = settings.get()
    host = config.metadata_host or config.warehouse_host
    port = (config.metadata_port or 5432) if config.metadata_host else config.warehouse_port
    return f"postgresql+psycopg2://airflow:{credentials.password('airflow')}@{host}:{port}/{config.metadata_database}"
