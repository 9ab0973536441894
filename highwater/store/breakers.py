"""Circuit breakers: a dataset is stopped after consecutive windows failed for one reason, until something changes."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from datetime import datetime
from pathlib import Path

from psycopg2 import errors
from psycopg2.extensions import cursor as Cursor

from highwater.environment import project, settings
from highwater.model.errors import ConfigurationError
from highwater.store import links, warehouse

log = logging.getLogger(__name__)

_OUR_OWN = {"datasets", "sources", "gate"}
"""Folders of the project's sql/ without statements of pipelines."""
_ELSEWHERE = {
    "home", "secrets_dir", "alert_urls", "alert_urls_file", "warehouse_admin", "warehouse_admin_password_file",
    "metadata_host", "metadata_port", "metadata_database", "ui_port",
}  # fmt: skip
"""Settings that loading a window does not depend on."""
_SECRET = {"password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"}
"""Secret parameters of a connection."""


def inputs_hash(cursor: Cursor, dataset: str) -> str:
    """A hash of everything, except connections, whose change may fix the dataset; take it before an attempt."""
    cursor.execute("SELECT ops.breaker_fingerprint(%s)", (dataset,))
    values = settings.get().model_dump(mode="json", exclude=_ELSEWHERE)
    own = dict(project.extension().settings())
    return _hash([_files(), values, own, warehouse.fetch_value(cursor)])


def stop_if_failing(cursor: Cursor, dataset: str, seen: str) -> None:
    """Stop the dataset if its last windows failed for one reason; call it when a window has failed for good.

    ``seen`` is the `inputs_hash` from before the attempt, so that a fix made since counts as a change. Never raises: it
    must not hide the failure itself.
    """
    try:
        cursor.execute("SELECT ops.consider_breaker(%s, %s)", (dataset, _fingerprint(cursor, dataset, seen)))
    except Exception:
        log.warning("cannot check whether %s has to be stopped", dataset, exc_info=True)


def stopped(dataset: str) -> str | None:
    """Why the caller must not load a window of the dataset, as a sentence; None if it may.

    While a dataset is stopped, one window is let through from time to time, to test whether it is fixed.
    """
    why = still_stopped(dataset)
    if why is None:
        return None
    with warehouse.session("loader") as cursor:
        cursor.execute("SELECT ops.let_one_through(%s)", (dataset,))
        if not warehouse.fetch_value(cursor):
            return why
    log.info("one window is let through, to test whether the dataset is fixed: %s", why)
    return None


def still_stopped(dataset: str) -> str | None:
    """Why the dataset is stopped; None if it is not. Lets no window through; resumes a dataset whose inputs changed."""
    with warehouse.session("loader") as cursor:
        cursor.execute("SELECT ops.stopped_because(%s)", (dataset,))
        if warehouse.fetch_value(cursor) is None:
            return None
        now = _fingerprint(cursor, dataset, inputs_hash(cursor, dataset))
        cursor.execute("SELECT ops.still_stopped(%s, %s)", (dataset, now))
        why: str | None = warehouse.fetch_value(cursor)
        return why


def wait_for_registration(cursor: Cursor, dataset: str, dag_id: str, moment: datetime | None) -> None:
    """Record that a run waits for its dataset to get a row in control.datasets; its date is loaded then.

    Raises:
        ConfigurationError: the name is not valid for a dataset.
    """
    if moment is None:
        return
    try:
        cursor.execute("SELECT ops.wait_for_dataset(%s, %s, %s)", (dataset, dag_id, moment))
    except errors.CheckViolation:
        raise ConfigurationError(
            f"invalid dataset {dataset!r} of {dag_id}: expected a letter, then at most 29 of a-z, 0-9 and _"
        ) from None


def _fingerprint(cursor: Cursor, dataset: str, seen: str) -> str:
    """A hash of `inputs_hash` and the connections of the sources that the dataset failed at."""
    cursor.execute("SELECT source FROM ops.sources_in_trouble(%s) AS source ORDER BY 1", (dataset,))
    connections = {row.source: _connection(row.source) for row in warehouse.fetch_all(cursor)}
    return _hash([seen, connections])


def _hash(known: object) -> str:
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()


def _connection(source: str) -> object:
    """A connection without its secrets, which could be guessed from the hash.

    A wrong secret makes the source unavailable, and an unavailable source never stops a dataset.
    """
    if "airflow" not in sys.modules:
        # Not in a task: importing Airflow would initialise it.
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
            # Hidden files are an editor's.
            if name.name.startswith(".") or (folder is warehouse.SQL and name.parts[0] in _OUR_OWN):
                continue
            found.update(f"{name}\0".encode())
            found.update(_file(path))
    return found.hexdigest()


_hashes: dict[Path, tuple[tuple[int, int], bytes]] = {}
"""Hashes of files that this process has read, each with its mtime in ns and size then."""


def _file(path: Path) -> bytes:
    """A hash of a file, read again only if its mtime or size changed."""
    try:
        status = path.stat()
        state = (status.st_mtime_ns, status.st_size)
        if path not in _hashes or _hashes[path][0] != state:
            _hashes[path] = (state, hashlib.sha256(path.read_bytes()).digest())
        return _hashes[path][1]
    except OSError as error:
        # Deleted since it was listed, or unreadable: part of the state.
        return f"{error.strerror}\0".encode()
