"""Commands as a person types them, and how to start the platform that they talk to."""

from __future__ import annotations

import fcntl
import os
from enum import Enum

from highwater.environment import settings

PROGRAM = "scripts/highwater" if settings.IN_CHECKOUT else "highwater"
"""The name of the command line in help and messages; the same in the checkout and in its containers."""
PLACE = "HIGHWATER_PLACE"
"""Set to ``compose`` in the containers of docker compose."""


class Place(Enum):
    """Where the platform that this process talks to runs."""

    COMPOSE = "compose"
    DEMO = "demo"
    ELSEWHERE = "elsewhere"
    """The settings name a server that neither of the two started."""
    NOWHERE = "nowhere"
    """Nothing was started from this checkout yet."""


def typed(arguments: str) -> str:
    """A command of Highwater as a person types it, with these arguments."""
    return f"{PROGRAM} {arguments}"


def how_secrets_are_made() -> str:
    """How to create a missing secret: the end of a sentence."""
    return f"{typed('bootstrap')} creates it" if place() is Place.DEMO else how_to_start()


def place() -> Place:
    """Where the platform that this process talks to runs."""
    config = settings.get()
    if os.environ.get(PLACE) == Place.COMPOSE.value:
        return Place.COMPOSE if config.warehouse_host in ("warehouse", "/run/sockets/warehouse") else Place.ELSEWHERE
    if (config.home / "platform.env").exists():
        return Place.DEMO
    return Place.NOWHERE if settings.IN_CHECKOUT and config.warehouse_host == "127.0.0.1" else Place.ELSEWHERE


def demo_runs() -> bool:
    """Whether ``scripts/demo``, or a test in its place, is running the platform of this home."""
    lock = settings.get().home / "platform.lock"
    if not lock.exists() or not os.access(lock, os.R_OK):
        return False
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def how_to_start() -> str:
    """How to bring back a platform that does not answer: the end of a sentence."""
    match place():
        case Place.COMPOSE:
            return "docker compose ps --all shows what runs, docker compose up --detach --wait starts what does not"
        case Place.DEMO if demo_runs():
            return f"scripts/demo runs, its logs are in {settings.get().home}/logs"
        case Place.DEMO:
            return "scripts/demo starts it"
        case Place.NOWHERE:
            return (
                "nothing was started from this checkout yet: scripts/demo starts it on this machine,"
                " docker compose up --detach --wait in containers"
            )
        case _:
            return "HIGHWATER_WAREHOUSE_HOST and HIGHWATER_WAREHOUSE_PORT say where it is"


def how_to_migrate() -> str:
    """How to migrate the warehouse to the version of this code: the end of a sentence."""
    match place():
        case Place.COMPOSE:
            return "docker compose up --detach --wait migrates it"
        case Place.DEMO if not demo_runs():
            return f"scripts/demo migrates it at its start, {typed('migrate')} without starting"
        case _:
            return f"{typed('migrate')} migrates it"
