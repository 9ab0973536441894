"""Settings that the local platform chooses itself, stored in ``<home>/platform.env``: ports, address of its server."""

from __future__ import annotations

import os
import socket
import zlib
from collections.abc import Mapping
from pathlib import Path

from highwater.environment import files, settings
from highwater.model.errors import ConfigurationError


def remember_port(name: str, first: int) -> int:
    """The port stored under this name in ``<home>/platform.env`` if it is free, else another free one, which is then
    stored. A port given in the process's environment is used unchanged.

    The search begins at ``first`` for the checkout's own home folder, and at an offset below a thousand for any other,
    so that two platforms that start at the same time do not choose the same port.

    Raises:
        ConfigurationError: the port given in the environment is in use, or no port is free.
    """
    if given := os.environ.get(name):
        if is_free(int(given)):
            return int(given)
        raise ConfigurationError(f"invalid {name}={given}: the port is in use; choose a free one or unset it")
    kept = remembered()
    candidates = [int(kept[name])] if name in kept else []
    begin = first + _offset()
    port: int | None = next((port for port in [*candidates, *range(begin, begin + 500)] if is_free(port)), None)
    if port is None:
        raise ConfigurationError(f"no free port for {name} from {begin} to {begin + 499}")
    remember({name: str(port)})
    return port


def remember(values: Mapping[str, str]) -> None:
    """Store settings beside those already stored. They override ``.env``; the process's environment overrides them."""
    kept = remembered()
    lines = [f"{name}={value}\n" for name, value in {**kept, **values}.items()]
    files.replace(_platform_env(), "".join(lines))
    settings.get.cache_clear()


def remembered() -> dict[str, str]:
    """The settings stored in ``<home>/platform.env``."""
    path = _platform_env()
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _offset() -> int:
    home = settings.get().home
    return 0 if home == settings.ROOT / ".highwater" else 1 + zlib.crc32(str(home).encode()) % 999


def _platform_env() -> Path:
    return settings.get().home / "platform.env"


def is_free(port: int) -> bool:
    """Whether nothing listens on this port of the machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
