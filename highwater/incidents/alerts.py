"""Incidents: look whether one begins, grows or ends, and send what people are to be told to the addresses that are set.

What is sent lies in an outbox in the warehouse (ops.alerts), written in the transaction that opens, escalates or closes
an incident, and whoever looks next sends it: a task that was killed owes nobody a message. A message is sent again only
where a process died between the receiver's yes and writing it down, so at least once; each carries its id.
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
"""Seconds that a receiver gets to take a message."""
QUICK_TRIES = 2
"""So often a message is tried in one go; then it waits in the outbox, longer each time."""
MOST_TRIES = 50
"""After so many goes, about half a day, a message is given up."""

_APART = re.compile(r",?\s+|,(?=[A-Za-z][A-Za-z0-9+.-]*://)")


@dataclass(frozen=True)
class Destination:
    """One address: its name in the outbox is made from the address and a secret, so that it gives nothing away."""

    name: str
    url: str


class NotTaken(Exception):
    """A receiver did not take a message. Its text is safe to store: no address, no answer of the receiver."""


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
    """What failed, in its own words; None where the kind says all."""


def look() -> None:
    """See what began or ended since somebody last looked, and send what is waiting. Never raises: data goes first.

    Does nothing to the incidents of a warehouse that is away: whoever looks next sees the same.
    """
    _look(only_if_troubled=False, send=True)


def look_if_troubled() -> None:
    """As `look`, where something is or went wrong lately: for a task that went well, which begins no incident.

    What time alone begins, as data that grows old, is left to `incident_watch`.
    """
    _look(only_if_troubled=True, send=True)


def _look(*, only_if_troubled: bool, send: bool) -> None:
    try:
        with warehouse.autocommitting("loader") as cursor:
            # Asked every time: it also notes when the server was started.
            if _troubled(cursor) or not only_if_troubled:
                _see(cursor)
            if send:
                _send(cursor)
    except Exception:
        log.warning("incidents could not be looked at now; whoever looks next will", exc_info=True)


def _see(cursor: Cursor) -> None:
    """The look itself. One that fails by what it found fails again: it is written down, so that somebody mends it."""
    try:
        cursor.execute("SELECT opened, escalated, closed FROM ops.reconcile_incidents()")
    except psycopg2.Error as error:
        if driver_errors.kind_of(error) not in (Kind.CONFIGURATION, Kind.DATA):
            raise
        log.exception("the look for incidents failed")
        cursor.execute(
            "SELECT ops.record_health_check('incidents', 'unwell', %s, 0, 'the look for incidents')",
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
    """For a DAG's ``on_failure_callback``: its tasks may all have been killed, and then none of them has looked.

    It runs where DAG files are parsed, which may have neither the addresses nor a way out: the next task that looks,
    `incident_watch` at the latest, sends what this one found.
    """
    _look(only_if_troubled=False, send=False)


def send_waiting() -> int:
    """Send what waits in the outbox, in order, one process at a time; returns the number of messages taken.

    A receiver that is away costs a few seconds at most, and its next try is not before a growing wait is over.
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
    """Whether the outbox is ours now; the turn ends with the connection, so a killed sender blocks nobody."""
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
            log.warning("alert %s was not taken by %s: %s", message.alert_no, message.destination, error)
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
    """Hand one message to one address.

    Raises:
        NotTaken: it was refused, or not taken in time.
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
        raise NotTaken(f"answered {status}" if status else f"no answer within {TIMEOUT:g} s, or not to be reached")


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """Keep Apprise's log out of ours, since it may name a token or a host; yields its lines for whoever may look."""
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
    """The addresses of HIGHWATER_ALERT_URLS and of the file HIGHWATER_ALERT_URLS_FILE, each once, in their order.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    key = credentials.password("loader").encode()[:64]
    return [Destination(_name(url, key), url) for url in dict.fromkeys(_addresses())]


def check_addresses() -> None:
    """Refuse a start with an address that nothing can be sent to; does nothing when none is set.

    Raises:
        ConfigurationError: names the setting and which address it is, and shows no more of it than its scheme; or the
            file with addresses cannot be read.
    """
    if not (urls := _addresses()):
        return
    import apprise

    for place, url in enumerate(urls, 1):
        with _quiet():
            known = apprise.Apprise.instantiate(url, suppress_exceptions=True)
        if known is None:
            raise ConfigurationError(
                f"setting {SETTING} is refused: address {place} of {len(urls)} ({_scheme(url)}) is none that Apprise"
                " can send to. An address looks like json://host/path, mailto://…, slack://…; several have a comma"
                " or a blank between them"
            )


def open_incidents(cursor: Cursor) -> list[Incident]:
    """The incidents that are open, oldest first."""
    warehouse.run_file(cursor, "ops/open_incidents.sql")
    return [Incident(*row) for row in cursor.fetchall()]


def undelivered(cursor: Cursor) -> list[dict[str, Any]]:
    """What people have not been told though an address is set: waiting for its next try, or given up."""
    cursor.execute(
        "SELECT title, event, created_at, destination, state, tries, last_error FROM ops.undelivered_alerts"
        " WHERE destination IS NOT NULL ORDER BY alert_no"
    )
    return [dict(row._asdict()) for row in warehouse.fetch_all(cursor)]


def acknowledge(incident: int, by: str, note: str) -> None:
    """Write down that a person has seen an incident: it is escalated no more, and may close.

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
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ConfigurationError(
                f"setting {SETTING}_FILE={config.alert_urls_file} cannot be read by user {os.getuid()}: {why}"
            ) from None
    return [url for text in given for url in _APART.split(text.strip()) if url]


def _name(url: str, key: bytes) -> str:
    return f"{_scheme(url)} {hashlib.blake2b(url.encode(), key=key, digest_size=4).hexdigest()}"


def _scheme(url: str) -> str:
    scheme, found, _ = url.partition("://")
    return f"{scheme}://…" if found and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]{0,19}", scheme) else "it has no scheme"
