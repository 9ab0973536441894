"""Errors of the database driver, classified by SQLSTATE: what is wrong, and what should happen next."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import Enum

import psycopg2
from psycopg2 import errors

from highwater.model.errors import Busy, ConfigurationError, DataRejected, Held, HighwaterError, NoRoom, NotOver
from highwater.model.windows import Window


class Kind(Enum):
    """What an error of the driver is about, and what should happen next."""

    CONFIGURATION = "configuration"
    """A statement, a right or a setting is wrong: final."""
    DATA = "data"
    """A value breaks a type or a rule: final."""
    BUSY = "busy"
    """Another session holds a needed lock: try again soon."""
    NO_ROOM = "no room"
    """The disk is full: try again once there is room."""
    SLOW = "slow"
    """A statement exceeded its time limit."""
    UNAVAILABLE = "unavailable"
    """The server is unavailable, refused the login or broke off: try again later."""


_KINDS = {
    # single states before their classes
    "08P01": Kind.UNAVAILABLE,
    "25P03": Kind.UNAVAILABLE,  # idle in transaction for too long: the session was ended
    "25P04": Kind.SLOW,
    "53100": Kind.NO_ROOM,
    "55P02": Kind.CONFIGURATION,
    "55P04": Kind.CONFIGURATION,
    "57014": Kind.SLOW,
    "0": Kind.CONFIGURATION,
    "08": Kind.UNAVAILABLE,
    "09": Kind.DATA,
    "20": Kind.DATA,
    "21": Kind.DATA,
    "22": Kind.DATA,
    "23": Kind.DATA,
    "27": Kind.DATA,
    # A refused login may be allowed later, and a database that is being restored comes back.
    "28": Kind.UNAVAILABLE,
    "3D": Kind.UNAVAILABLE,
    "2": Kind.CONFIGURATION,
    "3": Kind.CONFIGURATION,
    "40": Kind.BUSY,
    "42": Kind.CONFIGURATION,
    "44": Kind.DATA,
    "53": Kind.UNAVAILABLE,
    "54": Kind.CONFIGURATION,
    "55": Kind.BUSY,
    "57": Kind.UNAVAILABLE,
    "58": Kind.UNAVAILABLE,
    "72": Kind.BUSY,
    "F0": Kind.UNAVAILABLE,
    "HV": Kind.UNAVAILABLE,
    "HW": Kind.DATA,
    "HW011": Kind.CONFIGURATION,
    "HW012": Kind.CONFIGURATION,
    "P0": Kind.DATA,
    "XX": Kind.UNAVAILABLE,
}
"""Kinds by SQLSTATE: the longest listed prefix decides. HW states are raised by Highwater's own functions."""

_NAMED: dict[str, type[HighwaterError]] = {"HW014": NotOver, "HW015": Held}
"""States of Highwater's own functions that have their own class of error."""

# Messages of libpq and poolers without a SQLSTATE, and of servers about a parameter at login.
_MISCONFIGURED = re.compile(
    r"""invalid\ (\S+\ ){0,4}(value|port|option|method|URI|range|parameter)
    | \binvalid\ when\b
    | missing\ "=" | missing\ key/value | unterminated\ quoted\ string
    | definition\ of\ service | service\ file\ ".*"\ not\ found
    | certificate\ file\ ".*"\ does\ not\ exist | weak\ sslmode
    | could\ not\ (open|read|load|find)\ .*(certificate|private\ key)
    | private\ key\ file\ ".*"\ (is\ not|has\ group|must\ be|does\ not)
    | certificate\ present,\ but\ not\ private\ key
    | server\ does\ not\ support\ SSL
    | unrecognized\ configuration\ parameter | conversion\ between\ .*\ not\ supported
    | unsupported\ startup\ parameter | not\ allowed\ in\ statement\ pooling
    | could\ not\ match\ \d+\ (port|host)""",
    re.VERBOSE | re.IGNORECASE,
)


