"""Airflow on this machine without Docker: its four processes, using the embedded Postgres server.

As a program it stops and deletes the platform in ``HIGHWATER_HOME``, to clean up after killed tests.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]

from highwater.environment import settings
from highwater.local import server
from highwater.local.environment import environment, lines_of
from highwater.local.placement import home
from highwater.local.settings import remember_port
from highwater.model.errors import ConfigurationError, HighwaterError
from highwater.setup import metadata

COMPONENTS = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
"""Components with their arguments. Log servers are off: they serve other machines, on ports open to all."""
HEALTH = {"api-server": "metadatabase", "dag-processor": "dag_processor"}
"""Components that have another name in Airflow's health report."""
PORT = "HIGHWATER_UI_PORT"
FIRST_PORT = 8080


@contextmanager
def claim() -> Iterator[None]:
    """Lock the home folder: one process at a time runs its platform.

    Raises:
        ConfigurationError: another process has the lock.
    """
    with (home() / "platform.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"the platform in {home()} is already running: stop it first, with Ctrl-C where it was started"
            ) from None
        yield


class LocalAirflow:
    """The four processes of Airflow, each leading its own session; one set per home folder.

    As a context manager it starts and stops them; a second Ctrl-C while it waits for tasks kills those at once.
    Processes are not restarted automatically: the caller checks `dead`.
    """

    def __init__(self) -> None:
        home = settings.get().home
        self.logs = home / "logs"
        self._folder = home / "airflow"
        self._register = home / "airflow.sessions"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._environment: dict[str, str] = {}

    def __enter__(self) -> LocalAirflow:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        except KeyboardInterrupt:
            self.stop(patience=0)

    def start(self) -> None:
        """Migrate the metadata database and start the four; they take some seconds to become healthy.

        Kills processes that an earlier, killed supervisor left running.

        Raises:
            HighwaterError: the metadata database cannot be migrated; contains the end of the log.
        """
        for folder in (self.logs, self._folder):
            folder.mkdir(parents=True, exist_ok=True)
        _end(self._members(), patience=0)
        self._register.unlink(missing_ok=True)
        self._environment = environment(remember_port(PORT, FIRST_PORT))
        metadata.migrate(self._log("migrate"), self._environment)
        for component in COMPONENTS:
            self._log(component).unlink(missing_ok=True)
            self.launch(component)

    def launch(self, component: str) -> None:
        """Start one of `COMPONENTS` after a `kill`; `start` starts all of them."""
        with self._log(component).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "airflow", *COMPONENTS[component]],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        with self._register.open("a") as register:
            register.write(f"{process.pid}\n")
        self._processes[component] = process

    def kill(self, component: str) -> None:
        """`kill -9` one component, as in a crash: its child processes keep running."""
        self._processes[component].kill()
        self._processes[component].wait()

    def pid(self, component: str) -> int:
        """The process id of one of `COMPONENTS`, which must have been started."""
        return self._processes[component].pid

    def dead(self) -> list[str]:
        """The components that were started and have exited."""
        return [name for name, process in self._processes.items() if process.poll() is not None]

    def unhealthy(self) -> list[str]:
        """The components that are not healthy according to Airflow's health report; empty once it is up."""
        try:
            report = (
                httpx.get(f"{settings.get().ui_address}/api/v2/monitor/health", timeout=5).raise_for_status().json()
            )
        except (httpx.HTTPError, ValueError):
            return list(COMPONENTS)
        if not self._listens("api-server", settings.get().ui_port):
            return list(COMPONENTS)  # another program answered
        states = {name: (report.get(HEALTH.get(name, name)) or {}).get("status") for name in COMPONENTS}
        return [name for name, state in states.items() if state != "healthy"]

    def wait_until_healthy(self, seconds: float = 180) -> None:
        """Return once all four are healthy.

        Raises:
            HighwaterError: a component died or the timeout has passed; contains the end of its log.
        """
        deadline = time.monotonic() + seconds
        while unhealthy := self.dead() or self.unhealthy():
            if self.dead() or time.monotonic() > deadline:
                what = "died" if self.dead() else f"is not healthy after {seconds:.0f} s"
                raise HighwaterError(f"Airflow's {unhealthy[0]} {what}; end of its log:\n{self.tail(unhealthy[0])}")
            time.sleep(0.25)

    def tail(self, component: str, lines: int = 20) -> str:
        """The last lines of a component's log."""
        return "\n".join(self._log(component).read_text(errors="replace").splitlines()[-lines:])

    def stop(self, patience: float = 60) -> None:
        """Stop the four and their child processes: tasks get ``patience`` seconds to finish, then they are killed.

        The scheduler is stopped first, because tasks report to the API server until they end. Killed tasks are retried
        after the next start. Does nothing if nothing runs.
        """
        self._terminate(["scheduler"])
        if scheduler := self._processes.get("scheduler"):
            psutil.wait_procs(_tasks_below(scheduler.pid), timeout=patience)
            _end([process for process in self._members() if session_of(process) == scheduler.pid], 5)
        self._terminate(list(COMPONENTS))
        _end(self._members(), 10)
        for process in self._processes.values():
            process.wait()
        self._processes.clear()

    def _terminate(self, components: list[str]) -> None:
        for name in components:
            if name in self._processes:
                self._processes[name].terminate()

    def _members(self) -> list[psutil.Process]:
        """Every process of the sessions we started, including those that a killed leader left behind.

        A session id may have been reused: if its leader is no longer ours, only processes working in our folder count.
        """
        alive = {process.pid for process in self._processes.values() if process.poll() is None}
        known = {int(line) for line in lines_of(self._register)}
        members = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError, PermissionError):
                session = os.getsid(process.pid)
                if session in alive or (session in known and process.cwd() == str(self._folder.resolve())):
                    members.append(process)
        return members

    def _listens(self, component: str, port: int) -> bool:
        with suppress(psutil.Error):
            connections = psutil.Process(self._processes[component].pid).net_connections("tcp")
            return any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections)
        return False

    def _log(self, component: str) -> Path:
        return self.logs / f"{component}.log"


def session_of(process: psutil.Process) -> int | None:
    """The session id of a process; None if it has ended."""
    with suppress(ProcessLookupError):
        return os.getsid(process.pid)
    return None


def _tasks_below(scheduler: int) -> list[psutil.Process]:
    """The processes of tasks: children of LocalExecutor's workers, which are children of the scheduler."""
    try:
        process = psutil.Process(scheduler)
        return [task for worker in process.children() for task in worker.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _end(processes: list[psutil.Process], patience: float) -> None:
    """Wait ``patience`` seconds for processes to end, then kill those that did not."""
    _gone, left = psutil.wait_procs(processes, timeout=patience)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=10)


if __name__ == "__main__":
    LocalAirflow().stop()
    server.remove()
