"""The platform's own DAGs record that they run, so that an incident opens when they do not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import psycopg2
from psycopg2.extensions import cursor as Cursor

from highwater.store import sentences, warehouse

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


def watched(work: Callable[P, R]) -> Callable[P, R]:
    """A task that records in ops.own_tasks when it begins and how it ends; one that was killed is known by its session.

    Errors in it are reported as in every other task.
    """

    @wraps(work)
    def recorded(*arguments: P.args, **named: P.kwargs) -> R:
        from airflow.sdk import get_current_context

        ti = get_current_context()["ti"]
        mine = (ti.dag_id, ti.task_id)
        with sentences.in_one_voice(), warehouse.autocommitting("loader") as cursor:
            cursor.execute("SELECT ops.begin_own_task(%s, %s, %s)", (*mine, ti.run_id))
            try:
                result = work(*arguments, **named)
            except BaseException as failure:
                state = "failed" if ti.try_number > ti.max_tries else "retrying"
                _record_end(cursor, *mine, state, sentences.of(failure))
                raise
            _record_end(cursor, *mine, "succeeded", None)
            return result

    return recorded


def _record_end(cursor: Cursor, dag_id: str, task_id: str, state: str, error: str | None) -> None:
    """Record how the task ended; a failure to record fails nothing: a task without an end counts as dead."""
    try:
        cursor.execute("SELECT ops.end_own_task(%s, %s, %s, %s)", (dag_id, task_id, state, error))
    except psycopg2.Error:
        log.warning("the end of %s of %s could not be recorded", task_id, dag_id, exc_info=True)
