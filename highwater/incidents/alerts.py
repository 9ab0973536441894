"""Incidents: open, extend and close them, and send alerts to the addresses that are set.

Alerts are kept in an outbox in the warehouse (ops.alerts), written in the transaction that opens, escalates or closes
an incident. The next check sends what is waiting, so that a killed task loses no alert. Delivery is at least once: an
alert is sent again only where a process died between the receiver's answer and recording it; each carries its id.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2
import tenacity
from psycopg2.extensions import cursor as Cursor

from highwater.environment import credentials, settings
from highwater.model.errors import ConfigurationError, DataRejected
from highwater.store import driver_errors, warehouse
from highwater.store.driver_errors import Kind

log = logging.getLogger(__name__)

SETTING = "HIGHWATER_ALERT_URLS"
TIMEOUT = 5.0
"""Seconds that a receiver has to accept a message."""
QUICK_TRIES = 2
"""Attempts to send a message in one pass; then it waits in the outbox, longer each time."""
MOST_TRIES = 50
"""Passes, about half a day, after which a message is given up."""

_APART = re.compile(r",?\s+|,(?=[A-Za-z][A-Za-z0-9+.-]*://)")


@dataclass(frozen=True)
class Destination:
    """One address: its name in the outbox is a keyed hash of the address, so that it reveals nothing."""

    name: str
    url: str


class NotTaken(Exception):
    """A receiver did not accept a message. The text is safe to store: it holds neither the address nor the answer."""


@dataclass(frozen=True)
class Incident:
    """An open incident, as people see it."""

    incident_id: int
    title: str
    kind: str
    subject: str
    windows: str
    attempts: int
    escalated: bool
    acknowledged_by: str | None
    advice: str
    is_trouble: bool
    reason: str | None
    """The error behind it; None where the kind says all."""


def look() -> None:
    """Open and close incidents by what is wrong now, and send what is waiting. Never raises: loading data comes first.

    Does nothing while the warehouse is unavailable: the next check finds the same.
    """
    _look(only_if_troubled=False, send=True)


def look_if_troubled() -> None:
    """As `look`, but only if something is or recently went wrong: for a task that succeeded, which opens no incident.

    What begins with time alone, such as stale data, is left to `incident_watch`.
    """
    _look(only_if_troubled=True, send=True)


def _look(*, only_if_troubled: bool, send: bool) -> None:
    try:
        with warehouse.autocommitting("loader") as cursor:
            # Run every time: it also records when the server was started.
            if _troubled(cursor) or not only_if_troubled:
                _see(cursor)
            if send:
                _send(cursor)
    except Exception:
        log.warning("incidents could not be checked now; the next check will do it", exc_info=True)


def _see(cursor: Cursor) -> None:
    """Reconcile the incidents. A check that fails because of its data will fail again, so the failure is recorded."""
    try:
        cursor.execute("SELECT opened, escalated, closed FROM ops.reconcile_incidents()")
    except psycopg2.Error as error:
        if driver_errors.kind_of(error) not in (Kind.CONFIGURATION, Kind.DATA):
            raise
        log.exception("the check for incidents failed")
        cursor.execute(
            "SELECT ops.record_health_check('incidents', 'unwell', %s, 0, 'the check for incidents')",
            (driver_errors.said(error),),
        )
        return
    seen = warehouse.fetch(cursor)
    if any(seen):
        log.info("incidents: %s opened, %s escalated, %s closed", *seen)


def _troubled(cursor: Cursor) -> bool:
    warehouse.run_file(cursor, "ops/troubled_lately.sql")
    return bool(warehouse.fetch_value(cursor))


def on_failure(_context: object) -> None:
    """For a DAG's ``on_failure_callback``: its tasks may all have been killed before they checked for incidents.

    It runs where DAG files are parsed, which may have neither the addresses nor access to the network: the next task
    that checks, `incident_watch` at the latest, sends what this one found.
    """
    _look(only_if_troubled=False, send=False)


def send_waiting() -> int:
    """Send what waits in the outbox, in order, one process at a time; returns the number of messages accepted.

    An unavailable receiver costs a few seconds at most; its next attempt follows after a growing wait.
    """
    with warehouse.autocommitting("loader") as cursor:
        return _send(cursor)


def _send(cursor: Cursor) -> int:
    sent = 0
    while _something_waits(cursor) and _take_turn(cursor):
        before = sent
        sent += _drain(cursor)
        cursor.execute("SELECT ops.drop_lease('outbox')")
        if sent == before:
            break
    return sent


def _something_waits(cursor: Cursor) -> bool:
    cursor.execute(
        "SELECT EXISTS (SELECT FROM ops.alerts WHERE NOT addressed)"
        " OR EXISTS (SELECT FROM ops.alert_deliveries WHERE state = 'pending')"
    )
    return bool(warehouse.fetch_value(cursor))


def _take_turn(cursor: Cursor) -> bool:
    """Whether we hold the lease on the outbox; it ends with the connection, so a killed sender never blocks."""
    cursor.execute("SELECT ops.take_lease('outbox')")
    return bool(warehouse.fetch_value(cursor))


def _drain(cursor: Cursor) -> int:
    known = {destination.name: destination for destination in destinations()}
    sent = 0
    while True:
        cursor.execute("SELECT * FROM ops.next_delivery(%s)", (list(known),))
        if (message := warehouse.fetch(cursor)) is None:
            return sent
        error = None
        try:
            _hand_over(known[message.destination].url, message)
            sent += 1
        except NotTaken as failure:
            error = str(failure)
            log.warning("alert %s was not accepted by %s: %s", message.alert_no, message.destination, error)
        cursor.execute(
            "SELECT ops.record_delivery(%s, %s, %s, %s)", (message.alert_no, message.destination, error, MOST_TRIES)
        )


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(NotTaken),
    wait=tenacity.wait_random_exponential(multiplier=0.2, max=1),
    stop=tenacity.stop_after_attempt(QUICK_TRIES),
    reraise=True,
)
def _hand_over(url: str, message: Any) -> None:
    """Send one message to one address.

    Raises:
        NotTaken: it was refused, or not accepted in time.
    """
    import apprise

    kind = {"opened": "warning", "escalated": "failure", "closed": "success"}[message.event]
    with _quiet() as said:
        asset = apprise.AppriseAsset(app_id="Highwater", app_desc="Highwater", async_mode=False, secure_logging=True)
        sender = apprise.Apprise(asset=asset)
        added = sender.add(url)
        taken = added and sender.notify(
            title=message.title,
            body=f"{message.body}\nMessage {message.alert_id}",
            notify_type=apprise.NotifyType(kind),
            body_format=apprise.NotifyFormat.TEXT,
            timeout=TIMEOUT,
        )
    if not taken:
        status = next((match[1] for line in said if (match := re.search(r"\berror=(\d{3})\b", line))), None)
        raise NotTaken(f"answered {status}" if status else f"no answer within {TIMEOUT:g} s, or no connection")


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Keep Apprise's log out of ours, since it may name a token or a host; yields its lines to the caller."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger = logging.getLogger("apprise")
    before = (logger.handlers, logger.propagate, logger.level)
    logger.handlers, logger.propagate = [Keep()], False
    logger.setLevel(logging.WARNING)
    try:
        yield lines
    finally:
        logger.handlers, logger.propagate = before[0], before[1]
        logger.setLevel(before[2])


def destinations() -> list[Destination]:
    """The addresses of HIGHWATER_ALERT_URLS and of the file HIGHWATER_ALERT_URLS_FILE, without duplicates, in order.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    key = credentials.password("loader").encode()[:64]
    return [Destination(_name(url, key), url) for url in dict.fromkeys(_addresses())]


