"""What the adversaries get more than they have, so that each defence is tried by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from highwater.environment import settings
from highwater.store import warehouse

TAKING = "pg_advisory_lock(bigint), pg_advisory_lock(integer, integer)"


@pytest.fixture(autouse=True)
def advisory_locks(platform: Path) -> Iterator[None]:
    """Everybody may take advisory locks again: what is decided must not hang on that."""
    databases = (settings.get().warehouse_database, settings.get().sources_database)
    for database in databases:
        with warehouse.session("postgres", database) as cursor:
            cursor.execute(f"GRANT EXECUTE ON FUNCTION {TAKING} TO PUBLIC")
    yield
    for database in databases:
        with warehouse.session("postgres", database) as cursor:
            cursor.execute(f"REVOKE EXECUTE ON FUNCTION {TAKING} FROM PUBLIC")
