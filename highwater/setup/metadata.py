"""Airflow's metadata database: migrates it to the installed Airflow, or refuses with the reason."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from highwater.environment import project, settings
from highwater.model.errors import ConfigurationError, HighwaterError
from highwater.store import warehouse

BACKFILL = "backfill"
POOLS = {
    BACKFILL: (
        4,
        "Windows of all backfills loaded at once: half of the slots, the rest is for scheduled runs",
    )
}


def pools() -> dict[str, tuple[int, str]]:
    """The pools, each with its slots and a description. They limit concurrency across all runs.

    A native backfill ignores max_active_runs of a DAG. Sizes can be changed in Airflow's UI.
    """
    return POOLS | dict(project.extension().pools)


_REVISION = re.compile(r'^revision(?:: str)? = "(\w+)"', re.MULTILINE)


def migrate(log: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run `airflow db migrate` with its output in ``log``, and create the pools. Idempotent.

    Raises:
        ConfigurationError: a newer Airflow has migrated this database.
        HighwaterError: the migration failed; contains the end of its log.
    """
    _refuse_newer()
    with log.open("wb") as sink:
        done = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise HighwaterError(f"airflow db migrate failed with exit code {done.returncode}; end of its log:\n{tail}")
    create_pools()


def create_pools() -> None:
    """Create missing pools; an existing pool keeps its size.

    In SQL and not with ``airflow pools``, which takes two seconds to start.
    """
    link = warehouse.connect_metadata("airflow", settings.get().metadata_database)
    with closing(link), link, link.cursor() as cursor:
        for pool, (slots, description) in pools().items():
            cursor.execute(
                "INSERT INTO slot_pool (pool, slots, description, include_deferred) VALUES (%s, %s, %s, true)"
                " ON CONFLICT (pool) DO NOTHING",
                (pool, slots, description),
            )


def _refuse_newer() -> None:
    """Refuse a database that a newer Airflow has migrated: `airflow db migrate` would fail with a stack trace."""
    database = settings.get().metadata_database
    with closing(warehouse.connect_metadata("airflow", database)) as link, link.cursor() as cursor:
        cursor.execute("SELECT to_regclass('public.alembic_version') IS NOT NULL")
        if not warehouse.fetch_value(cursor):
            return
        cursor.execute("SELECT version_num FROM public.alembic_version")
        found = [row.version_num for row in warehouse.fetch_all(cursor)]
    if unknown := sorted(set(found) - known_revisions()):
        raise ConfigurationError(
            f"HIGHWATER_METADATA_DATABASE={database} was migrated by a newer Airflow (revision {unknown[0]}) than the "
            f"{version('apache-airflow')} installed here: go back to the checkout that had it and rebuild, "
            "or restore the former metadata"
        )


def known_revisions() -> set[str]:
    """The revisions of the metadata database that the installed Airflow can migrate from."""
    package = importlib.util.find_spec("airflow")
    assert package is not None and package.submodule_search_locations
    return {
        revision
        for folder in package.submodule_search_locations
        for path in Path(folder, "migrations", "versions").glob("*.py")
        for revision in _REVISION.findall(path.read_text())
    }