def check_addresses() -> None:
    """Refuse to start with an address that nothing can be sent to; does nothing if no address is set.

    Raises:
        ConfigurationError: an address is invalid: names the setting and its place, shows its scheme only; or the file
            with addresses cannot be read.
    """
    if not (urls := _addresses()):
        return
    import apprise

    for place, url in enumerate(urls, 1):
        with _quiet():
            known = apprise.Apprise.instantiate(url, suppress_exceptions=True)
        if known is None:
            raise ConfigurationError(
                f"setting {SETTING} is refused: address {place} of {len(urls)} ({_scheme(url)}) is unknown to Apprise;"
                " expected an address such as json://host/path, mailto://…, slack://…; separate several by commas or"
                " blanks"
            )


def open_incidents(cursor: Cursor) -> list[Incident]:
    """The incidents that are open, oldest first."""
    warehouse.run_file(cursor, "ops/open_incidents.sql")
    return [warehouse.as_dataclass(Incident, row) for row in warehouse.fetch_all(cursor)]


def undelivered(cursor: Cursor) -> list[dict[str, Any]]:
    """The alerts that an address has not received: waiting for the next attempt, or given up."""
    cursor.execute(
        "SELECT title, event, created_at, destination, state, tries, last_error FROM ops.undelivered_alerts"
        " WHERE destination IS NOT NULL ORDER BY alert_no"
    )
    return [dict(row._asdict()) for row in warehouse.fetch_all(cursor)]


def acknowledge(incident: int, by: str, note: str) -> None:
    """Record that a person has seen an incident: it is not escalated any more, and may close.

    Raises:
        DataRejected: it is not open.
    """
    try:
        with warehouse.session("operator") as cursor:
            cursor.execute("SELECT ops.acknowledge_incident(%s, %s, %s)", (incident, by, note))
    except psycopg2.Error as error:
        if (error.pgcode or "").startswith("HW"):
            raise DataRejected(driver_errors.said(error)) from error
        raise


def _addresses() -> Sequence[str]:
    config = settings.get()
    given = [config.alert_urls.get_secret_value()] if config.alert_urls else []
    if config.alert_urls_file:
        try:
            given.append(config.alert_urls_file.read_text())
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not a text file"
            raise ConfigurationError(
                f"setting {SETTING}_FILE={config.alert_urls_file} cannot be read by user {os.getuid()}: {why}"
            ) from None
    return [url for text in given for url in _APART.split(text.strip()) if url]


def _name(url: str, key: bytes) -> str:
    return f"{_scheme(url)} {hashlib.blake2b(url.encode(), key=key, digest_size=4).hexdigest()}"


def _scheme(url: str) -> str:
    scheme, found, _ = url.partition("://")
    return f"{scheme}://…" if found and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]{0,19}", scheme) else "no scheme"
