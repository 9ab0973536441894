"""Generated secrets: one file each, created once, never printed."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

from highwater.environment import commands, files, project, settings
from highwater.model.errors import ConfigurationError

LOGINS = ("postgres", "airflow", "loader", "analyst", "operator")
"""Database roles of the engine that log in; each has the secret ``<role>_password``."""


def logins() -> tuple[str, ...]:
    """Every database role that logs in, including those of the project."""
    return (*LOGINS, *project.extension().logins)


def secret(name: str) -> str:
    """The secret of that name.

    Raises:
        ConfigurationError: it does not exist, or this user may not read it.
    """
    path = settings.get().secrets / name
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        raise ConfigurationError(f"secret {path} is missing: {commands.how_secrets_are_made()}") from None
    except PermissionError:
        raise ConfigurationError(f"secret {path} is not readable by uid {os.getuid()}") from None


def password(role: str) -> str:
    """The database password of a role; the admin's may be in a file of its own (``warehouse_admin_password_file``).

    Raises:
        ConfigurationError: it does not exist, or this user may not read it.
    """
    given = settings.get().warehouse_admin_password_file
    if role != "postgres" or given is None:
        return secret(f"{role}_password")
    try:
        return given.read_text().strip()
    except OSError as error:
        raise ConfigurationError(
            f"HIGHWATER_WAREHOUSE_ADMIN_PASSWORD_FILE={given} cannot be read by user {os.getuid()}: {error.strerror}"
        ) from None


def password_file(role: str) -> Path:
    """The file with the role's password in libpq's format, readable by this user only; written if it differs."""
    passwords = settings.get().secrets / f"{role}.pgpass"
    files.replace(passwords, f"*:*:*:{role}:{password(role)}\n", mode=0o600)
    return passwords


def renew_password_files() -> None:
    """Update the password files that printed command lines name."""
    for passwords in settings.get().secrets.glob("*.pgpass"):
        password_file(passwords.stem)


def can_create() -> bool:
    """Whether this process creates secrets: a read-only folder is filled by another one."""
    folder = settings.get().secrets
    return not folder.exists() or os.access(folder, os.W_OK)


def ensure() -> list[str]:
    """Create the missing secrets; existing ones are kept. Returns the names of those created."""
    folder = settings.get().secrets
    folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    generators = {f"{role}_password": _token for role in logins()} | {
        "metadata_admin_password": _token,
        "broker_password": _token,
        "admin_password": _token,
        "platform_proof": _token,
        "fernet_key": _fernet_key,
        "jwt_secret": _signing_key,
        "api_secret_key": _token,
    }
    return [name for name, generate in generators.items() if _write_new(folder / name, generate())]


def _write_new(path: Path, value: str) -> bool:
    """Create the file atomically, so that a second writer or a crash cannot leave half a secret."""
    if path.exists():
        return False
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(value + "\n")
    draft.chmod(0o440)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def _token() -> str:
    return secrets.token_urlsafe(24)


def _signing_key() -> str:
    """At least 64 bytes, as RFC 7518 section 3.2 requires for HMAC with SHA-512."""
    return secrets.token_urlsafe(64)


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