def kind_of(error: psycopg2.Error) -> Kind:
    """What an error of the driver is about.

    Errors at login and libpq's own errors about parameters carry no SQLSTATE in this driver: they are classified by
    their text. One that is not known to be a mistake counts as unavailable, which is retried.
    """
    state = error.pgcode or ""
    if state in ("", "08P01") and isinstance(error, psycopg2.OperationalError) and _MISCONFIGURED.search(str(error)):
        return Kind.CONFIGURATION
    for length in (5, 2, 1):
        if len(state) >= length and (kind := _KINDS.get(state[:length])):
            return kind
    if isinstance(error, psycopg2.DataError):
        return Kind.DATA
    if isinstance(error, (psycopg2.ProgrammingError, psycopg2.NotSupportedError)):
        return Kind.CONFIGURATION
    return Kind.UNAVAILABLE


def said(error: psycopg2.Error, *, of_named_server: bool = False) -> str:
    """What is wrong, in one clause: without libpq's prefix, rows of data, or advice about TCP.

    With ``of_named_server`` the sentence around it names the server.
    """
    return showable(_said(error, of_named_server))


def _said(error: psycopg2.Error, of_named_server: bool) -> str:
    if error.diag.message_primary is None:
        return _said_at_login(str(error).strip() or type(error).__name__, of_named_server)
    if (plain := _said_of_a_rule(error)) is not None:
        return plain
    texts = (error.diag.message_primary, error.diag.message_detail, error.diag.message_hint)
    parts = [part.strip().rstrip(".") for part in texts if part and not part.startswith("Failing row contains")]
    plain = _plain_words(error.diag.message_primary, error.pgcode or "")
    return plain or _with_windows(". ".join(parts).replace("\n", " "))


def said_through_sqlalchemy(text: str) -> str:
    """The server's message out of one of SQLAlchemy's, in one clause: no class, no SQL, no address."""
    lines = re.sub(r"^\(psycopg2[\w.]*\) *", "", text.strip()).partition("[SQL:")[0].splitlines() or [""]
    hints = [line.removeprefix("HINT:").strip() for line in lines[1:] if line.startswith("HINT:")]
    said = ". ".join(part.rstrip(".") for part in [lines[0], *hints])
    return showable(_plain_words(said, "") or _with_windows(said))


_PREFIX = re.compile(
    r"""^(?:connection\ to\ server\ (?:at\ "(?P<host>[^"]*)"(?:\ \([^)]*\))?,\ port\ (?P<port>\d+)
    | on\ socket\ "(?P<socket>[^"]*)")\ failed:\ )? (?:(?:FATAL|ERROR|PANIC):\s+)?""",
    re.VERBOSE,
)

_PLAIN = (
    ("57014", "statement timeout", "a statement exceeded its time limit (statement timeout)"),
    ("55P03", "lock timeout", "another session holds a needed lock (lock timeout)"),
    ("40P01", "deadlock detected", "two sessions waited for each other (deadlock)"),
    ("08", "timeout expired", "the login got no answer in time (timeout expired)"),
    ("57P03", "the database system is starting up", "it is starting up"),
    ("57P03", "the database system is shutting down", "it is shutting down"),
    ("57P03", "the database system is in recovery mode", "it is recovering from a crash"),
    ("53300", "too many clients already", "all its connections are in use"),
    ("53300", "remaining connection slots are reserved", "all its connections are in use"),
    ("57P01", "terminating connection due to administrator command", "an administrator ended the session"),
    ("08", "server closed the connection unexpectedly", "the server closed the connection"),
    ("08", "SSL connection has been closed unexpectedly", "the server closed the connection"),
    ("08", "SSL SYSCALL error: EOF detected", "the server closed the connection"),
    ("08", "connection already closed", "the server closed the connection"),
    ("08", "Network is unreachable", "no network leads there"),
    ("08", "No route to host", "no network leads there"),
    ("22000", "range lower bound must be less than or equal to range upper bound", "the range ends before it begins"),
)
"""SQLSTATE prefix, part of a message of Postgres or libpq, and what it means in plain words.

The SQLSTATE is checked too, because a value in another error may contain the same words. libpq's messages have none.
"""


_RANGE = re.compile(r'\["?([0-9]{4}-[0-9 :.+-]+?)"?,"?([0-9]{4}-[0-9 :.+-]+?)"?\)')


def _plain_words(text: str, state: str) -> str | None:
    """A message in plain words, if it is known; quoted parts are values and do not count."""
    unquoted = re.sub(r'"[^"]*"', '""', text)
    return next((plain for of, part, plain in _PLAIN if part in unquoted and (not state or state.startswith(of))), None)


