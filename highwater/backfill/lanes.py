"""A lane of a backfill: claims a window, loads it, records the result, and repeats until no window is left."""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import tenacity
from psycopg2.extensions import cursor as Cursor

from highwater.backfill import requests
from highwater.incidents import alerts
from highwater.loading import derived_table, stages
from highwater.loading.stages import Pipeline
from highwater.model.errors import (
    Busy,
    ConfigurationError,
    Held,
    HighwaterError,
    NotOver,
    SourceIncomplete,
    SourceUnavailable,
)
from highwater.model.windows import Window
from highwater.store import breakers, sentences, warehouse
from highwater.store.ledger import Run
from highwater.store.publish import Landed

log = logging.getLogger(__name__)

TRIES = 4
"""Number of tries of a window whose source is unavailable, incomplete or busy, before it counts as failed."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0
"""Seconds between two tries: exponential backoff with jitter."""
TURN = 1.0
"""Seconds between two checks of a lane that waits for another to end."""
SHIFT = 300.0
"""Seconds after which a lane gives up its slot if another backfill waits for one, and queues again."""


def find_pipeline(cursor: Cursor, dataset: str, folder: Path) -> Pipeline:
    """The pipeline of a dataset, from the file in the DAGs folder that defines its DAG.

    There is no registry: any Pipeline at module level, or in a list, tuple or dict there, is found.

    Raises:
        ConfigurationError: no such file, or no pipeline of the dataset in it.
    """
    cursor.execute("SELECT dag_id FROM control.datasets WHERE dataset = %s", (dataset,))
    dag_id = warehouse.fetch_value(cursor)
    named = folder / f"{dag_id}.py"
    for file in [named] if named.is_file() else sorted(f for f in folder.rglob("*.py") if dag_id in f.read_text()):
        for pipeline in _pipelines(file):
            if pipeline.dataset == dataset:
                return pipeline
    raise ConfigurationError(
        f"no Pipeline for dataset {dataset!r}: expected one at the top of {dag_id}.py in the DAGs folder (its DAG in "
        f"control.datasets), such as SALES = Pipeline(dataset={dataset!r}, …)"
    )


def _pipelines(file: Path) -> Iterator[Pipeline]:
    spec = importlib.util.spec_from_file_location(f"pipelines_of_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigurationError(f"{file.name} in the DAGs folder cannot be imported: {sentences.of(error)}") from error
    for value in vars(module).values():
        yield from _within(value)


def _within(value: Any) -> Iterator[Pipeline]:
    if isinstance(value, Pipeline):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _within(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _within(item)


def work(number: int, pipeline: Pipeline, run: Run) -> bool:
    """Load one window after the other. Returns True when none is left, False to let another backfill have the slot.

    The connection that claims windows is open for as long as the lane lives: when the lane is killed, the warehouse
    gives its window to another lane.

    Raises:
        psycopg2.OperationalError: the warehouse is unavailable. The next lane takes the window again.
    """
    # Its answer is ignored: a configuration error fails at each window, so that the window, its attempt and the breaker
    # record it.
    breakers.still_stopped(pipeline.dataset)
    ends = time.monotonic() + SHIFT
    with warehouse.autocommitting("loader") as cursor:
        while True:
            if time.monotonic() >= ends:
                if _others_wait(cursor, number):
                    return False
                ends = time.monotonic() + SHIFT
            cursor.execute("SELECT * FROM control.next_backfill_window(%s, %s)", (number, run.run_id))
            turn = warehouse.fetch(cursor)
            if turn.verdict == "end":
                log.info("backfill %s: %s", number, turn.why)
                return True
            if turn.verdict == "wait":
                time.sleep(TURN)
                continue
            _load_claimed(cursor, turn, number=number, pipeline=pipeline, run=run)


def _others_wait(cursor: Cursor, number: int) -> bool:
    """Whether another backfill may wait for a slot, even one that only needs it to end a lane without work."""
    cursor.execute(
        "SELECT EXISTS (SELECT FROM control.backfills AS b WHERE b.backfill_id <> %s"
        " AND (b.state = 'requested' OR NOT b.run_is_over))",
        (number,),
    )
    return bool(warehouse.fetch_value(cursor))


def _load_claimed(cursor: Cursor, turn: Any, *, number: int, pipeline: Pipeline, run: Run) -> None:
    """Load a window that this lane holds and record the result. A window that fails does not end the lane."""
    window = Window(turn.window_range.lower, turn.window_range.upper)
    state, version, said = "landed", None, None
    try:
        landed = _land_when_free(pipeline, window, run)
        version = landed.version
        log.info("backfill %s: %s %s %s as version %s", number, pipeline.dataset, window, landed.outcome, version)
        # If this window tested whether a stopped dataset works again, the others follow at once.
        breakers.still_stopped(pipeline.dataset)
    except (psycopg2.OperationalError, psycopg2.InterfaceError):
        raise
    except Held as error:
        # A user rolled the window back while it was loading: a decision, not a failure.
        state, said = "skipped", sentences.of(error)
        log.info("backfill %s: %s", number, said)
    except Exception as error:
        state, said = "failed", sentences.of(error)
        # Our own errors need no stack trace.
        log.log(
            logging.WARNING, "backfill %s: %s %s failed: %s", number, pipeline.dataset, window, said,
            exc_info=None if isinstance(error, HighwaterError) else error,
        )  # fmt: skip
    try:
        _end(cursor, turn.window_no, state, version, said)
    except ConfigurationError as refused:
        # It landed, and was taken out of the ledger since.
        _end(cursor, turn.window_no, "failed", None, str(refused))
    log.info("%s", requests.sentence(requests.progress(cursor, number)))
    alerts.look()


def _end(cursor: Cursor, window_no: int, state: str, version: int | None, said: str | None) -> None:
    with requests.in_words():
        cursor.execute("SELECT control.end_backfill_window(%s, %s, %s, %s)", (window_no, state, version, said))


def _land_when_free(pipeline: Pipeline, window: Window, run: Run) -> Landed:
    for attempt in tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda error: (
                isinstance(error, SourceUnavailable | SourceIncomplete | NotOver | Busy) and not error.is_final
            )
        ),
        wait=tenacity.wait_random_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE),
        stop=tenacity.stop_after_attempt(TRIES),
        before_sleep=tenacity.before_sleep_log(log, logging.INFO),
        reraise=True,
    ):
        with attempt:
            tries = attempt.retry_state.attempt_number
            mine = Run(run.dag_id, run.run_id, tries, last_try=tries == TRIES)
            return load(pipeline, window, mine)
    raise AssertionError("tenacity raises what is left")


def load(pipeline: Pipeline, window: Window, run: Run) -> Landed:
    """Load one window from its source into the published table, recording an attempt at each stage.

    A dataset without a source of its own is derived from published data.

    Raises:
        SourceIncomplete, NotOver, SourceUnavailable, Busy: a retry may succeed.
        DataRejected, ConfigurationError: a retry fails again.
    """
    if not pipeline.connection:
        return derived_table.land_window(pipeline, window, run)
    return stages.land_window(pipeline, window, run)
