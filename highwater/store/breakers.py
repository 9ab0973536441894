"""The circuit breaker of a dataset: stopped after windows failed in a row for one reason, until something changed."""

from __future__ import annotations

import hashlib
import logging
from datetime import datetime

import psycopg2
from psycopg2.extensions import cursor as Cursor

from highwater.environment import settings
from highwater.store import warehouse

log = logging.getLogger(__name__)

_OUR_OWN = {"datasets", "sources", "gate"}
"""Folders of the project's sql/ in which no pipeline has statements."""


def consider(cursor: Cursor, dataset: str) -> None:
    """Stop the dataset if its last windows failed in a row for one reason; to be asked when one has failed for good.

    Never raises: what failed is what people are to see.
    """
    try:
        cursor.execute("SELECT ops.consider_breaker(%s, %s)", (dataset, _files()))
    except (psycopg2.Error, OSError):
        log.warning("whether %s is to be stopped could not be asked", dataset, exc_info=True)


def stopped(dataset: str) -> str | None:
    """Why no window of the dataset is to be tried, as a sentence; None where it may be. One that changed goes on."""
    with warehouse.session("loader") as cursor:
        cursor.execute("SELECT ops.stopped_because(%s)", (dataset,))
        if warehouse.fetch_value(cursor) is None:
            return None
        cursor.execute("SELECT ops.still_stopped(%s, %s)", (dataset, _files()))
        why: str | None = warehouse.fetch_value(cursor)
        return why


def wait_for_registration(cursor: Cursor, dataset: str, dag_id: str, moment: datetime | None) -> None:
    """A run of a dataset without a row in control.datasets waits: its date is kept for when there is one."""
    if moment is not None:
        cursor.execute("SELECT ops.wait_for_dataset(%s, %s, %s)", (dataset, dag_id, moment))


def _files() -> str:
    """A hash of every file that a change of may mend a pipeline."""
    found = hashlib.sha256()
    root = settings.ROOT
    for folder, pattern in ((warehouse.SQL, "*/**/*.sql"), (root / "expectations", "*.json"), (root / "dags", "*.py")):
        for path in sorted(folder.glob(pattern)):
            name = path.relative_to(folder)
            if folder is warehouse.SQL and name.parts[0] in _OUR_OWN:
                continue
            found.update(f"{name}\0".encode())
            found.update(path.read_bytes())
    return found.hexdigest()
