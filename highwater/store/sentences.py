"""Any error as one sentence for people, the same in command line, page, task logs and ops.attempts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg2
from pydantic import ValidationError

from highwater.environment import commands, settings
from highwater.environment.commands import Place
from highwater.model import expected
from highwater.model.errors import HighwaterError, WarehouseUnavailable
from highwater.store import driver_errors
from highwater.store.driver_errors import Kind

_DOES = {
    Kind.UNAVAILABLE: "does not answer",
    Kind.BUSY: "is busy",
    Kind.NO_ROOM: "has no room",
    Kind.SLOW: "takes too long",
}


_LOGIN_REFUSED = re.compile(
    r'authentication failed|not permitted to log in|pg_hba\.conf|(role|database) ".*" does not exist'
)


def of(error: BaseException) -> str:
    """What is wrong: the thing, the value, what was expected and, if known, the way out.

    Safe to show and store: without secrets, and valid as text in the warehouse.
    """
    for kind, words in _WORDS.items():
        if isinstance(error, kind) and (said := words(error)):
            return driver_errors.showable(said)
    said = driver_errors.showable(_line(str(error)))
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


@contextmanager
def in_one_voice() -> Iterator[None]:
    """Convert errors of the driver to sentences; also usable as a decorator of a task.

    Raises:
        WarehouseUnavailable: for any of them; retried if the task has tries left.
    """
    try:
        yield
    except psycopg2.Error as error:
        raise WarehouseUnavailable(of(error)) from error


def of_warehouse(error: psycopg2.Error) -> str:
    """What the warehouse refuses, or why it is unavailable; errors of Highwater's functions are kept as they are."""
    if (error.pgcode or "").startswith("HW"):
        return driver_errors.said(error)
    kind = driver_errors.kind_of(error)
    config = settings.get()
    where = f"the warehouse at {config.warehouse_host}:{config.warehouse_port}"
    said = driver_errors.said(error, of_named_server=True)
    if kind is Kind.UNAVAILABLE and _LOGIN_REFUSED.search(said):
        way_out = f"{commands.typed('bootstrap')} repairs roles and databases"
        return f"{where} refuses the login: {said}; {way_out}"
    way_out = f"; {commands.how_to_start()}" if kind is Kind.UNAVAILABLE else ""
    return f"{where} {_DOES.get(kind, 'refuses this')}: {said}{way_out}"


def _of_value(problem: object) -> str:
    assert isinstance(problem, dict)
    where = ".".join(str(part) for part in problem["loc"]) or "the value"
    return f"{where} {expected.shown(problem['input'])} is refused: {expected.expected(problem)}"


def _server(request: httpx.Request) -> str:
    return f"Airflow at {request.url.scheme}://{request.url.netloc.decode()}"


def _of_http(error: httpx.HTTPError) -> str:
    # The settings of an external warehouse do not say where Airflow is.
    way_out = "" if commands.place() is Place.ELSEWHERE else f"; {commands.how_to_start()}"
    return f"{_unanswered(error)}{way_out}"


def _unanswered(error: httpx.HTTPError) -> str:
    try:
        where = _server(error.request)
    except RuntimeError:
        where = "Airflow"
    if isinstance(error, httpx.TimeoutException):
        return f"{where} does not answer in time"
    if isinstance(error, httpx.ConnectError):
        return f"{where} does not answer: nothing listens there"
    return f"{where} does not answer: {_line(str(error)) or type(error).__name__}"


def _answer(response: httpx.Response) -> str:
    """What Airflow's API says about a request that it refuses."""
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"
    if isinstance(detail, list):
        # Problems of Pydantic, like ours.
        said = "; ".join(_of_value(problem) for problem in detail if isinstance(problem, dict) and "loc" in problem)
    else:
        said = _line(str(detail))
    return f"{said[:LONGEST]} (status {response.status_code})"


LONGEST = 300
"""Most characters of a text from another program."""


def _line(text: str) -> str:
    """A text on one line."""
    return " ".join(text.split())


def _of_os(error: OSError) -> str:
    about = f"{error.filename}: " if error.filename else ""
    return f"{about}{error.strerror}" if error.strerror else ""


_WORDS: dict[type[BaseException], Callable[[Any], str]] = {
    # Our errors may end with lines of a log.
    HighwaterError: lambda error: str(error).strip(),
    psycopg2.Error: of_warehouse,
    ValidationError: lambda error: "; ".join(_of_value(problem) for problem in error.errors()),
    httpx.HTTPStatusError: lambda error: f"{_server(error.request)} refuses: {_answer(error.response)}",
    httpx.HTTPError: _of_http,
    OSError: _of_os,
    UnicodeDecodeError: lambda error: f"byte {error.start + 1} is not UTF-8",
    UnicodeEncodeError: lambda error: f"{error.object[:LONGEST]!r} cannot be encoded in {error.encoding.upper()}",
}
"""The words for each kind of error; the first match counts."""
