"""Starts the run of Airflow that carries a backfill out, with the visitor's own credentials: Airflow asks for the right
and writes down who did it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import httpx
from airflow.api_fastapi.app import API_ROOT_PATH
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from fastapi import Request

from highwater.page.backfills import DAG

log = logging.getLogger(__name__)

PATIENCE = 5
"""Seconds that Airflow may take to say yes; else catchup_control starts it within five minutes."""


def start(request: Request, number: int) -> bool:
    """Ask this very server to run the DAG for a backfill; False where that did not come about."""
    host, port = request.scope["server"]
    bearer = request.headers.get("authorization") or f"Bearer {request.cookies.get(COOKIE_NAME_JWT_TOKEN)}"
    try:
        httpx.post(
            f"{request.url.scheme}://{host}:{port}{API_ROOT_PATH or '/'}api/v2/dags/{DAG}/dagRuns",
            headers={"Authorization": bearer},
            json={"logical_date": None, "conf": {"backfill_id": number}, "note": f"asked for on the page at {_now()}"},
            timeout=PATIENCE,
            trust_env=False,
        ).raise_for_status()
    except (httpx.HTTPError, OSError) as error:
        log.warning("backfill %s is not started from here: %s", number, error)
        return False
    return True


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M}"
