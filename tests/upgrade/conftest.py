"""What the tests of upgrades compare with, and what they leave behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from old_states import database, schema

from highwater.setup import bootstrap


@pytest.fixture(scope="module", autouse=True)
def as_it_was(platform: Path) -> Iterator[None]:
    """Dumps of older states change roles of the server: the platform's own start puts them right again."""
    yield
    bootstrap.run()


@pytest.fixture(scope="session")
def fresh(platform: Path) -> str:
    """The schema of a new warehouse."""
    with database("fresh"):
        bootstrap.run()
        return schema()
