"""Errors of the driver that carry no SQLSTATE are sorted by their words, and what nobody knows counts as away."""

from __future__ import annotations

from types import SimpleNamespace

import psycopg2
import pytest

from highwater.model.errors import ConfigurationError, DataRejected
from highwater.store import driver_errors, links, sentences
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
        ('FATAL:  password authentication failed for user "x"', Kind.UNAVAILABLE),
        ('FATAL:  role "x" is not permitted to log in', Kind.UNAVAILABLE),
        ('FATAL:  database "x" does not exist', Kind.UNAVAILABLE),
        ("FATAL:  sorry, too many clients already", Kind.UNAVAILABLE),
        ("FATAL:  the database system is starting up", Kind.UNAVAILABLE),
        ('could not translate host name "h" to address: Name or service not known', Kind.UNAVAILABLE),
        ("connection refused", Kind.UNAVAILABLE),
        ("server closed the connection unexpectedly", Kind.UNAVAILABLE),
        ("SSL error: certificate verify failed", Kind.UNAVAILABLE),
        ("timeout expired", Kind.UNAVAILABLE),
    ],
)  # fmt: skip
def test_a_login_is_sorted_by_its_words(said: str, kind: Kind) -> None:
    assert driver_errors.kind_of(psycopg2.OperationalError(said)) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (psycopg2.InterfaceError("connection already closed"), Kind.UNAVAILABLE),
        (psycopg2.ProgrammingError("no results to fetch"), Kind.CONFIGURATION),
        (psycopg2.DataError("year is out of range"), Kind.DATA),
        (psycopg2.DatabaseError("error with status PGRES_TUPLES_OK and no message from the libpq"), Kind.UNAVAILABLE),
    ],
)
def test_what_the_driver_says_itself_is_sorted_by_its_class(error: psycopg2.Error, kind: Kind) -> None:
    assert driver_errors.kind_of(error) is kind


def test_a_timeout_of_the_login_was_cut_off() -> None:
    assert driver_errors.was_cut_off(psycopg2.OperationalError("timeout expired"))
    assert not driver_errors.was_cut_off(psycopg2.OperationalError("connection refused"))


class Refused(psycopg2.DatabaseError):
    """An error of the server as the driver makes it, with that SQLSTATE."""

    def __init__(self, pgcode: str, primary: str, detail: str | None = None) -> None:
        super().__init__(primary)
        self._diagnostics = SimpleNamespace(message_primary=primary, message_detail=detail, message_hint=None)
        self._diagnostics.constraint_name = self._diagnostics.table_name = self._diagnostics.column_name = None
        self._pgcode = pgcode

    @property
    def pgcode(self) -> str:  # type: ignore[override]
        return self._pgcode

    @property
    def diag(self) -> SimpleNamespace:  # type: ignore[override]
        return self._diagnostics


@pytest.mark.parametrize(
    "reason", ["a statement timeout hit the till export", "No route to host, says the shop", "a deadlock detected"]
)
def test_a_persons_words_in_a_refusal_are_no_words_of_the_server(reason: str) -> None:
    held = f"daily_sales is held, rolled back by ada: {reason}"
    assert driver_errors.said(Refused("HW015", held)) == held
    assert driver_errors.said(Refused("22P02", "invalid input", f"value {reason}")) == f"invalid input. value {reason}"
    unknown = f'FATAL:  database "{reason}" does not exist'
    assert driver_errors.said(psycopg2.OperationalError(unknown)) == unknown.removeprefix("FATAL:  ")


def test_what_the_server_says_in_these_words_is_said_plainly() -> None:
    cut = Refused("57014", "canceling statement due to statement timeout")
    assert driver_errors.said(cut).startswith("a statement exceeded its time limit")
    assert driver_errors.said(Refused("40P01", "deadlock detected")).startswith("two sessions waited")
    assert not driver_errors.was_cut_off(Refused("HW015", "held: timeout expired"))


@pytest.mark.parametrize(
    "text",
    [
        'could not translate host name "postgresql://bob:s3cret@db.example/x" to address: Name or service not known',
        'password authentication failed for user "bob:s3cret@h"',
        "invalid options: host=h sslpassword=s3cret port=zzz",
        "invalid options: password = 's3 s3cret' port=zzz",
        'the extra {"password": "s3cret"} is refused',
        "https://hooks.example/x?token=s3cret&a=b answers 404",
        "redis://:s3cret@broker:6379/0 does not answer",
    ],
)
def test_no_secret_is_repeated(text: str) -> None:
    assert "s3cret" not in driver_errors.said(psycopg2.OperationalError(text))
    assert "s3cret" not in driver_errors.showable(text)
    assert "s3cret" not in sentences.of(ConfigurationError(text))
    assert "s3cret" not in sentences.of(OSError(1, text))


def test_what_holds_no_secret_is_left_as_it_is() -> None:
    for text in (
        "12:00 UTC to 13:00",
        "extra 'password' repeats its field Password: leave it out",
        "ada@example.com",
    ):
        assert driver_errors.showable(text) == text


def test_what_is_no_text_is_spelled_out() -> None:
    assert sentences.of(DataRejected("bad \x00 and \udc80 and \x1b[31mred\n\tthen")) == (
        "bad \\x00 and \\udc80 and \\x1b[31mred\n\tthen"
    )
    assert sentences.of(ValueError("a\x00b")) == "ValueError: a\\x00b"
    with pytest.raises(UnicodeEncodeError) as typed:
        "no \udcff".encode()
    assert sentences.of(typed.value) == "'no \\udcff' cannot be encoded in UTF-8"


@pytest.mark.parametrize(
    ("name", "value"),
    [("host", "postgresql://bob:s3cret@db/x"), ("schema", "host=h password=s3cret"), ("login", "bob:s3cret@h")],
)
def test_a_whole_address_in_a_field_of_a_connection_is_refused_unread(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match="holds a whole address") as refused:
        links.of_fields("legacy", {"host": "h", "schema": "s", "login": "l"} | {name: value})
    assert "s3cret" not in str(refused.value)
    with pytest.raises(ConfigurationError) as refused:
        links.of_fields("legacy", {"host": "h", "extra": {"options": "password=s3cret"}})
    assert "s3cret" not in str(refused.value)
