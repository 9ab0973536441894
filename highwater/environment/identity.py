"""Proof that a server is this platform's own, which it gives before a password is sent to it.

Two platforms on one machine differ only in their ports, and a port is easily set for the server but not for the command
line. So the command line sends a nonce, and only a server that knows a secret of this platform can answer it. The
server's own port is part of the answer, which exposes a server that forwards the nonce to the real one.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from urllib.parse import urlsplit

import httpx

from highwater.environment import credentials, settings
from highwater.model.errors import HighwaterError

PREFIX = "/highwater-identity"
"""The path of the route on the API server."""
NONCE = r"^[A-Za-z0-9_-]{43,128}$"
"""The form of a nonce."""


class NotProven(HighwaterError):
    """A server did not prove that it is this platform's."""


def proof(nonce: str, port: int) -> str:
    """The answer of this platform's API server on ``port`` to a nonce.

    Raises:
        ConfigurationError: the secret does not exist, or this user may not read it.
    """
    message = f"highwater platform\n{port}\n{nonce}".encode()
    return hmac.new(credentials.secret("platform_proof").encode(), message, hashlib.sha256).hexdigest()


def require(server: httpx.Client) -> None:
    """Check that the server at the client's address is this platform's.

    Raises:
        NotProven: it is another platform's, or does not prove it.
        ConfigurationError: the secret does not exist, or this user may not read it.
        httpx.HTTPError: it does not answer, or fails.
    """
    nonce = secrets.token_urlsafe(32)
    answer = server.get(f"{PREFIX}/proof", params={"nonce": nonce})
    if answer.is_server_error:
        answer.raise_for_status()
    try:
        said = answer.json()
        port, given = int(said["port"]), str(said["proof"])
    except (ValueError, KeyError, TypeError):
        raise NotProven(_sentence(server, "does not prove that it is this platform's")) from None
    if not hmac.compare_digest(proof(nonce, port).encode(), given.encode()):
        raise NotProven(_sentence(server, "is another platform's"))
    asked = urlsplit(str(server.base_url))
    # On other hosts a port may be published as another one.
    if asked.hostname in ("127.0.0.1", "localhost", "::1") and port != (asked.port or 80):
        raise NotProven(_sentence(server, f"forwards requests to the one on port {port}"))


def _sentence(server: httpx.Client, what: str) -> str:
    where = str(server.base_url).rstrip("/")
    return (
        f"the server at {where} {what}, so no password was sent: set HIGHWATER_UI_PORT to the port on which the"
        f" Airflow of {settings.get().home} is served, or start it"
    )
