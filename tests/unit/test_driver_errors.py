"""Errors of the driver that carry no SQLSTATE are sorted by their words, and what nobody knows counts as away."""

from __future__ import annotations

import psycopg2
import pytest

from highwater.store import driver_errors
from highwater.store.driver_errors import Kind


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ('invalid sslmode value: "verify_full"', Kind.CONFIGURATION),
        ('connection to server at "h", port 5432 failed: invalid integer value "x" for connection option "keepalives"',
         Kind.CONFIGURATION),
        ('invalid port number: "99999"', Kind.CONFIGURATION),
        ('sslmode value "require" invalid when SSL support is not compiled in', Kind.CONFIGURATION),
        ('connection failed: root certificate file "/no/ca.pem" does not exist', Kind.CONFIGURATION),
        ('connection failed: could not read certificate file "/no.crt": no such file', Kind.CONFIGURATION),
        ("connection failed: server does not support SSL, but SSL was required", Kind.CONFIGURATION),
        ('definition of service "none" not found', Kind.CONFIGURATION),
        ('FATAL:  invalid value for parameter "client_encoding": "X"', Kind.CONFIGURATION),
        ("FATAL:  unsupported startup parameter: options", Kind.CONFIGURATION),
        ("FATAL:  conversion between MULE_INTERNAL and UTF8 is not supported", Kind.CONFIGURATION),
        ('FATAL:  password authentication failed for user "x"', Kind.AWAY),
        ('FATAL:  role "x" is not permitted to log in', Kind.AWAY),
        ('FATAL:  database "x" does not exist', Kind.AWAY),
        ("FATAL:  sorry, too many clients already", Kind.AWAY),
        ("FATAL:  the database system is starting up", Kind.AWAY),
        ('could not translate host name "h" to address: Name or service not known', Kind.AWAY),
        ("connection refused", Kind.AWAY),
        ("server closed the connection unexpectedly", Kind.AWAY),
        ("SSL error: certificate verify failed", Kind.AWAY),
        ("timeout expired", Kind.AWAY),
    ],
)  # fmt: skip
def test_a_login_is_sorted_by_its_words(said: str, kind: Kind) -> None:
    assert driver_errors.kind_of(psycopg2.OperationalError(said)) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (psycopg2.InterfaceError("connection already closed"), Kind.AWAY),
        (psycopg2.ProgrammingError("no results to fetch"), Kind.CONFIGURATION),
        (psycopg2.DataError("year is out of range"), Kind.DATA),
        (psycopg2.DatabaseError("error with status PGRES_TUPLES_OK and no message from the libpq"), Kind.AWAY),
    ],
)
def test_what_the_driver_says_itself_is_sorted_by_its_class(error: psycopg2.Error, kind: Kind) -> None:
    assert driver_errors.kind_of(error) is kind


def test_a_timeout_of_the_login_was_cut_off() -> None:
    assert driver_errors.was_cut_off(psycopg2.OperationalError("timeout expired"))
    assert not driver_errors.was_cut_off(psycopg2.OperationalError("connection refused"))
