"""What the local platform settles for itself, kept in ``<home>/platform.env``: free ports, its own server's address."""

from __future__ import annotations

import os
import socket
import zlib
from collections.abc import Mapping
from pathlib import Path

from highwater.environment import files, settings
from highwater.model.errors import ConfigurationError


def remember_port(name: str, first: int) -> int:
    """The port that goes by that name in ``<home>/platform.env``: the one kept there if it is free, else a free one,
    which is then kept. One given in the process's environment is taken as it is.

    The checkout's own home begins to look at ``first``; any other one at a place of its own in the thousand behind it,
    so that two platforms that start at once do not choose the same port before either listens on it.

    Raises:
        ConfigurationError: the port given in the environment is taken, or there is no free one.
    """
    if given := os.environ.get(name):
        if is_free(int(given)):
            return int(given)
        raise ConfigurationError(f"{name}={given}, but something else listens there: choose a free port or unset it")
    kept = remembered()
    candidates = [int(kept[name])] if name in kept else []
    begin = first + _offset()
    port: int | None = next((port for port in [*candidates, *range(begin, begin + 500)] if is_free(port)), None)
    if port is None:
        raise ConfigurationError(f"no free port for {name} from {begin} to {begin + 499}")
    remember({name: str(port)})
    return port


def remember(values: Mapping[str, str]) -> None:
    """Keep these settings beside those kept already; they go before ``.env``, and behind the process's environment."""
    kept = remembered()
    lines = [f"{name}={value}\n" for name, value in {**kept, **values}.items()]
    files.replace(_platform_env(), "".join(lines))
    settings.get.cache_clear()


def remembered() -> dict[str, str]:
    """What ``<home>/platform.env`` holds: the settings the local platform chose for itself."""
    path = _platform_env()
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _offset() -> int:
    home = settings.get().home
    return 0 if home == settings.ROOT / ".highwater" else 1 + zlib.crc32(str(home).encode()) % 999


def _platform_env() -> Path:
    return settings.get().home / "platform.env"


def is_free(port: int) -> bool:
    """Whether nothing listens on that port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
