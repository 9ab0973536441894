"""The driver's errors, sorted once by SQLSTATE: what is wrong, and so what should happen next."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import Enum

import psycopg2
from psycopg2 import errors

from highwater.model.errors import Busy, ConfigurationError, DataRejected, Held, HighwaterError, NoRoom, NotOver
from highwater.model.windows import Window


class Kind(Enum):
    """What an error of the driver is about, and so what should happen next."""

    CONFIGURATION = "configuration"
    """A statement, a right or a setting is wrong: final."""
    DATA = "data"
    """A value breaks a type or a rule: final."""
    BUSY = "busy"
    """Somebody holds what is needed: again soon."""
    NO_ROOM = "no room"
    """The disk is full: again once there is room."""
    SLOW = "slow"
    """A statement took longer than it may."""
    AWAY = "away"
    """The server cannot be asked, refuses the login or broke off: again later."""


_KINDS = {
    # single states before their classes
    "08P01": Kind.AWAY,
    "25P03": Kind.AWAY,  # idle in transaction for too long: the session is gone
    "25P04": Kind.SLOW,
    "53100": Kind.NO_ROOM,
    "55P02": Kind.CONFIGURATION,
    "55P04": Kind.CONFIGURATION,
    "57014": Kind.SLOW,
    "0": Kind.CONFIGURATION,
    "08": Kind.AWAY,
    "09": Kind.DATA,
    "20": Kind.DATA,
    "21": Kind.DATA,
    "22": Kind.DATA,
    "23": Kind.DATA,
    "27": Kind.DATA,
    # A login that is refused today may be allowed tomorrow, and a database that is being restored is there again.
    "28": Kind.AWAY,
    "3D": Kind.AWAY,
    "2": Kind.CONFIGURATION,
    "3": Kind.CONFIGURATION,
    "40": Kind.BUSY,
    "42": Kind.CONFIGURATION,
    "44": Kind.DATA,
    "53": Kind.AWAY,
    "54": Kind.CONFIGURATION,
    "55": Kind.BUSY,
    "57": Kind.AWAY,
    "58": Kind.AWAY,
    "72": Kind.BUSY,
    "F0": Kind.AWAY,
    "HV": Kind.AWAY,
    "HW": Kind.DATA,
    "HW011": Kind.CONFIGURATION,
    "HW012": Kind.CONFIGURATION,
    "P0": Kind.DATA,
    "XX": Kind.AWAY,
}
"""Kinds by SQLSTATE: the longest beginning that is listed decides. HW is what Highwater's own functions raise."""

_NAMED: dict[str, type[HighwaterError]] = {"HW014": NotOver, "HW015": Held}
"""What Highwater's own functions refuse and has an error of its own."""

# What libpq and poolers refuse before there is a SQLSTATE, and what a server says of a parameter at the login.
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

    A login carries no SQLSTATE in this driver, nor does libpq's own refusal of a parameter: these go by their words,
    and what is not known to be a mistake counts as away, which is tried again.
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
    return Kind.AWAY


def said(error: psycopg2.Error, *, of_named_server: bool = False) -> str:
    """What is wrong, in one clause of plain words: no prefix of libpq's, no row of data, no advice about TCP.

    With ``of_named_server`` the sentence around it says where the server is.
    """
    return showable(_said(error, of_named_server))


def _said(error: psycopg2.Error, of_named_server: bool) -> str:
    if error.diag.message_primary is None:
        return _said_at_login(str(error).strip() or type(error).__name__, of_named_server)
    if (plain := _said_of_a_rule(error)) is not None:
        return plain
    told = (error.diag.message_primary, error.diag.message_detail, error.diag.message_hint)
    parts = [part.strip().rstrip(".") for part in told if part and not part.startswith("Failing row contains")]
    plain = _plain_words(error.diag.message_primary, error.pgcode or "")
    return plain or _with_windows(". ".join(parts).replace("\n", " "))


