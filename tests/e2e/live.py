"""A whole platform for a test: its own home, server and Airflow with a real scheduler."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from waiting import wait_until

from highwater.environment import settings
from highwater.local import environment as local_environment
from highwater.local import server
from highwater.local.platform import LocalAirflow
from highwater.setup import bootstrap
from highwater.store import warehouse

DATASET, DAG = "daily_sales", "historical_sales_migration"
PATIENCE = 600
"""Seconds after which waiting ends in an error; nothing is judged by how long it took."""


class Live:
    """The running platform and what a test asks of it."""

    def __init__(self, airflow: LocalAirflow) -> None:
        self.airflow = airflow

    def rows(self, query: str, parameters: Sequence[Any] = (), role: str = "analyst") -> list[Any]:
        """The rows a query gives in the warehouse."""
        with warehouse.session(role) as cursor:
            cursor.execute(query, parameters)
            return cursor.fetchall()

    def value(self, query: str, parameters: Sequence[Any] = ()) -> Any:
        """The one value a query gives in the warehouse."""
        ((value,),) = self.rows(query, parameters)
        return value

    def command(self, *arguments: str) -> str:
        """Run ``airflow …`` as a person would; returns what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=local_environment.environment(settings.get().ui_port),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def wait(self, what: str, condition: Callable[[], Any]) -> Any:
        """Look until the condition holds, and return what it gave; an Airflow that died or endless time is an error."""
        deadline = time.monotonic() + PATIENCE
        while not (seen := condition()):
            dead = self.airflow.dead()
            assert not dead, f"waiting for {what}: {dead[0]} died: {self.airflow.tail(dead[0])}"
            assert time.monotonic() < deadline, f"waited {PATIENCE} s for {what}: {self.unfinished()}"
            time.sleep(0.2)
        return seen

    def strip(self) -> str:
        """The states of the expected windows, in order."""
        return str(
            self.value(
                "SELECT string_agg(state, ' ' ORDER BY window_start) FROM ops.window_status"
                " WHERE dataset = %s AND is_due",
                (DATASET,),
            )
        )

    def stop_in_transaction(self, component: str) -> bool:
        """Suspend a component in the middle of a transaction; returns False, and lets it run, when it is in none."""
        process = psutil.Process(self.airflow.pid(component))
        process.suspend()
        ports = [connection.laddr.port for connection in process.net_connections("tcp")]
        with warehouse.session("airflow", settings.get().metadata_database) as cursor:
            cursor.execute(
                "SELECT FROM pg_stat_activity AS a JOIN pg_locks AS l USING (pid) WHERE a.client_port = ANY(%s)"
                " AND a.state = 'idle in transaction' AND l.relation = 'dag_run'::regclass AND l.mode = 'RowShareLock'",
                (ports,),
            )
            if cursor.fetchall():
                return True
        process.resume()
        return False

    def unfinished(self) -> str:
        """The due windows that have not landed and why, what Airflow has of unfinished runs, and its last words."""
        windows = self.rows(
            "SELECT dataset, window_start, state, reason FROM ops.window_status"
            " WHERE is_due AND state NOT IN ('landed', 'skipped') ORDER BY 1, 2 LIMIT 20"
        )
        with warehouse.session("airflow", settings.get().metadata_database) as cursor:
            cursor.execute(
                "SELECT t.dag_id, t.run_id, t.task_id, t.state, t.try_number, t.max_tries, t.start_date, t.end_date"
                " FROM task_instance AS t JOIN dag_run AS r USING (dag_id, run_id)"
                " WHERE r.state IN ('running', 'failed') AND t.state IS NOT NULL AND t.state <> 'success'"
                " ORDER BY t.start_date LIMIT 20"
            )
            tasks = cursor.fetchall()
        logs = [f"{component}: {self.airflow.tail(component)}" for component in ("scheduler", "api-server")]
        return "\n".join(map(str, [*windows, *tasks, *logs]))

    def wait_until_whole(self) -> None:
        """Until every due window landed and its run has ended well."""
        self.wait("every due window", lambda: set(self.strip().split()) == {"landed"})
        self.wait("every run to end", lambda: {run.state for run in self.runs()} == {"success"})

    def runs(self) -> list[Any]:
        """Every run of the month's DAG that Airflow knows: run_type, state and day, oldest first."""
        with warehouse.session("airflow", settings.get().metadata_database) as cursor:
            cursor.execute(
                "SELECT run_type, state, logical_date::date::text AS day FROM dag_run WHERE dag_id = %s ORDER BY 3",
                (DAG,),
            )
            return cursor.fetchall()

    def hashes(self) -> dict[str, str]:
        """The content hash of every landed day."""
        found = self.rows(
            "SELECT lower(window_range)::date::text AS day, content_hash FROM ops.window_ledger WHERE dataset = %s",
            (DATASET,),
        )
        return {row.day: row.content_hash for row in found}


@contextmanager
def platform(home: Path, dags: Sequence[str] = (DAG,), **environment: str) -> Iterator[Live]:
    """Start a platform of its own in ``home`` with these DAGs alone; stops it and removes its server at the end."""
    bundle = {"name": "dags-folder", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle"}
    defaults = {
        "SIMULATION_ROWS_PER_DAY": "400",
        "SIMULATION_LATE_CLOSE_SECONDS": "0",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(
            [bundle | {"kwargs": {"path": str(home / "dags")}}]
        ),
    }
    (home / "dags").mkdir()
    for dag in dags:
        shutil.copy(settings.ROOT / f"dags/{dag}.py", home / "dags")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("HIGHWATER_", "SIMULATION_", "AIRFLOW"))]:
            patch.delenv(name)
        for name, value in (defaults | environment | {"HIGHWATER_HOME": str(home)}).items():
            patch.setenv(name, value)
        settings.get.cache_clear()
        server.start()
        try:
            bootstrap.run()
            with LocalAirflow() as airflow:
                yield Live(airflow)
        finally:
            server.remove()
            patch.undo()
            settings.get.cache_clear()


def restart_the_warehouse() -> None:
    """What its clients see of a restart: every session ends, and for a moment none begins.

    The server itself goes on, since here Airflow's metadata lies on it too, and losing that would prove nothing.
    """
    name = settings.get().warehouse_database
    with closing(warehouse.connect("postgres", "postgres")) as link, link.cursor() as cursor:
        link.autocommit = True
        cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")

        def nobody_is_left() -> bool:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
            return cursor.rowcount == 0

        wait_until("every session to end", nobody_is_left, seconds=60)
        cursor.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
