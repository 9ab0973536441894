"""The circuit breaker of a dataset: stopped after windows failed in a row for one reason, until something changed."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from datetime import datetime

from psycopg2.extensions import cursor as Cursor

from highwater.environment import settings
from highwater.model.errors import ConfigurationError
from highwater.store import links, warehouse

log = logging.getLogger(__name__)

_OUR_OWN = {"datasets", "sources", "gate"}
"""Folders of the project's sql/ in which no pipeline has statements."""
_ELSEWHERE = {
    "home", "secrets_dir", "alert_urls", "alert_urls_file", "warehouse_admin", "warehouse_admin_password_file",
    "metadata_host", "metadata_port", "metadata_database", "ui_port",
}  # fmt: skip
"""Settings that no window rests on."""
_SECRET = {"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}
"""Parameters of a connection that nobody is to learn of."""


def consider(cursor: Cursor, dataset: str) -> None:
    """Stop the dataset if its last windows failed in a row for one reason; to be asked when one has failed for good.

    Never raises: what failed is what people are to see.
    """
    try:
        cursor.execute("SELECT ops.consider_breaker(%s, %s)", (dataset, _outside(cursor, dataset)))
    except Exception:
        log.warning("whether %s is to be stopped could not be asked", dataset, exc_info=True)


def stopped(dataset: str) -> str | None:
    """Why no window of the dataset is to be tried, as a sentence; None where it may be. One that changed goes on."""
    with warehouse.session("loader") as cursor:
        cursor.execute("SELECT ops.stopped_because(%s)", (dataset,))
        if warehouse.fetch_value(cursor) is None:
            return None
        cursor.execute("SELECT ops.still_stopped(%s, %s)", (dataset, _outside(cursor, dataset)))
        why: str | None = warehouse.fetch_value(cursor)
        return why


def wait_for_registration(cursor: Cursor, dataset: str, dag_id: str, moment: datetime | None) -> None:
    """A run of a dataset without a row in control.datasets waits: its date is kept for when there is one."""
    if moment is not None:
        cursor.execute("SELECT ops.wait_for_dataset(%s, %s, %s)", (dataset, dag_id, moment))


def _outside(cursor: Cursor, dataset: str) -> str:
    """A hash of all outside the warehouse that a change of may mend a dataset: files, settings, its connections."""
    cursor.execute("SELECT source FROM ops.sources_in_trouble(%s) AS source ORDER BY 1", (dataset,))
    connections = {row.source: _connection(row.source) for row in warehouse.fetch_all(cursor)}
    values = settings.get().model_dump(mode="json", exclude=_ELSEWHERE)
    known = json.dumps([_files(), values, connections], sort_keys=True, default=str)
    return hashlib.sha256(known.encode()).hexdigest()


def _connection(source: str) -> object:
    """What is known of a connection but for its secrets, which whoever reads the hash could guess by it.

    A wrong one of these is a source that is away, which stops nobody.
    """
    if "airflow" not in sys.modules:
        # No task: Airflow would be set up by looking.
        return None
    try:
        known = links.of_airflow(source)
    except ConfigurationError as wrong:
        return str(wrong)
    public = {name: value for name, value in known.parameters.items() if name not in _SECRET}
    return [public, known.encoding, dict(known.settings)]


def _files() -> str:
    """A hash of the files of the pipelines."""
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
