"""A lane of a backfill: takes the next window, carries it through the stages, says how it ended, until none is left."""

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
"""So often a window is tried whose source is away, not ready or busy; then it has failed."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0
"""Seconds between two tries, twice as long each time, with jitter."""
TURN = 1.0
"""Seconds between two looks of a lane that waits for another to end."""
SHIFT = 300.0
"""Seconds after which a lane lets another backfill have its slot, if one waits, and asks for one again."""


def find_pipeline(cursor: Cursor, dataset: str, folder: Path) -> Pipeline:
    """The pipeline of a dataset, from the file of the DAG that owns it in the folder of DAGs.

    Nothing is registered anywhere: a Pipeline at the top of the file, or within a list, tuple or dict there, is found.

    Raises:
        ConfigurationError: there is no such file, or no pipeline of the dataset in it.
    """
    cursor.execute("SELECT dag_id FROM control.datasets WHERE dataset = %s", (dataset,))
    dag_id = warehouse.fetch_value(cursor)
    named = folder / f"{dag_id}.py"
    for file in [named] if named.is_file() else sorted(f for f in folder.rglob("*.py") if dag_id in f.read_text()):
        for pipeline in _pipelines(file):
            if pipeline.dataset == dataset:
                return pipeline
    raise ConfigurationError(
        f"dataset {dataset!r}: {dag_id}.py in the folder of DAGs, its owner by control.datasets, has no Pipeline of it "
        f"at its top: give it one, SALES = Pipeline(dataset={dataset!r}, …)"
    )


def _pipelines(file: Path) -> Iterator[Pipeline]:
    spec = importlib.util.spec_from_file_location(f"pipelines_of_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigurationError(f"{file.name} in the folder of DAGs cannot be read: {sentences.of(error)}") from error
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
    """Load one window after the other until none is left for this lane; returns False to let another backfill go on.

    The connection that claims windows stands for as long as the lane lives: when the lane is killed, the warehouse
    gives its window to another.

    Raises:
        psycopg2.OperationalError: the warehouse is away. The window is taken again by whoever comes next.
    """
    # What is configured wrongly fails as each window is tried, so that the window, its attempt and the breaker say it.
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
            _carry(cursor, turn, number=number, pipeline=pipeline, run=run)


def _others_wait(cursor: Cursor, number: int) -> bool:
    """Whether another backfill may wait for a slot, be it only to end the lanes it has no more work for."""
    cursor.execute(
        "SELECT EXISTS (SELECT FROM control.backfills AS b WHERE b.backfill_id <> %s"
        " AND (b.state = 'requested' OR NOT b.run_is_over))",
        (number,),
    )
    return bool(warehouse.fetch_value(cursor))


def _carry(cursor: Cursor, turn: Any, *, number: int, pipeline: Pipeline, run: Run) -> None:
    """Load a window that this lane holds, and say how that ended: no window ends the lane."""
    window = Window(turn.window_range.lower, turn.window_range.upper)
    state, version, said = "landed", None, None
    try:
        landed = _land_when_free(pipeline, window, run)
        version = landed.version
        log.info("backfill %s: %s %s %s as version %s", number, pipeline.dataset, window, landed.outcome, version)
        # Where it was tried to see whether a stopped dataset is mended, the rest follows at once.
        breakers.still_stopped(pipeline.dataset)
    except (psycopg2.OperationalError, psycopg2.InterfaceError):
        raise
    except Held as error:
        # Somebody rolled the window back while it was on its way: that is decided, and nothing has failed.
        state, said = "skipped", sentences.of(error)
        log.info("backfill %s: %s", number, said)
    except Exception as error:
        state, said = "failed", sentences.of(error)
        # What we can name needs no stack trace.
        log.log(
            logging.WARNING, "backfill %s: %s %s failed: %s", number, pipeline.dataset, window, said,
            exc_info=None if isinstance(error, HighwaterError) else error,
        )  # fmt: skip
    try:
        _end(cursor, turn.window_no, state, version, said)
    except ConfigurationError as refused:
        # It landed, and somebody has taken it out of the ledger since.
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
    """Carry one window from its source to the published table, recording an attempt at each stage.

    A dataset without a source of its own is made from what landed.

    Raises:
        SourceIncomplete, NotOver, SourceUnavailable, Busy: later, perhaps.
        DataRejected, ConfigurationError: trying again changes nothing.
    """
    if not pipeline.connection:
        return derived_table.land_window(pipeline, window, run)
    return stages.land_window(pipeline, window, run)
