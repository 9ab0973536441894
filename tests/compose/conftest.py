"""One platform on a real Docker engine for the whole session, and what its month must come to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import loading
import pytest
from compose.stack import CHANNEL_DAYS, Stack, copy_of_checkout
from waiting import wait_until

from highwater.environment import settings
from highwater.local import server
from highwater.setup import bootstrap

WINDOWS = 30


@pytest.fixture(scope="session")
def small() -> dict[str, str]:
    """A month that loads quickly and ends yesterday."""
    anchor = (datetime.now(UTC) - timedelta(hours=2)).date()
    return {
        "HIGHWATER_ANCHOR": anchor.isoformat(),
        "SIMULATION_ROWS_PER_DAY": "400",
        "SIMULATION_LATE_CLOSE_SECONDS": "0",
        "HIGHWATER_CHANNEL_DAYS": str(CHANNEL_DAYS),
        "SIMULATION_CHANNEL_SALES": "100",
    }


@pytest.fixture(scope="session")
def make_stack(scratch: Callable[[str], Path]) -> Iterator[Callable[[str, dict[str, str]], Stack]]:
    """Makes platforms from a copy of the checkout, of which the latest runs; all they left goes at the end."""
    made: list[Stack] = []

    def make(name: str, wanted: dict[str, str]) -> Stack:
        for former in made:
            former.compose("down", "--timeout", "1", check=False)
        folder = scratch(name)
        copy_of_checkout(folder)
        made.append(Stack(folder, f"hwtest-{name}-{os.getpid()}", wanted))
        made[-1].build()
        return made[-1]

    yield make
    for stack in made:
        images = stack.compose("config", "--images").stdout.split()
        stack.compose("--profile", "tools", "down", "--volumes", "--timeout", "1", check=False)
        own = {image for image in images if image.startswith("highwater-airflow:")}
        stack.run("docker", "image", "rm", "--force", *own, check=False)


@pytest.fixture(scope="session")
def stack(make_stack: Callable[[str, dict[str, str]], Stack], small: dict[str, str]) -> Stack:
    """The platform after `docker compose up` in a new clone without .env."""
    stack = make_stack("clone", small)
    assert not (stack.folder / ".env").exists()
    stack.up()
    return stack


@pytest.fixture(scope="session")
def loaded(stack: Stack) -> list[tuple[str, ...]]:
    """The month has landed undisturbed; its hashes."""
    wait_until("30 windows landed", lambda: stack.landed() == WINDOWS, seconds=840)
    return stack.hashes()


@pytest.fixture(scope="session")
def expected(scratch: Callable[[str], Path], small: dict[str, str]) -> list[str]:
    """The content hashes of that month by the same engine without Docker: the demo's Postgres, no Airflow."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("HIGHWATER_", "SIMULATION_"))]:
            patch.delenv(name)
        patch.setenv("HIGHWATER_HOME", str(scratch("expected")))
        for name, value in small.items():
            patch.setenv(name, value)
        settings.get.cache_clear()
        server.start()
        try:
            bootstrap.run()
            first = settings.get().days_before_anchor(WINDOWS).date()
            days = [(first + timedelta(days=n)).isoformat() for n in range(WINDOWS)]
            return [loading.land(loading.day(day)).content_hash for day in days]
        finally:
            server.remove()
            settings.get.cache_clear()
