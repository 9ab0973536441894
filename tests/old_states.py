"""Warehouses of other names on the platform's server: as older code left them, or new."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kept_states
import pytest

from highwater.environment import settings
from highwater.local import placement
from highwater.store import warehouse

STATES = sorted(kept_states.FOLDER.glob("*.sql.gz"))


@contextmanager
def database(name: str) -> Iterator[str]:
    """An empty database, which is the warehouse that the settings name within the block."""
    with pytest.MonkeyPatch.context() as patch:
        kept_states.create(name)
        patch.setenv("HIGHWATER_WAREHOUSE_DATABASE", name)
        settings.get.cache_clear()
        try:
            yield name
        finally:
            settings.get.cache_clear()
            kept_states.drop(name)
    settings.get.cache_clear()


def restore(state: Path) -> None:
    """Fill the warehouse that the settings name with a state that older code left."""
    kept_states.fill(settings.get().warehouse_database, state)


def schema() -> str:
    """The schema of the warehouse that the settings name, as pg_dump writes it, without what data is in: partitions,
    staging sets and former versions of windows."""
    name = settings.get().warehouse_database
    with warehouse.session("postgres", name) as cursor:
        cursor.execute(
            "SELECT n.nspname || '.' || c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'r' AND (c.relispartition OR n.nspname IN ('staging', 'former', 'archive'))"
        )
        data = [f"--exclude-table={row[0]}" for row in cursor.fetchall()]
    dump = subprocess.run(
        [placement.binaries() / "pg_dump", "--schema-only", *data, name],
        env=kept_states.as_admin(),
        check=True,
        capture_output=True,
        text=True,
    )
    return "\n".join(line for line in dump.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))
