"""A whole platform that is struck: server, Airflow, sources, clock, a receiver of alerts, and its supervisor."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]
import psycopg2
import tenacity
from psycopg2.extensions import connection as Connection
from receiver import Receiver, receiver

from chaos.datasets import DAGS
from chaos.schedule import BYSTANDERS
from highwater.airflow import api
from highwater.environment import files, settings
from highwater.local import environment as local_environment
from highwater.local import server
from highwater.local.platform import LocalAirflow, session_of
from highwater.model import clock
from highwater.model.errors import HighwaterError
from highwater.setup import bootstrap
from highwater.store import warehouse
from simulation import batches, channels, sales, shop

PATIENCE = 420
"""Seconds after which waiting ends in an error; nothing is judged by how long it took."""
POLL, CALM_POLL = 0.03, 0.3
"""Seconds between two looks for a moment to strike, and for the end of all work."""
MEASURES = {
    "HIGHWATER_HISTORY_DAYS": "2",
    "HIGHWATER_CHANNEL_DAYS": "2",
    "SIMULATION_ROWS_PER_DAY": "400",
    "SIMULATION_LATE_CLOSE_SECONDS": "0",
    "SIMULATION_LATE_COMMIT_SECONDS": "1",
    "SIMULATION_SHOP_ORDERS": "200",
    "SIMULATION_CHANNEL_SALES": "200",
    # What a crash leaves behind is found in seconds: a day is simulated in less than a minute here.
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "12",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "4",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "4",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
    # The files do not change; when the clock has moved they are read because we ask for it.
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "600",
}
ANCHOR_AHEAD = timedelta(days=1)
"""The day after the first stretch is the anchor: then the histories, which begin before it, are short."""
AIRFLOW_MAY_IDLE = "10s"
"""As `roles.AIRFLOW_MAY_IDLE`, but sooner."""


class Stuck(HighwaterError):
    """What was waited for has not come."""


class StruckAirflow(LocalAirflow):
    """Airflow whose components die, with what a supervisor does about it."""

    def __init__(self) -> None:
        super().__init__()
        self.expendable: list[psutil.Process] = []
        self.fell: list[str] = []
        """The components that ended though nobody had killed them."""

    def stop(self, patience: float = 5) -> None:
        """As usual, but tasks that still run are not waited for: what they leave behind is not checked."""
        super().stop(patience)

    def second(self, component: str) -> psutil.Process:
        """Start a component once more beside the one that runs; returns the one that ran."""
        former = psutil.Process(self._processes[component].pid)
        self.expendable.append(former)
        self.launch(component)
        return former

    def revive(self) -> None:
        """Start what has died again, as any supervisor of services does."""
        for name in self.dead():
            self.fell.append(name)
            self.launch(name)

    def pids_of_tasks(self) -> set[int]:
        """The processes that were started by schedulers, also by those that are gone."""
        leaders = self._leaders()
        found = set()
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError, PermissionError):
                if process.pid not in leaders and os.getsid(process.pid) in leaders:
                    found.add(process.pid)
        return found

    def end_remains(self) -> None:
        """End what components that are gone left behind: idle workers wait for a scheduler that never comes back."""
        alive = {process.pid for process in self._processes.values()}
        for process in self.expendable:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.expendable.clear()
        for process in self._members():
            if session_of(process) not in alive:
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def _leaders(self) -> set[int]:
        return {int(line) for line in local_environment.lines_of(self._register)}


@dataclass(frozen=True)
class Restored:
    """A restore of a source: the latest attempt by then, and from when the oldest backup is that was used (UTC)."""

    attempt: int
    since: datetime


class Platform:
    """The platform that is struck, and what is asked of it."""

    def __init__(self, home: Path, airflow: StruckAirflow, hook: Receiver) -> None:
        self.home, self.airflow, self.hook = home, airflow, hook
        self.file = home / "now"
        self.parsed_after = 0.0
        self.disk: str | None = None
        """Why there can be no full disk; None where there can."""
        self.restored: Restored | None = None
        self._links: dict[tuple[str, str | None, str], Connection] = {}
        self._api: httpx.Client | None = None
        self._tokens: dict[str, str] = {}

    def rows(
        self,
        query: str,
        parameters: Sequence[Any] | Mapping[str, Any] = (),
        role: str = "analyst",
        database: str | None = None,
    ) -> Any:
        """The rows a statement gives, in a transaction of its own; asked again while the server is away."""
        deadline = time.monotonic() + PATIENCE
        while True:
            # A session carries the clock of the moment it was opened.
            key = (role, database, str(clock.frozen()))
            try:
                link = self._links.get(key)
                if link is None or link.closed:
                    for old in [k for k in self._links if k[:2] == key[:2]]:
                        self._links.pop(old).close()
                    link = self._links[key] = warehouse.connect(role, database)
                    link.autocommit = True
                with link.cursor() as cursor:
                    cursor.execute(query, parameters)
                    return cursor.fetchall() if (cursor.statusmessage or "").startswith("SELECT") else []
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                self._links.pop(key, None)
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def value(self, query: str, parameters: Sequence[Any] = ()) -> Any:
        """The one value a query gives in the warehouse."""
        ((value,),) = self.rows(query, parameters)
        return value

    def metadata(self, query: str, parameters: Sequence[Any] = ()) -> Any:
        """The rows a query gives in Airflow's metadata."""
        return self.rows(query, parameters, "airflow", settings.get().metadata_database)

    def wait(self, what: str, condition: Callable[[], Any], patience: float = PATIENCE, poll: float = CALM_POLL) -> Any:
        """Look until the condition holds, and return what it gave; components that died are started again.

        Raises:
            Stuck: the time is up; says what is unfinished.
        """
        deadline = time.monotonic() + patience
        while not (seen := condition()):
            self.airflow.revive()
            if time.monotonic() > deadline:
                raise Stuck(f"waited {patience:.0f} s for {what}:\n{self.unfinished()}")
            time.sleep(poll)
        return seen

    def unfinished(self) -> str:
        """Runs and tasks that have not ended, windows that have not landed, and the scheduler's last words."""
        runs = self.metadata(
            "SELECT r.dag_id, r.run_id, r.state, t.task_id, t.state AS task_state, t.try_number FROM dag_run AS r"
            " LEFT JOIN task_instance AS t ON r.dag_id = t.dag_id AND r.run_id = t.run_id"
            " AND t.state IS DISTINCT FROM 'success' WHERE r.state IN ('queued', 'running') LIMIT 40"
        )
        windows = self.rows(
            "SELECT dataset, window_start, state, reason FROM ops.window_status"
            " WHERE is_due AND state NOT IN ('landed', 'skipped') ORDER BY 1, 2 LIMIT 20"
        )
        return "\n".join(map(str, [*runs, *windows, self.airflow.tail("scheduler")]))

    @property
    def now(self) -> datetime:
        """What the clock says."""
        return clock.now()

    def set_clock(self, now: datetime) -> None:
        """It is ``now``, for everybody."""
        files.replace(self.file, now.isoformat())

    def move(self, now: datetime) -> None:
        """The sources live on until ``now``, and then that is what the clock says."""
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(psycopg2.OperationalError), stop=tenacity.stop_after_attempt(3)
        ):
            with attempt:
                sales.advance(now)
                shop.advance(now)
                batches.advance(now)
                channels.advance(now)
        self.set_clock(now)
        self.parse()

    def parse(self) -> None:
        """Have the DAG files that load read again, and with them the next run of each worked out by the new clock."""
        self.parsed_after = time.time()
        for dag in DAGS:
            self.ask("PUT", f"/parseDagFile/{self._token(dag)}", accept=(201, 200, 409))

    def trigger(self, dag: str, logical_date: datetime | None = None, conf: dict[str, Any] | None = None) -> None:
        """Start a run, as a person does."""
        moment = None if logical_date is None else logical_date.isoformat()
        self.ask("POST", f"/dags/{dag}/dagRuns", json={"logical_date": moment, "conf": conf or {}}, accept=(200, 409))

    def ask(self, method: str, path: str, accept: Sequence[int] = (200,), **arguments: Any) -> Any:
        """Ask Airflow's API; again while it is away.

        Raises:
            HighwaterError: it refuses.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if self._api is None:
                    self._api = api.log_in()
                answer = self._api.request(method, path, **arguments)
                if answer.status_code in accept:
                    return answer.json() if answer.content else None
                if answer.status_code == 401:
                    self._api = None
                elif answer.status_code < 500:
                    raise HighwaterError(f"{method} {path}: {answer.status_code} {answer.text}")
            except httpx.HTTPError:
                self._api = None
            if time.monotonic() > deadline:
                raise Stuck(f"Airflow's API does not answer {method} {path}")
            self.airflow.revive()
            time.sleep(0.3)

    def is_quiet(self) -> bool:
        """Whether all that is due by the clock has been begun, and all that was begun has ended."""
        ((due, unparsed, unfinished),) = self.metadata(
            "SELECT count(*) FILTER (WHERE next_dagrun_create_after <= now()) AS due,"
            " count(*) FILTER (WHERE last_parsed_time <= to_timestamp(%s)) AS unparsed,"
            " (SELECT count(*) FROM dag_run WHERE state IN ('queued', 'running')) AS unfinished"
            " FROM dag WHERE dag_id = ANY(%s)",
            (self.parsed_after, list(DAGS)),
        )
        return not (due or unparsed or unfinished) and not self.rows(
            "SELECT FROM control.backfills WHERE state IN ('requested', 'running')"
        )

    def until(self, condition: Callable[[], Any]) -> Any:
        """What the condition gives once it holds; None when all work is done before."""
        seen: list[Any] = []
        next_look = 0.0

        def over() -> bool:
            nonlocal next_look
            seen[:] = [condition()]
            if seen[0] or time.monotonic() < next_look:
                return bool(seen[0])
            next_look = time.monotonic() + CALM_POLL
            return self.is_quiet()

        self.wait("a moment to strike", over, poll=POLL)
        return seen[0] or None

    def attempts_since(self, mark: int) -> int:
        """How many attempts have begun since."""
        return int(self.value("SELECT count(*) FROM ops.attempts WHERE attempt_id > %s", (mark,)))

    def last_attempt(self) -> int:
        """The number of the latest attempt."""
        return int(self.value("SELECT coalesce(max(attempt_id), 0) FROM ops.attempts"))

    def close(self) -> None:
        """Let go of the platform's connections."""
        for link in self._links.values():
            link.close()
        self._links.clear()
        if self._api:
            self._api.close()

    def _token(self, dag: str) -> str:
        if dag not in self._tokens:
            self._tokens[dag] = self.ask("GET", f"/dags/{dag}")["file_token"]
        return self._tokens[dag]


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """The process's environment with these settings, and none of the caller's."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("HIGHWATER_", "SIMULATION_", "AIRFLOW"))]:
        del os.environ[name]
    os.environ.update(values)
    settings.get.cache_clear()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        settings.get.cache_clear()


def _remove_unless(kept: Kept, home: Path) -> None:
    if not kept.wanted:
        shutil.rmtree(home, ignore_errors=True)


class Kept:
    """Whether a platform is to be kept for a look when it ends."""

    wanted = False


@contextmanager
def platform(begin: datetime, kept: Kept) -> Iterator[Platform]:
    """Start a platform whose clock says ``begin``, with all DAGs; everything that is due has landed when it is yielded.

    At the end it is stopped and removed; if it is to be kept, only stopped.
    """
    home = Path(tempfile.mkdtemp(prefix="highwater-chaos-"))
    home.chmod(0o755)
    (home / "now").write_text(begin.isoformat())
    with ExitStack() as stack:
        stack.callback(_remove_unless, kept, home)
        hook = stack.enter_context(receiver())
        mine = {
            "HIGHWATER_HOME": str(home),
            "HIGHWATER_ANCHOR": (begin.date() + ANCHOR_AHEAD).isoformat(),
            "HIGHWATER_NOW_FILE": str(home / "now"),
            "HIGHWATER_ALERT_URLS": hook.url,
        }
        stack.enter_context(environment(MEASURES | mine))
        stack.callback(lambda: server.stop() if kept.wanted else server.remove())
        server.start()
        bootstrap.run()
        with warehouse.session("operator") as cursor:
            # An hourly run after an outage of a day finds all done by the first; two of them show that as well as many.
            cursor.execute("UPDATE control.catchup_policies SET max_windows = 2 WHERE dataset = 'orders'")
            # As in a shop of any size, the comparison after an increment sees a part of the orders, not all.
            cursor.execute(
                "UPDATE control.sources SET keys_per_bucket = 50, buckets_per_check = 1 WHERE dataset = 'orders'"
            )
        with warehouse.session("postgres") as cursor:
            # The day before is enough to begin with.
            begins = "UPDATE control.datasets SET first_window = %s WHERE dag_id = 'system_recovery_processing'"
            cursor.execute(begins, (settings.get().days_before_anchor(2),))
        airflow = StruckAirflow()
        stack.enter_context(airflow)
        mine_now = Platform(home, airflow, hook)
        stack.callback(airflow.end_remains)
        stack.callback(mine_now.close)
        for dag in [*DAGS, *BYSTANDERS]:
            known = partial(mine_now.metadata, "SELECT FROM dag WHERE dag_id = %s", (dag,))
            mine_now.wait(f"DAG {dag}", known)
        mine_now.parse()
        mine_now.wait("the first day", mine_now.is_quiet)
        # Holds for sessions that begin from now on, as those of a scheduler that was started again.
        limit = "ALTER ROLE airflow SET idle_in_transaction_session_timeout = %s"
        mine_now.rows(limit, (AIRFLOW_MAY_IDLE,), "postgres")
        yield mine_now
