"""The scheduler's copy of the policies, updated by a background thread so that no caller waits for the database.

Callers are answered from memory. While the warehouse is unavailable, the policies read last stay in force; they are
also kept in a file, for a start without the warehouse.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from contextlib import closing

import psycopg2

from highwater.environment import files, settings
from highwater.model import policy
from highwater.model.errors import ConfigurationError
from highwater.model.policy import Policy
from highwater.store import sentences, warehouse

log = logging.getLogger(__name__)

PAUSE = 3.0
"""Seconds between two reads, so the greatest age of the copy."""
FIRST_READ = 1.0
"""Seconds that the first caller in a process waits for the first read."""
PATIENCE = 2
"""Seconds after which a read times out."""
FORK_WAITS = 0.2
"""Seconds that a fork waits for a read to end."""


class PolicyReader:
    """One process's copy of the policies; the first call of `of` starts the thread that reads them."""

    def __init__(self) -> None:
        self._known: dict[str, Policy] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._has_read = threading.Event()
        self._over = threading.Event()
        self._trouble = ""

    def of(self, dataset: str) -> Policy | None:
        """The latest known policy of a dataset; None if none was ever read: then every window is wanted."""
        with self._lock:
            is_first = self._thread is None
            if self._thread is None:
                self._known = _remembered()
                self._thread = threading.Thread(target=self._keep_reading, name="policy-reader", daemon=True)
                self._thread.start()
        if is_first:
            self._has_read.wait(FIRST_READ)
        return self._known.get(dataset)

    def read(self) -> None:
        """Read the policies now. Where a policy, or the whole warehouse, cannot be read, the last known is kept.

        A policy that cannot be read although the warehouse answers is recorded there, and is an incident at once.
        """
        try:
            text, recorded = _read()
        except (psycopg2.Error, ConfigurationError, LookupError, ValueError) as error:
            self._say(f"policies cannot be read, the last known stay in force: {sentences.of(error)}")
            return
        try:
            known, unread = policy.read_each(text)
        except ValueError as error:
            known, unread = {}, {"": sentences.of(error)}
        self._known = {name: kept for name, kept in self._known.items() if name in unread or "" in unread} | known
        problems = {f"policy of {dataset}" if dataset else "the policies": said for dataset, said in unread.items()}
        if not unread:
            problems |= _remember(text)
        self._say("; ".join(f"{subject} cannot be read: {said}" for subject, said in problems.items()))
        if problems != recorded:
            _record(problems)

    def stop(self) -> None:
        """Stop the thread; the copy is kept."""
        self._over.set()

    def _keep_reading(self) -> None:
        while not self._over.is_set():
            try:
                with _reading:
                    self.read()
            except Exception:
                log.exception("policies cannot be read, the last known stay in force")
            self._has_read.set()
            self._over.wait(PAUSE)

    def _say(self, trouble: str) -> None:
        """Log once that a problem began, and once that it is over."""
        if trouble and not self._trouble:
            log.warning(trouble)
        elif self._trouble and not trouble:
            log.info("policies can be read again")
        self._trouble = trouble


def of(dataset: str) -> Policy | None:
    """The policy of a dataset from this process's copy; does not block."""
    return _reader.of(dataset)


def remember() -> None:
    """Write the policies to the file now, for a scheduler that starts while the warehouse is unavailable.

    Raises:
        psycopg2.Error: the warehouse is unavailable.
        ConfigurationError: the file cannot be written.
    """
    text, _recorded = _read()
    for subject, problem in _remember(text).items():
        raise ConfigurationError(f"{subject} {problem}")


def _read() -> tuple[str, dict[str, str]]:
    """The policies as JSON, and the recorded problems of those that could not be read, by subject."""
    with closing(warehouse.connect("analyst", patience=PATIENCE)) as link, link.cursor() as cursor:
        warehouse.run_file(cursor, "ops/policies.sql")
        row = warehouse.fetch(cursor)
        return str(row.policies), dict(row.problems)


def _record(problems: dict[str, str]) -> None:
    """Record the problems in the warehouse. A process without the right to leaves that to one that has it."""
    try:
        with closing(warehouse.connect("loader", patience=PATIENCE)) as link, link, link.cursor() as cursor:
            cursor.execute("SELECT ops.record_unread_policies(%s::jsonb)", (json.dumps(problems),))
    except (psycopg2.Error, ConfigurationError) as error:
        log.warning("unreadable policies could not be recorded in the warehouse: %s", sentences.of(error))


def _remembered() -> dict[str, Policy]:
    """The policies of the file. Those that cannot be read are left out, with a warning in the log."""
    known, problems = _kept()
    for subject, problem in problems.items():
        log.warning("the last known policies: %s %s", subject, problem)
    return known


def _kept() -> tuple[dict[str, Policy], dict[str, str]]:
    """The policies in the file, and the problems in it by subject; both empty if there is no file."""
    file = settings.get().policies_file
    try:
        known, unread = policy.read_each(file.read_text())
    except FileNotFoundError:
        return {}, {}
    except (OSError, ValueError) as error:
        return {}, {f"file {file.name}": f"{file} cannot be read: {sentences.of(error)}"}
    return known, {f"file {file.name}": f"{file}: the policy of {name}: {said}" for name, said in unread.items()}


def _remember(text: str) -> dict[str, str]:
    """Write the policies to the file; returns the problems with it by subject."""
    file = settings.get().policies_file
    if not os.access(file.parent, os.W_OK):
        # Another process writes it, as the init service of compose does.
        return _kept()[1]
    try:
        files.replace(file, text)
    except OSError as error:
        return {f"file {file.name}": f"{file} cannot be written: {sentences.of(error)}"}
    return {}


def _wait_for_read() -> None:
    """Let a read end before the process forks: a lock that its libraries hold would never be released in the child.

    Not for long: a read that takes longer waits for the network, and holds no lock.
    """
    global _held  # noqa: PLW0603
    _held = _reading.acquire(timeout=FORK_WAITS)


def _go_on() -> None:
    if _held:
        _reading.release()


def _forget() -> None:
    """Start afresh in a forked process, which inherits the memory but not the thread."""
    global _reader, _reading
    _reader, _reading = PolicyReader(), threading.Lock()


_reading, _held = threading.Lock(), False
_reader = PolicyReader()
os.register_at_fork(before=_wait_for_read, after_in_parent=_go_on, after_in_child=_forget)
