"""Links to sources by Airflow connections: every parameter of libpq, and no other."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NoReturn

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import libpq_version, parse_dsn
from psycopg2.extras import NamedTupleCursor

from highwater.model import documents
from highwater.model.errors import ConfigurationError
from highwater.store import driver_errors

OF_THE_CONNECTION = {"host": "Host", "port": "Port", "dbname": "Database", "user": "Login", "password": "Password"}
"""Fields of an Airflow connection by libpq's names: no extra may repeat them."""
PARAMETERS = (
    "hostaddr",
    "service",
    "servicefile",
    "passfile",
    "channel_binding",
    "connect_timeout",
    "client_encoding",
    "options",
    "application_name",
    "fallback_application_name",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "sslmode",
    "sslnegotiation",
    "sslcompression",
    "sslcert",
    "sslkey",
    "sslkeylogfile",
    "sslcertmode",
    "sslpassword",
    "sslrootcert",
    "sslcrl",
    "sslcrldir",
    "sslsni",
    "requiressl",
    "requirepeer",
    "require_auth",
    "min_protocol_version",
    "max_protocol_version",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "gssencmode",
    "krbsrvname",
    "gsslib",
    "gssdelegation",
    "target_session_attrs",
    "load_balance_hosts",
    "scram_client_key",
    "scram_server_key",
    "oauth_issuer",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_scope",
)
"""Parameters that extras may set, by libpq's names. Not `replication`: such a session runs no statements."""
DEFAULTS: Mapping[str, object] = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "application_name": "highwater",
}


@dataclass(frozen=True)
class Known:
    """The parameters of a connection to a source.

    ``parameters`` go to libpq. ``encoding``: the encoding of the source's text, set by its owner where the source does
    not know it. ``settings``: those of ``options``, to be set within the transaction, because a pooler drops them.
    """

    connection_id: str
    parameters: Mapping[str, Any] = field(repr=False)
    encoding: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    def open(self) -> Connection:
        """A new link; text arrives in UTF-8, or in ``encoding``.

        Raises:
            psycopg2.OperationalError: libpq refuses a value, or the source is unavailable or refuses the login.
        """
        # Empty options override those of the environment, and are accepted by a pooler that refuses any.
        link: Connection = psycopg2.connect(
            **self.parameters, options="", client_encoding=self.encoding or "UTF8", cursor_factory=NamedTupleCursor
        )
        return link


def of_airflow(connection_id: str) -> Known:
    """The connection of that name in Airflow.

    Raises:
        ConfigurationError: it does not exist, or one of its extras is wrong.
    """
    from airflow.sdk import Connection as AirflowConnection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        known = AirflowConnection.get(connection_id)
    except AirflowNotFoundException:
        raise ConfigurationError(
            f"Airflow has no connection {connection_id!r}: add it under Admin → Connections, or as AIRFLOW_CONN_"
            f"{connection_id.upper()}"
        ) from None
    where = {"host": known.host, "port": known.port, "schema": known.schema, "login": known.login}
    return of_fields(connection_id, where | {"password": known.password, "extra": known.extra})


def of_fields(connection_id: str, fields: Mapping[str, Any]) -> Known:
    """A connection from the fields of an Airflow connection: host, port, schema, login, password, extra.

    Raises:
        ConfigurationError: an extra is not a parameter of libpq, repeats a field, or has an invalid value.
    """
    extras = _extras(connection_id, fields.get("extra"))
    own = {
        "host": fields.get("host") or None,
        "port": fields.get("port") or 5432,
        "dbname": fields.get("schema") or None,
        "user": fields.get("login") or None,
        "password": fields.get("password") or None,
    }
    for name in ("host", "dbname", "user"):
        given = str(own[name] or "")
        if driver_errors.showable(given) != given:
            field_name = OF_THE_CONNECTION[name]
            _refuse(connection_id, f"its field {field_name} holds a whole address: each part belongs in its own field")
    encoding, options = extras.pop("client_encoding", None), extras.pop("options", "")
    return Known(connection_id, {**DEFAULTS, **own, **extras}, encoding, _settings(connection_id, options))


def _extras(connection_id: str, given: Any) -> dict[str, str]:
    if isinstance(given, str):
        try:
            given = json.loads(given or "{}")
        except json.JSONDecodeError as error:
            _refuse(connection_id, f"its extra is not JSON: {documents.of_json(error)} in line {error.lineno}")
    if not isinstance(given, Mapping | None):
        _refuse(connection_id, f"its extra is a {type(given).__name__}, expected an object of libpq's parameters")
    return {
        name: _value(connection_id, name, value) for name, value in (given or {}).items() if value not in (None, "")
    }


def _value(connection_id: str, name: str, value: Any) -> str:
    if name in OF_THE_CONNECTION:
        _refuse(connection_id, f"extra {name!r} repeats its field {OF_THE_CONNECTION[name]}: leave it out")
    if name == "replication":
        _refuse(connection_id, "extra 'replication' is not allowed: such a session runs no statements")
    if name not in PARAMETERS:
        near = get_close_matches(name, PARAMETERS, n=3)
        way = f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(PARAMETERS)}"
        _refuse(connection_id, f"unknown extra {name!r}: {way}")
    if not isinstance(value, str | int | float):
        _refuse(connection_id, f"extra {name!r} is a {type(value).__name__}, expected a text or a number")
    try:
        parse_dsn(f"{name}=x")
    except psycopg2.ProgrammingError:
        major = libpq_version() // 10000
        _refuse(connection_id, f"extra {name!r} is unknown to libpq {major}, which is installed: leave it out")
    return str(int(value)) if isinstance(value, bool) else str(value)


def _settings(connection_id: str, options: str) -> dict[str, str]:
    """The settings of ``-c name=value`` and ``--name=value``."""
    try:
        words = iter(shlex.split(options))
    except ValueError:
        _refuse(connection_id, f"extra 'options' {options!r}: expected -c name=value, but a quote is not closed")
    found = {}
    for word in words:
        text = next(words, "") if word == "-c" else word.removeprefix("-c").removeprefix("--")
        name, is_set, value = text.partition("=")
        if not (word.startswith(("-c", "--")) and name and is_set):
            _refuse(connection_id, f"extra 'options' {options!r}: expected -c name=value, got {word!r}")
        found[name.replace("-", "_").lower()] = value
    return found


def _refuse(connection_id: str, problem: str) -> NoReturn:
    raise ConfigurationError(driver_errors.showable(f"connection {connection_id!r} is refused: {problem}"))
