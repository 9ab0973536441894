"""Airflow's REST API, as the admin of its UI: logs in once the server proves to be this platform's, starts runs."""

from __future__ import annotations

import logging
import os
from typing import Any
from urllib.parse import urlsplit

import httpx

from highwater.environment import credentials, identity, settings
from highwater.environment.identity import NotProven
from highwater.model.errors import ConfigurationError, HighwaterError
from highwater.store import sentences

# httpx logs each request, which would clutter the command's output.
logging.getLogger("httpx").setLevel(logging.WARNING)

INTERNAL = "AIRFLOW__CORE__EXECUTION_API_SERVER_URL"
"""Where tasks reach the API server; set if it is not on this machine."""


class ApiUnavailable(HighwaterError):
    """The API server is unavailable, or refuses the request."""


def log_in(timeout: float = 20) -> httpx.Client:
    """A logged-in client below ``/api/v2``; each request gets ``timeout`` seconds. The caller closes it.

    Raises:
        NotProven: the server is not this platform's, and was sent no password.
        httpx.HTTPError: the API server is unavailable, or refuses the request.
    """
    with _client(_address(), timeout) as server:
        identity.require(server)
        login = {"username": "admin", "password": credentials.secret("admin_password")}
        token = server.post("/auth/token", json=login).raise_for_status().json()["access_token"]
    return _client(f"{_address()}/api/v2", timeout, {"Authorization": f"Bearer {token}"})


def _client(address: str, timeout: float, headers: dict[str, str] | None = None) -> httpx.Client:
    """A client that ignores the proxies of the environment."""
    mounts = {"http://": None, "https://": None}
    return httpx.Client(base_url=address, timeout=timeout, headers=headers, mounts=mounts)


def start(dag_id: str, run_id: str, conf: dict[str, Any]) -> bool:
    """Start a run; returns False if one with that id exists.

    Raises:
        ApiUnavailable: the API server is unavailable, or refuses; carries its reason.
    """
    try:
        with log_in(timeout=10) as client:
            answer = client.post(
                f"/dags/{dag_id}/dagRuns", json={"dag_run_id": run_id, "logical_date": None, "conf": conf}
            )
            if answer.status_code == httpx.codes.CONFLICT:
                return False
            answer.raise_for_status()
    except (NotProven, ConfigurationError, httpx.HTTPError) as error:
        raise ApiUnavailable(sentences.of(error)) from None
    return True


def _address() -> str:
    internal = urlsplit(os.environ.get(INTERNAL, ""))
    return f"{internal.scheme}://{internal.netloc}" if internal.netloc else settings.get().ui_address
