"""The page's sessions in the warehouse: short, bounded in time and number, so that one that is away costs a second or
two and the page is up all the same."""

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
"""Seconds that getting a connection, and each statement, may take."""
AT_ONCE = 6
"""So many sessions at a time; Airflow's own threads must not all wait for the warehouse."""

_turns = threading.BoundedSemaphore(AT_ONCE)


@contextmanager
def session(role: str = "analyst") -> Iterator[Cursor]:
    """A cursor in one transaction of the warehouse.

    Raises:
        Problem: it is away, busy, or takes too long; or one of its functions refuses, in its own words.
    """
    if not _turns.acquire(timeout=1):
        raise Problem(503, f"the warehouse is busy: {AT_ONCE} questions of this page wait for it already")
    try:
        link = warehouse.connect(role, patience=PATIENCE)
        try:
            with link, link.cursor() as cursor:
                yield cursor
        finally:
            link.close()
    except errors.QueryCanceled:
        raise Problem(503, f"the warehouse took longer than {PATIENCE} s for this: ask for less of it") from None
    except psycopg2.Error as error:
        # A code of the warehouse's own stands before words for a person.
        if (error.pgcode or "").startswith("HW"):
            raise Problem(409, sentences.of(error)) from None
        if not isinstance(error, psycopg2.OperationalError):
            raise
        said = sentences.of(error)
        log.warning("%s", said)
        raise Problem(503, f"{said}; there is nothing to show until it answers") from None
    except WrongVersion as other:
        raise Problem(503, sentences.of(other)) from None
    except HighwaterError as refusal:
        raise Problem(409, sentences.of(refusal)) from None
    except ValueError as error:
        # So the driver says of a value that was asked with, before the warehouse sees it.
        if "NUL" not in str(error) and not isinstance(error, UnicodeEncodeError):
            raise
        raise Problem(400, "what was asked for is no text: it has a NUL in it, or half a character") from None
    finally:
        _turns.release()
