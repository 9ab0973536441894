"""The circuit breaker of a dataset: stopped after windows failed in a row for one reason, until something changed."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from datetime import datetime

from psycopg2 import errors
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


def look(cursor: Cursor, dataset: str) -> str:
    """What a change of may mend the dataset, but for its connections, as one value; to be taken before it is tried."""
    cursor.execute("SELECT ops.breaker_fingerprint(%s)", (dataset,))
    values = settings.get().model_dump(mode="json", exclude=_ELSEWHERE)
    return _hash([_files(), values, warehouse.fetch_value(cursor)])


def consider(cursor: Cursor, dataset: str, seen: str) -> None:
    """Stop the dataset if its last windows failed in a row for one reason; to be asked when one has failed for good.

    ``seen`` is the `look` of when that try began: what was mended since is a change. Never raises: what failed is what
    people are to see.
    """
    try:
        cursor.execute("SELECT ops.consider_breaker(%s, %s)", (dataset, _fingerprint(cursor, dataset, seen)))
    except Exception:
        log.warning("whether %s is to be stopped could not be asked", dataset, exc_info=True)


def stopped(dataset: str) -> str | None:
    """Why a window of the dataset is not to be tried, as a sentence; None where it is, by whoever asks.

    Of one that is stopped a window is let through now and then, to see whether it is mended.
    """
    why = still_stopped(dataset)
    if why is None:
        return None
    with warehouse.session("loader") as cursor:
        cursor.execute("SELECT ops.let_one_through(%s)", (dataset,))
        if not warehouse.fetch_value(cursor):
            return why
    log.info("one window is tried, to see whether it is mended: %s", why)
    return None


def still_stopped(dataset: str) -> str | None:
    """Why the dataset is stopped, for who does not try a window at once; None where it is not. What changed goes on."""
    with warehouse.session("loader") as cursor:
        cursor.execute("SELECT ops.stopped_because(%s)", (dataset,))
        if warehouse.fetch_value(cursor) is None:
            return None
        now = _fingerprint(cursor, dataset, look(cursor, dataset))
        cursor.execute("SELECT ops.still_stopped(%s, %s)", (dataset, now))
        why: str | None = warehouse.fetch_value(cursor)
        return why


def wait_for_registration(cursor: Cursor, dataset: str, dag_id: str, moment: datetime | None) -> None:
    """A run of a dataset without a row in control.datasets waits: its date is kept for when there is one.

    Raises:
        ConfigurationError: there can be none of that name.
    """
    if moment is None:
        return
    try:
        cursor.execute("SELECT ops.wait_for_dataset(%s, %s, %s)", (dataset, dag_id, moment))
    except errors.CheckViolation:
        raise ConfigurationError(
            f"dataset {dataset!r} of {dag_id} has no row in control.datasets, and can have none: its name is lower case"
            " letters, digits and _, a letter first, at most 30"
        ) from None


def _fingerprint(cursor: Cursor, dataset: str, seen: str) -> str:
    """The `look` and the connections of the sources that the dataset failed by: these are known once it has."""
    cursor.execute("SELECT source FROM ops.sources_in_trouble(%s) AS source ORDER BY 1", (dataset,))
    connections = {row.source: _connection(row.source) for row in warehouse.fetch_all(cursor)}
    return _hash([seen, connections])


def _hash(known: object) -> str:
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()


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
            # Hidden ones are an editor's, be they there or not.
            if name.name.startswith(".") or (folder is warehouse.SQL and name.parts[0] in _OUR_OWN):
                continue
            found.update(f"{name}\0".encode())
            try:
                found.update(path.read_bytes())
            except OSError as error:
                # Gone since it was listed, or not to be read: that is a state like any other.
                found.update(f"{error.strerror}\0".encode())
    return found.hexdigest()
