"""The page's sessions in the warehouse: bounded in time and number, so that the page stays responsive while the
warehouse is unavailable."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import cursor as Cursor

from highwater.model.errors import HighwaterError, WrongVersion
from highwater.page.problems import Problem
from highwater.store import sentences, warehouse

log = logging.getLogger(__name__)

PATIENCE = 3
"""Timeout in seconds for connecting, and for each statement."""
AT_ONCE = 6
"""Maximum number of concurrent sessions, so that Airflow's threads do not all wait for the warehouse."""

_turns = threading.BoundedSemaphore(AT_ONCE)


@contextmanager
def session(role: str = "analyst") -> Iterator[Cursor]:
    """A cursor in one transaction of the warehouse.

    Raises:
        Problem: it is unavailable, busy or too slow; or one of its functions refuses, with its message.
    """
    if not _turns.acquire(timeout=1):
        raise Problem(503, f"the warehouse is busy: {AT_ONCE} requests of this page are already waiting for it")
    try:
        link = warehouse.connect(role, patience=PATIENCE)
        try:
            with link, link.cursor() as cursor:
                yield cursor
        finally:
            link.close()
    except errors.QueryCanceled:
        raise Problem(503, f"the warehouse took longer than {PATIENCE} s: request a smaller range") from None
    except psycopg2.Error as error:
        # An error code of the warehouse's own means that its message is meant for a person.
        if (error.pgcode or "").startswith("HW"):
            raise Problem(409, sentences.of(error)) from None
        if not isinstance(error, psycopg2.OperationalError):
            raise
        reason = sentences.of(error)
        log.warning("%s", reason)
        raise Problem(503, f"{reason}; the page has nothing to show until it answers") from None
    except WrongVersion as other:
        raise Problem(503, sentences.of(other)) from None
    except HighwaterError as refusal:
        raise Problem(409, sentences.of(refusal)) from None
    except ValueError as error:
        # The driver refuses such a parameter before the warehouse sees it.
        if "NUL" not in str(error) and not isinstance(error, UnicodeEncodeError):
            raise
        raise Problem(400, "invalid text in the request: it contains a NUL or an incomplete character") from None
    finally:
        _turns.release()
