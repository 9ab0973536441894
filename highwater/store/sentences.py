"""Any error as one sentence for a person: command line, page, task logs and ops.attempts all say this one."""

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
    Kind.AWAY: "does not answer",
    Kind.BUSY: "is busy",
    Kind.NO_ROOM: "has no room",
    Kind.SLOW: "takes too long",
}


_LOGIN_REFUSED = re.compile(
    r'authentication failed|not permitted to log in|pg_hba\.conf|(role|database) ".*" does not exist'
)


def of(error: BaseException) -> str:
    """What is wrong: the thing, the value, what was expected and, where we know it, the way out.

    It may be shown and kept: there is no secret in it, and nothing that the warehouse does not take for text.
    """
    for kind, words in _WORDS.items():
        if isinstance(error, kind) and (said := words(error)):
            return driver_errors.showable(said)
    said = driver_errors.showable(_line(str(error)))
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


@contextmanager
def in_one_voice() -> Iterator[None]:
    """What the driver says of the warehouse becomes a sentence of ours; also to decorate a task.

    Raises:
        WarehouseUnavailable: whatever it was; tried again where the task has tries left.
    """
    try:
        yield
    except psycopg2.Error as error:
        raise WarehouseUnavailable(of(error)) from error


def of_warehouse(error: psycopg2.Error) -> str:
    """What the warehouse refuses, or why it cannot be asked; one of its own refusals is a sentence already."""
    if (error.pgcode or "").startswith("HW"):
        return driver_errors.said(error)
    kind = driver_errors.kind_of(error)
    config = settings.get()
    where = f"the warehouse at {config.warehouse_host}:{config.warehouse_port}"
    said = driver_errors.said(error, of_named_server=True)
    if kind is Kind.AWAY and _LOGIN_REFUSED.search(said):
        way_out = f"{commands.typed('bootstrap')} brings roles and databases to what they must be"
        return f"{where} refuses the login: {said}; {way_out}"
    way_out = f"; {commands.how_to_start()}" if kind is Kind.AWAY else ""
    return f"{where} {_DOES.get(kind, 'refuses this')}: {said}{way_out}"


def _of_value(problem: object) -> str:
    assert isinstance(problem, dict)
    where = ".".join(str(part) for part in problem["loc"]) or "the value"
    return f"{where} {expected.shown(problem['input'])} is refused: {expected.expected(problem)}"


def _server(request: httpx.Request) -> str:
    return f"Airflow at {request.url.scheme}://{request.url.netloc.decode()}"


def _of_http(error: httpx.HTTPError) -> str:
    # What leads to somebody else's warehouse does not lead to Airflow.
    way_out = "" if commands.place() is Place.ELSEWHERE else f"; {commands.how_to_start()}"
    return f"{_unanswered(error)}{way_out}"


def _unanswered(error: httpx.HTTPError) -> str:
    try:
        where = _server(error.request)
    except RuntimeError:
        where = "Airflow"
    if isinstance(error, httpx.TimeoutException):
        return f"{where} gives no answer in the time that it has"
    if isinstance(error, httpx.ConnectError):
        return f"{where} does not answer: nothing listens there"
    return f"{where} does not answer: {_line(str(error)) or type(error).__name__}"


def _answer(response: httpx.Response) -> str:
    """What an API of Airflow says of a request that it does not take."""
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"
    if isinstance(detail, list):
        # Its values are checked by Pydantic, as ours are.
        said = "; ".join(_of_value(problem) for problem in detail if isinstance(problem, dict) and "loc" in problem)
    else:
        said = _line(str(detail))
    return f"{said[:LONGEST]} (status {response.status_code})"


LONGEST = 300
"""Characters of what another program says."""


def _line(text: str) -> str:
    """One line of a text that may have several."""
    return " ".join(text.split())


def _of_os(error: OSError) -> str:
    about = f"{error.filename}: " if error.filename else ""
    return f"{about}{error.strerror}" if error.strerror else ""


_WORDS: dict[type[BaseException], Callable[[Any], str]] = {
    # Ours may carry the end of a log, in lines of their own.
    HighwaterError: lambda error: str(error).strip(),
    psycopg2.Error: of_warehouse,
    ValidationError: lambda error: "; ".join(_of_value(problem) for problem in error.errors()),
    httpx.HTTPStatusError: lambda error: f"{_server(error.request)} refuses: {_answer(error.response)}",
    httpx.HTTPError: _of_http,
    OSError: _of_os,
    UnicodeDecodeError: lambda error: f"byte {error.start + 1} is no UTF-8",
    UnicodeEncodeError: lambda error: f"{error.object[:LONGEST]!r} is no text in {error.encoding.upper()}",
}
"""How each kind of error is said; the first that fits."""
