"""The building blocks that DAGs share: a window from its source to the published table, a stage a task."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from highwater import alerts, ledger, publish, sources, staging, warehouse
from highwater.errors import AuditFailed, ConfigurationError, RefusedData
from highwater.ledger import Attempt, Run
from highwater.publish import Staged
from highwater.windows import Window, window_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pipeline:
    """A dataset and what it is made of: ``sql/<folder>/``, an Airflow connection, a suite in ``expectations/``."""

    dataset: str
    folder: str
    connection: str
    suite: str
    window: Window | None = None
    """The window to load; None: the one of the run's logical date."""


@task
def validate_availability(pipeline: Pipeline) -> dict[str, Any]:
    """Is the source there, and is the window complete in it? Refuses bad configuration before any data moves."""
    with stage(pipeline.dataset, "validate_availability", window=pipeline.window) as attempt:
        from highwater import quality

        for statement in ("extract.sql", "clean.sql"):
            warehouse.read_sql(f"{pipeline.folder}/{statement}")
        with warehouse.session("loader") as cursor:
            published = ledger.published_columns(cursor, pipeline.dataset)
        quality.check_suite(pipeline.suite, published, _audit_parameters(attempt.window, 0))
        with sources.snapshot(pipeline.connection) as source:
            complete = sources.check_complete(source, pipeline.folder, attempt.window, pipeline.dataset)
        attempt.note = f"complete at {pipeline.connection}, {_count(complete.expected_rows)} rows by its own count"
        return asdict(complete)


@task
def extract(pipeline: Pipeline, available: dict[str, Any]) -> dict[str, Any]:
    """Stream the window from the source into a new set in staging."""
    with stage(pipeline.dataset, "extract", window=pipeline.window) as attempt:
        name = staging.new_set(pipeline.dataset, attempt.window)
        with (
            warehouse.session("loader") as target,
            sources.snapshot(pipeline.connection) as source,
        ):
            base_version = ledger.version(target, pipeline.dataset, attempt.window)
            source.execute("SELECT pg_current_snapshot()::text AS snapshot")
            snapshot = source.fetchone().snapshot  # type: ignore[union-attr]
            rows = staging.extract(source, target, pipeline.folder, name, attempt.window)
        attempt.rows = rows
        return asdict(Staged(name, rows, base_version, snapshot, available["expected_rows"]))


@task
def transform(pipeline: Pipeline, extracted: dict[str, Any]) -> dict[str, Any]:
    """Clean the set into the published shape; each row that is refused goes to quarantine with its reason."""
    with stage(pipeline.dataset, "transform", window=pipeline.window) as attempt, warehouse.session("loader") as cursor:
        staged = Staged(**extracted)
        cleaned = staging.clean(cursor, pipeline.folder, staged.name, pipeline.dataset, attempt.window)
        attempt.rows = cleaned.rows_clean
        attempt.note = f"{cleaned.rows_rejected:,} rejected, {cleaned.rows_deduplicated:,} duplicates"
        return asdict(replace(staged, deduplicated=cleaned.rows_deduplicated, rejected=cleaned.rows_rejected))


@task
def audit(pipeline: Pipeline, cleaned: dict[str, Any]) -> dict[str, Any]:
    """Run the suite on the set before anyone can read it; a failed audit publishes nothing."""
    with stage(pipeline.dataset, "audit", window=pipeline.window) as attempt:
        from highwater import quality

        staged = Staged(**cleaned)
        source_rows = staged.rows if staged.expected_rows is None else staged.expected_rows
        report = quality.audit(
            pipeline.suite,
            "staging",
            f"{staged.name}_clean",
            _audit_parameters(attempt.window, source_rows - staged.rejected - staged.deduplicated),
        )
        with warehouse.session("loader") as cursor:
            quality.store(cursor, report, dataset=pipeline.dataset, window=attempt.window, run=attempt.run)
        attempt.note = report.sentence()
        if not report.success:
            raise AuditFailed(f"{pipeline.dataset} {attempt.window} is not published: {report.sentence()}")
        return cleaned


@task
def load(pipeline: Pipeline, audited: dict[str, Any]) -> dict[str, Any]:
    """Publish the set and write the ledger row, in one transaction."""
    with stage(pipeline.dataset, "load", window=pipeline.window) as attempt:
        landed = publish.publish_window(pipeline.dataset, attempt.window, Staged(**audited), attempt.run)
        attempt.rows = landed.rows_published
        attempt.note = f"{landed.outcome} as version {landed.version}, content {landed.content_hash[:12]}"
        return asdict(landed)


@task
def summarise(pipeline: Pipeline, landed: dict[str, Any]) -> None:
    """Write what the window cost, and clear what earlier attempts at it left in staging."""
    with stage(pipeline.dataset, "summarise", window=pipeline.window) as attempt, warehouse.session("loader") as cursor:
        attempt.note = f"{landed['outcome']}, " + ledger.summarise(
            cursor, pipeline.dataset, attempt.window, attempt.run
        )
        attempt.rows = landed["rows_published"]
        staging.drop_obsolete(cursor, pipeline.dataset, attempt.window, attempt.run)


@contextmanager
def stage(dataset: str, name: str, *, any_time: bool = False, window: Window | None = None) -> Iterator[Attempt]:
    """One try of a stage on a window, else on that of the run's logical date.

    An error that a retry cannot mend ends the task at once. However it ends, it is seen whether that begins or ends an
    incident. With ``any_time`` a run that was triggered without a logical date is about the window it was triggered in.
    """
    context = get_current_context()
    ti, dag_run = context["ti"], context["dag_run"]
    run = Run(dag_run.dag_id, dag_run.run_id, ti.try_number, last_try=ti.try_number > ti.max_tries)
    moment = dag_run.logical_date or (dag_run.run_after if any_time else None)
    try:
        if window is None:
            with warehouse.session("loader") as cursor:
                window = window_of(moment, ledger.grid(cursor, dataset))
        with ledger.attempt(dataset, window, name, run) as attempt:
            yield attempt
    except (ConfigurationError, RefusedData) as error:
        raise AirflowFailException(str(error)) from error
    finally:
        alerts.look()


def _audit_parameters(window: Window, expected_rows: int) -> dict[str, object]:
    """What a suite may refer to as ``{"$PARAMETER": …}``."""
    return sources.bounds(window) | {"expected_rows": expected_rows}


def _count(rows: int | None) -> str:
    return "an unknown number of" if rows is None else f"{rows:,}"
