"""Airflow's metadata database: brought to the tables of the Airflow installed here, or refused with the reason."""

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
        "Windows of all backfills that are in work at once: half of the slots, the rest is for scheduled runs",
    )
}


def pools() -> dict[str, tuple[int, str]]:
    """The pools, each with its slots and a description: so much is in work at once, whoever made the runs.

    A native backfill does not keep to max_active_runs of a DAG. Sizes are changed in Airflow's UI.
    """
    return POOLS | dict(project.extension().pools)


_REVISION = re.compile(r'^revision(?:: str)? = "(\w+)"', re.MULTILINE)


def migrate(log: Path, environment: Mapping[str, str] | None = None) -> None:
    """`airflow db migrate` with its output in ``log``, and the pool: does nothing to a database that is up to date.

    Raises:
        ConfigurationError: a newer Airflow has migrated this database.
        HighwaterError: it failed; carries the end of its log.
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
        raise HighwaterError(f"airflow db migrate failed with exit code {done.returncode}; its log ends:\n{tail}")
    make_pools()


def make_pools() -> None:
    """Make the pools that are missing; one that is there keeps the size somebody gave it.

    By a statement and not by ``airflow pools``, which takes two seconds to start.
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
    """Airflow would fail half-way through a stack trace: it knows no way back from tables it has never seen."""
    database = settings.get().metadata_database
    with closing(warehouse.connect_metadata("airflow", database)) as link, link.cursor() as cursor:
        cursor.execute("SELECT to_regclass('public.alembic_version') IS NOT NULL")
        if not warehouse.fetch_value(cursor):
            return
        cursor.execute("SELECT version_num FROM public.alembic_version")
        strange = [row[0] for row in cursor.fetchall() if row[0] not in known_revisions()]
    if strange:
        raise ConfigurationError(
            f"HIGHWATER_METADATA_DATABASE={database} was migrated by a newer Airflow (revision {strange[0]}) than the "
            f"{version('apache-airflow')} installed here: go back to the checkout that had it and rebuild, "
            "or restore the metadata of before"
        )


def known_revisions() -> set[str]:
    """The revisions of the metadata that the installed Airflow can come from."""
    package = importlib.util.find_spec("airflow")
    assert package is not None and package.submodule_search_locations
    return {
        revision
        for folder in package.submodule_search_locations
        for path in Path(folder, "migrations", "versions").glob("*.py")
        for revision in _REVISION.findall(path.read_text())
    }
