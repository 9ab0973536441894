"""The policies as the scheduler sees them: read by a thread of its own, so that nobody waits for the warehouse.

Who asks is answered from memory. While the warehouse is away the last policies that were read stay in force; they lie
in a file too, for a start without it.
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
"""Seconds between two looks: so old may be what is known of a change."""
FIRST_LOOK = 1.0
"""Seconds that the first one to ask in a process waits for the first look."""
PATIENCE = 2
"""Seconds that the warehouse gets to answer a look."""
FORK_WAITS = 0.2
"""Seconds that a fork waits for a look to end."""


class PolicyReader:
    """What one process knows of the policies; it begins to look with the first question."""

    def __init__(self) -> None:
        self._known: dict[str, Policy] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._looked = threading.Event()
        self._over = threading.Event()
        self._trouble = ""

    def of(self, dataset: str) -> Policy | None:
        """The policy of a dataset as it was known last; None when none ever was: then everything is wanted."""
        with self._lock:
            is_first = self._thread is None
            if self._thread is None:
                self._known = _remembered()
                self._thread = threading.Thread(target=self._look_on, name="policy-reader", daemon=True)
                self._thread.start()
        if is_first:
            self._looked.wait(FIRST_LOOK)
        return self._known.get(dataset)

    def look(self) -> None:
        """Read the policies now. A warehouse that is away changes nothing; a policy that cannot be read stays.

        What cannot be read though the warehouse answers is written down there, and is an incident at once.
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
        """Look no more; what is known stays."""
        self._over.set()

    def _look_on(self) -> None:
        while not self._over.is_set():
            try:
                with _looking:
                    self.look()
            except Exception:
                log.exception("policies cannot be read, the last known stay in force")
            self._looked.set()
            self._over.wait(PAUSE)

    def _say(self, trouble: str) -> None:
        """Log once that it began, and once that it is over."""
        if trouble and not self._trouble:
            log.warning(trouble)
        elif self._trouble and not trouble:
            log.info("policies can be read again")
        self._trouble = trouble


def of(dataset: str) -> Policy | None:
    """The policy of a dataset as this process knows it; returns at once."""
    return _reader.of(dataset)


def remember() -> None:
    """Put the policies into the file now: what a scheduler starts with that finds the warehouse away.

    Raises:
        psycopg2.Error: the warehouse is away.
        ConfigurationError: the file cannot be written.
    """
    text, _recorded = _read()
    for subject, problem in _remember(text).items():
        raise ConfigurationError(f"{subject} {problem}")


def _read() -> tuple[str, dict[str, str]]:
    """The policies as JSON, and what is written down of those that could not be read, by subject."""
    with closing(warehouse.connect("analyst", patience=PATIENCE)) as link, link.cursor() as cursor:
        warehouse.run_file(cursor, "ops/policies.sql")
        row = warehouse.fetch(cursor)
        return str(row.policies), dict(row.problems)


def _record(problems: dict[str, str]) -> None:
    """Tell people. Who may not write in the warehouse leaves that to a process that may."""
    try:
        with closing(warehouse.connect("loader", patience=PATIENCE)) as link, link, link.cursor() as cursor:
            cursor.execute("SELECT ops.record_unread_policies(%s::jsonb)", (json.dumps(problems),))
    except (psycopg2.Error, ConfigurationError) as error:
        log.warning("that policies cannot be read could not be written down: %s", sentences.of(error))


def _remembered() -> dict[str, Policy]:
    """The policies of the file; those that cannot be read are none, and are logged."""
    known, problems = _kept()
    for subject, problem in problems.items():
        log.warning("the last known policies: %s %s", subject, problem)
    return known


def _kept() -> tuple[dict[str, Policy], dict[str, str]]:
    """The policies in the file, and what of it cannot be read, by subject; none of both where there is no file."""
    file = settings.get().policies_file
    try:
        known, unread = policy.read_each(file.read_text())
    except FileNotFoundError:
        return {}, {}
    except (OSError, ValueError) as error:
        return {}, {f"file {file.name}": f"{file} cannot be read: {sentences.of(error)}"}
    return known, {f"file {file.name}": f"{file}: the policy of {name}: {said}" for name, said in unread.items()}


def _remember(text: str) -> dict[str, str]:
    """Keep the policies in the file; returns what is wrong with it, by subject, where that cannot be."""
    file = settings.get().policies_file
    if not os.access(file.parent, os.W_OK):
        # Somebody else writes it, as `init` does for the services of compose.
        return _kept()[1]
    try:
        files.replace(file, text)
    except OSError as error:
        return {f"file {file.name}": f"{file} cannot be written: {sentences.of(error)}"}
    return {}


def _wait_for_look() -> None:
    """Let a look end before the process forks: what its libraries hold then, the child would wait for in vain.

    But not for long: one that takes longer waits for the network, and holds nothing.
    """
    global _held  # noqa: PLW0603
    _held = _looking.acquire(timeout=FORK_WAITS)


def _go_on() -> None:
    if _held:
        _looking.release()


def _forget() -> None:
    """A forked process has the memory, but not the thread."""
    global _reader, _looking
    _reader, _looking = PolicyReader(), threading.Lock()


_looking, _held = threading.Lock(), False
_reader = PolicyReader()
os.register_at_fork(before=_wait_for_look, after_in_parent=_go_on, after_in_child=_forget)
