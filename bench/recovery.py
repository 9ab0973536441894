"""Recovering three days by a real scheduler, beside a DAG of the same shape whose tasks do nothing: seconds."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from highwater import bootstrap, local_server, settings, warehouse
from highwater.errors import HighwaterError
from highwater.local_platform import LocalAirflow

DAG, EMPTY, WARM_UP = "system_recovery_processing", "empty_recovery", "warm_up"
PATIENCE = 1800
"""Seconds after which waiting ends in an error."""
EMPTY_DAG = """
from datetime import timedelta

from airflow.sdk import CronDataIntervalTimetable, dag, get_current_context, task

from highwater import settings

START = settings.get().days_before_anchor(3)


@task.short_circuit
def nothing() -> bool:
    return get_current_context()["dag_run"].logical_date < START + timedelta(hours=6)


@task
def backlog() -> list[int]:
    return list(range({windows}))


@task
def window(number: int) -> None: ...


@task(trigger_rule="all_done")
def end() -> None: ...


@dag(
    schedule=CronDataIntervalTimetable("15 */6 * * *", timezone="UTC"),
    start_date=START,
    catchup=True,
    max_active_runs=1,
)
def empty_recovery() -> None:
    critical = backlog.override(task_id="critical_backlog")()
    first = window.override(task_id="process_critical", pool="billing").expand(number=critical)
    others = backlog.override(task_id="non_critical_backlog", trigger_rule="all_done")()
    second = window.override(task_id="process_non_critical", pool="web").expand(number=others)
    nothing.override(task_id="check_health")() >> critical
    first >> others
    second >> end.override(task_id="validate_integrity")() >> end.override(task_id="notify")()


empty_recovery()
"""


def main(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False) -> None:
    """Let three days be recovered, then run as many empty tasks in the same order, pools and runs."""
    out = Console(stderr=as_json)
    with _platform() as dags, LocalAirflow():
        with out.status("warming up"):
            # The first task after a start pays for what all later ones find in memory.
            (dags / f"{WARM_UP}.py").write_text(EMPTY_DAG.replace("{windows}", "1").replace(EMPTY, WARM_UP))
            _seconds(WARM_UP)
        with out.status("recovering"):
            shutil.copy(settings.ROOT / f"dags/{DAG}.py", dags)
            seconds = _seconds(DAG)
        with warehouse.session("analyst") as cursor:
            cursor.execute("SELECT count(*) FROM ops.window_ledger WHERE dataset = 'payments'")
            windows = warehouse.fetch_value(cursor)
        with out.status("running empty tasks"):
            (dags / f"{EMPTY}.py").write_text(EMPTY_DAG.replace("{windows}", str(windows)))
            empty = _seconds(EMPTY)
    result = {"windows": 2 * windows, "seconds": seconds, "empty_seconds": empty, "ratio": seconds / empty}
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        out.print(f"{2 * windows} windows in {seconds:.1f} s, empty tasks {empty:.1f} s, ratio {seconds / empty:.2f}")


@contextmanager
def _platform() -> Iterator[Path]:
    """A platform of its own in a scratch folder; yields the folder of its DAGs."""
    home = Path(tempfile.mkdtemp(prefix="highwater-bench-"))
    home.chmod(0o755)
    (home / "dags").mkdir()
    bundle = {
        "name": "dags-folder",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(home / "dags"), "refresh_interval": 1},
    }
    os.environ["HIGHWATER_HOME"] = str(home)
    os.environ["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"] = json.dumps([bundle])
    settings.get.cache_clear()
    try:
        local_server.start()
        bootstrap.run()
        yield home / "dags"
    finally:
        local_server.remove()
        shutil.rmtree(home)


def _seconds(dag_id: str) -> float:
    """From the start of the DAG's first run to the end of its last, once all that are due have ended well."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with warehouse.session("postgres", settings.get().metadata_database) as cursor:
            cursor.execute(
                "SELECT count(*) AS runs, bool_and(state = 'success') AS ended, bool_or(state = 'failed') AS failed,"
                " extract(EPOCH FROM max(end_date) - min(start_date)) AS seconds,"
                " max(data_interval_end) > now() - interval '6 hours' AS newest FROM dag_run WHERE dag_id = %s",
                (dag_id,),
            )
            row = warehouse.fetch(cursor)
        if row.failed:
            raise HighwaterError(f"a run of {dag_id} failed")
        if row.runs and row.ended and row.newest:
            return float(row.seconds)
        time.sleep(0.5)
    raise HighwaterError(f"{dag_id} has not ended within {PATIENCE} s")


if __name__ == "__main__":
    typer.run(main)