def _with_windows(text: str) -> str:
    return _RANGE.sub(_named, text)


_SECRETS = (
    (re.compile(r"(?<=://)[^\s\"']*@"), "…@"),
    (re.compile(r"""(?i)(\w*(?:password|passwd|pwd|secret|token)\w*\s*=)\s*('[^']*'|"[^"]*"|[^\s"';&,]+)"""), r"\1…"),
    (re.compile(r"""(?i)("\w*(?:password|passwd|pwd|secret|token)\w*":)\s*"[^"]*\""""), r'\1 "…"'),
    (re.compile(r"""\b([\w.+-]+:)[^\s@"':/…]+(?=@)"""), r"\1…"),
)
"""Where passwords appear: an address, a parameter of libpq, JSON, and ``login:password@host``."""
_NOT_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def showable(text: str) -> str:
    """A text from elsewhere that is safe to show and store: without secrets and control characters.

    Postgres refuses NUL and lone surrogates, and with them the whole text.
    """
    for secret, instead in _SECRETS:
        text = secret.sub(instead, text)
    return _NOT_TEXT.sub(lambda found: ascii(found[0])[1:-1], text)


def _named(found: re.Match[str]) -> str:
    """A range of moments in the form of windows; any other range unchanged."""
    try:
        start, end = (datetime.fromisoformat(bound).astimezone(UTC) for bound in found.groups())
        return str(Window(start, end))
    except (ValueError, OverflowError, ConfigurationError):
        return found[0]


def _said_at_login(text: str, of_named_server: bool) -> str:
    """libpq's message; if several addresses were tried, the one about the last."""
    lines = [line for line in text.splitlines() if line.strip() and not line[0].isspace()]
    line = (lines or [text.strip()])[-1].strip()
    found = _PREFIX.match(line)
    assert found is not None
    rest = line[found.end() :]
    if (plain := _plain_words(rest, "")) is not None:
        return plain
    if "Connection refused" in re.sub(r'"[^"]*"', "", rest):
        where = found["host"] and f"on port {found['port']} of {found['host']}"
        return f"nothing listens {where if where and not of_named_server else 'there'}"
    if rest.startswith("No such file or directory") and found["socket"]:
        return f"no server has its socket at {found['socket']}"
    if unknown := re.search(r'could not translate host name "([^"]*)"', line):
        return f'unknown host "{unknown[1]}"'
    return _with_windows(rest)


def _said_of_a_rule(error: psycopg2.Error) -> str | None:
    """A row that breaks a constraint, without the row itself; None for other errors."""
    found = error.diag
    match error.pgcode:
        case "23502":
            return f'column "{found.column_name}" of {found.table_name} is empty, expected a value'
        case "23514" if found.constraint_name:
            return f'a row of {found.table_name} breaks the rule "{found.constraint_name}"'
        case "23503":
            missing = re.search(r"\((.*)\)=\((.*)\) is not present in", found.message_detail or "")
            if missing:
                return f'{missing[1]} "{missing[2]}" does not exist, by the foreign key "{found.constraint_name}"'
    return None


def of_warehouse(error: psycopg2.Error, what: str = "the warehouse") -> HighwaterError | None:
    """An error of the warehouse as one of ours; None if it is unavailable or slow, which is retried as it is.

    Args:
        error: what the driver raised.
        what: the subject of the sentence.
    """
    kind, text = kind_of(error), said(error)
    # Errors of Highwater's own functions are sentences already.
    own = (error.pgcode or "").startswith("HW")
    if (named := _NAMED.get(error.pgcode or "")) is not None:
        return named(text)
    if kind is Kind.BUSY:
        return Busy(f"{what} is busy: {text}")
    if kind is Kind.NO_ROOM:
        return NoRoom(f"{what} has no room: {text}")
    if kind is Kind.DATA:
        return DataRejected(text if own else f"{what} refuses the data: {text}")
    if kind is Kind.CONFIGURATION:
        return ConfigurationError(text if own else f"{what} refuses this: {text}")
    return None


def was_cut_off(error: psycopg2.Error) -> bool:
    """Whether a login or a statement ended because it exceeded its time limit."""
    if kind_of(error) is Kind.SLOW or isinstance(error, errors.QueryCanceled):
        return True
    return error.pgcode is None and "timeout expired" in re.sub(r'"[^"]*"', "", str(error))
