"""Carries batches of payments and page views through the engine's own stages, without Airflow around them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from highwater.environment import settings
from highwater.incidents import alerts
from highwater.loading import staging
from highwater.loading.stages import Pipeline
from highwater.model.windows import Window
from highwater.recovery.backlog import Recovered
from highwater.recovery.checks import NoOrphans, SameTotals
from highwater.sources import sources
from highwater.store import ledger, publish, warehouse
from highwater.store.ledger import Run
from highwater.store.publish import Landed, Staged
from simulation.batches import BILLING, WEB

DATASETS = {"payments": BILLING, "page_views": WEB}
RECOVERED = [
    Recovered(
        Pipeline("payments", "system_recovery_processing/payments", "billing", "payments"),
        (SameTotals("equal to the source", without_refused=True), NoOrphans("orders are there")),
    ),
    Recovered(
        Pipeline("page_views", "system_recovery_processing/page_views", "web", "page_views"),
        (SameTotals("within tolerance of the source", tolerance=0.001),),
    ),
]
"""As the DAG file declares them, which these tests do not load: it imports Airflow."""
FIRST = datetime(2026, 10, 28, tzinfo=UTC)
STEP = timedelta(hours=6)
DUE = 14
"""Windows of each that are due by noon of the tests' anchor but one: the last closes at 12:05."""


def window(number: int) -> Window:
    """The window by its number, from 0."""
    return Window(FIRST + number * STEP, FIRST + (number + 1) * STEP)


def stage(dataset: str, wanted: Window) -> Staged:
    """Extract and clean the window into a set of its own."""
    folder, schema = f"system_recovery_processing/{dataset}", DATASETS[dataset].schema
    with closing(warehouse.connect(f"{schema}_reader", settings.get().sources_database)) as link:
        with warehouse.session("loader") as target, link.cursor() as reader:
            complete = sources.check_complete(reader, folder, wanted, dataset)
            name = staging.new_set(target, dataset, wanted, Run("test", "run a"))
            base = ledger.version(target, dataset, wanted)
            rows = staging.extract(reader, target, folder, name, wanted)
        with warehouse.session("loader") as target:
            cleaned = staging.clean(target, folder, name, wanted)
    staged = Staged(name, rows, base, "snapshot", complete.expected_rows)
    return replace(staged, deduplicated=cleaned.rows_deduplicated, rejected=cleaned.rows_rejected)


def land(dataset: str, wanted: Window, by: str = "a") -> Landed:
    """Stage and publish the window, as a recorded load, and look for incidents as a task does."""
    run = Run("test", f"run {by}")
    try:
        with ledger.attempt(dataset, wanted, "load", run):
            return publish.publish_window(dataset, wanted, stage(dataset, wanted), run)
    finally:
        alerts.look()
