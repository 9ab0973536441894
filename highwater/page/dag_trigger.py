"""Starts the run of Airflow that carries a backfill out, with the visitor's own credentials: Airflow asks for the right
and writes down who did it."""

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
"""Seconds that Airflow may take to say yes; else catchup_control starts it within five minutes."""


def start(request: Request, number: int) -> bool:
    """Ask this very server to run the DAG for a backfill; False where that did not come about."""
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
        # Somebody else may have been faster.
        if answer.status_code != httpx.codes.CONFLICT:
            answer.raise_for_status()
    except (httpx.HTTPError, OSError) as error:
        said = sentences.of(error)
        log.warning("backfill %s is not started from here: %s", number, said)
        with db.session("operator") as cursor:
            requests.note_not_started(cursor, number, said)
        return False
    return True
