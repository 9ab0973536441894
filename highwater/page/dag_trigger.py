"""Starts the Airflow run of a backfill with the visitor's own credentials, so that Airflow checks their rights and logs
who started it."""

from __future__ import annotations

import logging

import httpx
from airflow.api_fastapi.app import API_ROOT_PATH
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from fastapi import Request

from highwater.backfill import requests
from highwater.page import db
from highwater.store import sentences

log = logging.getLogger(__name__)

PATIENCE = 5
"""Timeout in seconds for Airflow's answer; after it, catchup_control starts the run within five minutes."""


def start(request: Request, number: int) -> bool:
    """Trigger the DAG run of a backfill through this server's own API; returns False if that failed."""
    with db.session() as cursor:
        run_id, conf = requests.conf_of(cursor, number)
    host, port = request.scope["server"]
    bearer = request.headers.get("authorization") or f"Bearer {request.cookies.get(COOKIE_NAME_JWT_TOKEN)}"
    try:
        answer = httpx.post(
            f"{request.url.scheme}://{host}:{port}{API_ROOT_PATH or '/'}api/v2/dags/{requests.DAG}/dagRuns",
            headers={"Authorization": bearer},
            json={"dag_run_id": run_id, "logical_date": None, "conf": conf},
            timeout=PATIENCE,
            trust_env=False,
        )
        # Another caller may have been faster.
        if answer.status_code != httpx.codes.CONFLICT:
            answer.raise_for_status()
    except (httpx.HTTPError, OSError) as error:
        reason = sentences.of(error)
        log.warning("backfill %s was not started from the page: %s", number, reason)
        with db.session("operator") as cursor:
            requests.note_not_started(cursor, number, reason)
        return False
    return True
