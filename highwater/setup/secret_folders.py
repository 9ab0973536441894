"""Secrets by compose service: each service gets a folder with exactly the secrets it needs."""

from __future__ import annotations

from pathlib import Path

from highwater.environment import credentials, files, project, settings
from highwater.model.errors import ConfigurationError

BROKER = "redis:6379/0"
"""Address of the queue in compose: host, port and database."""

BROKER_URL = "broker_url"
"""Derived from the secret ``broker_password``; not stored in the folder of all secrets."""

PG_HBA = """\
# The superuser may connect over the socket only: from the server's own container, and from init's.
local all postgres trust
local all all scram-sha-256
host all postgres all reject
host all all all scram-sha-256
"""
"""Login rules of the databases of compose."""


def files_of_services() -> dict[str, tuple[str, ...]]:
    """The secrets of each service of compose. A compose test checks the files that exist in the containers."""
    # The owner of the project's database advances the simulated sources, and makes them unavailable for an outage.
    owner = tuple(f"{role}_password" for role in filter(None, [project.extension().owner]))
    return {
        # It checks whether our own warehouse listens on the port.
        "preflight": ("analyst_password",),
        "metadata": ("metadata_admin_password", "pg_hba.conf"),
        "warehouse": ("pg_hba.conf", "postgres_password"),
        "redis": ("broker_password",),
        # It creates the roles with their passwords.
        "init": (*(f"{role}_password" for role in credentials.logins()), "metadata_admin_password", "metadata_url"),
        # The command line runs here too: it starts backfills as the admin of the UI, and works in the warehouse.
        "apiserver": (
            "admin_password",
            "analyst_password",
            "api_secret_key",
            "connections.json",
            "fernet_key",
            "jwt_secret",
            "loader_password",
            "metadata_url",
            "operator_password",
            "platform_proof",
            *owner,
        ),
        "scheduler": ("analyst_password", BROKER_URL, "fernet_key", "jwt_secret", "metadata_url"),
        # It reads policies, and opens an incident for a failed run.
        "dag-processor": ("analyst_password", "loader_password", "metadata_url"),
        "triggerer": ("fernet_key", "metadata_url"),
        # Tasks need their roles, their sources and the queue.
        "worker": ("analyst_password", BROKER_URL, "connections.json", "loader_password", *owner),
    }


def write(root: Path, broker: str = BROKER) -> None:
    """Write exactly the files of a service into each folder of ``root`` that has a service's name.

    Raises:
        ConfigurationError: there is no such folder, or a secret does not exist.
    """
    allowed = files_of_services()
    found = [service for service in allowed if (root / service).is_dir()]
    if not found:
        names = ", ".join(allowed)
        raise ConfigurationError(f"--folders={root} contains no folder of a service: create one of {names} in it")
    for service in found:
        folder = root / service
        for name in allowed[service]:
            files.replace(folder / name, _text(name, broker), mode=0o440)
        for path in folder.iterdir():
            if path.name not in allowed[service]:
                path.unlink()


def _text(name: str, broker: str) -> str:
    if name == "pg_hba.conf":
        return PG_HBA
    if name == BROKER_URL:
        # No line break at its end: it would become a part of the database's number.
        return f"redis://:{credentials.secret('broker_password')}@{broker}"
    credentials.secret(name)
    return (settings.get().secrets / name).read_text()