def said_through_sqlalchemy(text: str) -> str:
    """What the server said, in one clause, of a message that SQLAlchemy made of it: no class, no SQL, no address."""
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
    ("57014", "statement timeout", "a statement took longer than it may (statement timeout)"),
    ("55P03", "lock timeout", "another session holds what is needed (lock timeout)"),
    ("40P01", "deadlock detected", "two sessions waited for each other (deadlock)"),
    ("08", "timeout expired", "no answer came in the time that a login may take (timeout expired)"),
    ("57P03", "the database system is starting up", "it is starting up"),
    ("57P03", "the database system is shutting down", "it is shutting down"),
    ("57P03", "the database system is in recovery mode", "it recovers from a crash"),
    ("53300", "too many clients already", "all connections that it has are taken"),
    ("53300", "remaining connection slots are reserved", "all connections that it has are taken"),
    ("57P01", "terminating connection due to administrator command", "an administrator ended the session"),
    ("08", "server closed the connection unexpectedly", "the server closed the connection"),
    ("08", "SSL connection has been closed unexpectedly", "the server closed the connection"),
    ("08", "SSL SYSCALL error: EOF detected", "the server closed the connection"),
    ("08", "connection already closed", "the server closed the connection"),
    ("08", "Network is unreachable", "no network leads there"),
    ("08", "No route to host", "no network leads there"),
    ("22000", "range lower bound must be less than or equal to range upper bound", "the range ends before it begins"),
)
"""Parts of messages of Postgres and libpq with the beginning of their SQLSTATE, and what they come to.

Another error may have the same words in it, as a person's reason. What libpq says has no SQLSTATE and goes by words.
"""


_RANGE = re.compile(r'\["?([0-9]{4}-[0-9 :.+-]+?)"?,"?([0-9]{4}-[0-9 :.+-]+?)"?\)')


def _plain_words(text: str, state: str) -> str | None:
    """What a message comes to; what is quoted in it is a value."""
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
"""What a password stands in: an address, a parameter of libpq's, JSON, and ``login:password@host``."""
_NOT_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def showable(text: str) -> str:
    """A text that came from elsewhere, as it may be shown and kept: without a secret, and nothing that is no text.

    A NUL and half a surrogate are refused by Postgres, and would take the text with them.
    """
    for secret, instead in _SECRETS:
        text = secret.sub(instead, text)
    return _NOT_TEXT.sub(lambda found: ascii(found[0])[1:-1], text)


def _named(found: re.Match[str]) -> str:
    """A range of moments as windows are named everywhere else; any other range as it is."""
    try:
        start, end = (datetime.fromisoformat(bound).astimezone(UTC) for bound in found.groups())
        return str(Window(start, end))
    except (ValueError, OverflowError, ConfigurationError):
        return found[0]


def _said_at_login(text: str, of_named_server: bool) -> str:
    """What libpq says; of several addresses that were tried, of the last one."""
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
        return f'the host "{unknown[1]}" is not known'
    return _with_windows(rest)


def _said_of_a_rule(error: psycopg2.Error) -> str | None:
    """A row that breaks a rule of its table; the row itself is not repeated."""
    told = error.diag
    match error.pgcode:
        case "23502":
            return f'column "{told.column_name}" of {told.table_name} is empty, expected a value'
        case "23514" if told.constraint_name:
            return f'a row of {told.table_name} breaks the rule "{told.constraint_name}"'
        case "23503":
            missing = re.search(r"\((.*)\)=\((.*)\) is not present in", told.message_detail or "")
            if missing:
                return f'{missing[1]} "{missing[2]}" is not known, by the foreign key "{told.constraint_name}"'
    return None


def of_warehouse(error: psycopg2.Error, what: str = "the warehouse") -> HighwaterError | None:
    """An error of the warehouse as one of ours; None where it is away or slow, which is tried again as it is.

    Args:
        error: what the driver raised.
        what: what was asked, to begin the sentence with.
    """
    kind, text = kind_of(error), said(error)
    # What Highwater's own functions refuse, they say in a sentence.
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
    """Whether a login or a statement ended because it took longer than it may."""
    if kind_of(error) is Kind.SLOW or isinstance(error, errors.QueryCanceled):
        return True
    return error.pgcode is None and "timeout expired" in re.sub(r'"[^"]*"', "", str(error))
