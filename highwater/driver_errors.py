"""The driver's errors, sorted once by SQLSTATE: what is wrong, and so what should happen next."""

from __future__ import annotations

import re
from enum import Enum

import psycopg2
from psycopg2 import errors

from highwater.errors import Busy, ConfigurationError, Held, HighwaterError, NoRoom, NotOver, RefusedData


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


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its name where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def said(error: psycopg2.Error) -> str:
    """What the server says, with its detail and hint, or else the driver; one line."""
    told = (error.diag.message_primary, error.diag.message_detail, error.diag.message_hint)
    if told[0] is None:
        return first_line(error)
    return ". ".join(part.rstrip(".") for part in told if part).replace("\n", " ")


def of_warehouse(error: psycopg2.Error, what: str = "the warehouse") -> HighwaterError | None:
    """An error of the warehouse as one of ours; None where it is away or slow, which is tried again as it is.

    Args:
        error: what the driver raised.
        what: what was asked, to begin the sentence with.
    """
    kind, text = kind_of(error), first_line(error)
    # What Highwater's own functions refuse, they say in a sentence.
    own = (error.pgcode or "").startswith("HW")
    if (named := _NAMED.get(error.pgcode or "")) is not None:
        return named(said(error))
    if kind is Kind.BUSY:
        return Busy(f"{what} is busy: {text}")
    if kind is Kind.NO_ROOM:
        return NoRoom(f"{what} has no room: {text}")
    if kind is Kind.DATA:
        return RefusedData(said(error) if own else f"{what} refuses the data: {said(error)}")
    if kind is Kind.CONFIGURATION:
        return ConfigurationError(said(error) if own else f"{what} refuses this: {said(error)}")
    return None


def was_cut_off(error: psycopg2.Error) -> bool:
    """Whether a login or a statement ended because it took longer than it may."""
    return kind_of(error) is Kind.SLOW or isinstance(error, errors.QueryCanceled) or "timeout expired" in str(error)
