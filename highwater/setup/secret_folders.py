"""Who may know what: the secrets that each service of compose finds in a folder of its own, and no others."""

from __future__ import annotations

from pathlib import Path

from highwater.environment import credentials, files, project, settings
from highwater.model.errors import ConfigurationError

BROKER = "redis:6379/0"
"""Where compose has the queue: host, port and database."""

BROKER_URL = "broker_url"
"""Made of the secret ``broker_password``; no file of the folder of all secrets."""

PG_HBA = """\
# The superuser comes over the socket alone: that is in the server's own container, and in init's.
local all postgres trust
local all all scram-sha-256
host all postgres all reject
host all all all scram-sha-256
"""
"""Who may log in to the databases of compose."""


def files_of_services() -> dict[str, tuple[str, ...]]:
    """The secrets of each service of compose. A test of compose reads what is really there."""
    # The owner of the project's database moves the simulated sources on, and takes them away for an outage.
    owner = tuple(f"{role}_password" for role in filter(None, [project.extension().owner]))
    return {
        # whether it is our warehouse that listens on its port
        "preflight": ("analyst_password",),
        "metadata": ("metadata_admin_password", "pg_hba.conf"),
        "warehouse": ("pg_hba.conf", "postgres_password"),
        "redis": ("broker_password",),
        # it makes the roles, so it knows what they log in with
        "init": (*(f"{role}_password" for role in credentials.logins()), "metadata_admin_password", "metadata_url"),
        # the command line is here too: it starts backfills as the admin of the UI, and acts in the warehouse
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
        # the policies, and the incident that a failed run is
        "dag-processor": ("analyst_password", "loader_password", "metadata_url"),
        "triggerer": ("fernet_key", "metadata_url"),
        # tasks: what they log in as, their sources and the queue
        "worker": ("analyst_password", BROKER_URL, "connections.json", "loader_password", *owner),
    }


def write(root: Path, broker: str = BROKER) -> None:
    """Bring every folder of ``root`` that has a service's name to exactly that service's files.

    Raises:
        ConfigurationError: there is no such folder, or a secret was never made.
    """
    allowed = files_of_services()
    found = [service for service in allowed if (root / service).is_dir()]
    if not found:
        names = ", ".join(allowed)
        raise ConfigurationError(f"--folders={root} holds no folder of a service: make one of {names} in it")
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
        # no line break at its end: it would become a part of the database's number
        return f"redis://:{credentials.secret('broker_password')}@{broker}"
    credentials.secret(name)
    return (settings.get().secrets / name).read_text()
