"""The month on two workers of docker-compose.celery.yaml: one is killed, and neither knows a way to the metadata."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest
from compose.stack import Stack
from waiting import wait_until

WINDOWS = 30
DAG = "historical_sales_migration"
FILES = "docker-compose.yaml:docker-compose.celery.yaml"
ATTEMPT = "run_id, stage, try_number"
STUCK = (
    "SELECT count(*) > 0 AND count(*) ="
    " (SELECT count(*) FROM pg_stat_activity WHERE usename = 'legacy_reader' AND wait_event_type = 'Lock')"
    " FROM ops.attempts WHERE state = 'running'"
)
PROBE = (
    "import socket, sys\n"
    "try: socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()\n"
    "except OSError as error: print(f'no way: {error}')\n"
    "else: print('open')"
)


@pytest.fixture(scope="module")
def celery(make_stack: Callable[[str, dict[str, str]], Stack], small: dict[str, str]) -> Stack:
    """The platform with two workers after `docker compose up` in a new clone, all DAGs paused."""
    stack = make_stack("celery", small | {"COMPOSE_FILE": FILES})
    shared = stack.folder / "config/airflow.env"
    created = "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION="
    text = shared.read_text()
    assert f"{created}False" in text
    shared.write_text(text.replace(f"{created}False", f"{created}True"))
    stack.compose("up", "--detach", "--wait", "--scale", "worker=2")
    return stack


@pytest.fixture(scope="module")
def client(celery: Stack) -> httpx.Client:
    """Airflow's REST API, logged in."""
    token = celery.log_in(celery.secret("admin_password")).json()["access_token"]
    return httpx.Client(base_url=f"{celery.url}/api/v2", headers={"Authorization": f"Bearer {token}"}, timeout=30)


def containers(stack: Stack, service: str) -> list[dict[str, Any]]:
    """`docker inspect` of every container of the service that runs."""
    found = stack.compose("ps", "--quiet", service).stdout.split()
    details: list[dict[str, Any]] = json.loads(stack.run("docker", "inspect", *found).stdout)
    return details


def reach(stack: Stack, container: str, host: str, port: int) -> str:
    """What becomes of a connection from within a container."""
    return stack.run("docker", "exec", container, "python3", "-c", PROBE, host, str(port)).stdout.strip()


def log_of(client: httpx.Client, run_id: str, task: str, tried: str) -> str:
    """A task's log as the UI gets it; empty where the server has none."""
    answer = client.get(f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/{task}/logs/{tried}")
    return answer.text if answer.status_code == httpx.codes.OK else ""


def test_a_worker_has_no_way_to_the_metadata(celery: Stack) -> None:
    (metadata,) = containers(celery, "metadata")
    (scheduler,) = containers(celery, "scheduler")
    (address,) = [network["IPAddress"] for network in metadata["NetworkSettings"]["Networks"].values()]
    for target in ("metadata", address):
        assert reach(celery, scheduler["Id"], target, 5432) == "open"
        for worker in containers(celery, "worker"):
            assert reach(celery, worker["Id"], target, 5432).startswith("no way")
    for worker in containers(celery, "worker"):
        for name, port in (("apiserver", 8080), ("redis", 6379), ("warehouse", 5432)):
            assert reach(celery, worker["Id"], name, port) == "open"


def test_a_worker_knows_no_secret_but_its_own(celery: Stack) -> None:
    names = ["airflow_password", "metadata_admin_password", "postgres_password", "operator_password", "admin_password"]
    names += ["fernet_key", "jwt_secret", "api_secret_key"]
    hidden = [celery.secret(name) for name in names]
    known = celery.secret("loader_password")
    for worker in containers(celery, "worker"):
        said = celery.run(
            "docker", "exec", worker["Id"], "sh", "-c",
            "{ env; find /run /var/lib /opt/airflow /tmp -type f -readable -exec cat {} +; } | tr -cd '[:print:]'",
        ).stdout  # fmt: skip
        assert known in said
        assert [name for name, secret in zip(names, hidden, strict=True) if secret in said] == []
        assert "postgresql" not in "".join(worker["Config"]["Env"])


@pytest.mark.parametrize("service", ["worker", "redis"])
def test_the_container_has_no_root_no_capability_and_nothing_to_write_to(celery: Stack, service: str) -> None:
    for details in containers(celery, service):
        host = details["HostConfig"]
        assert details["Config"]["User"] == ("redis" if service == "redis" else "50000:0")
        assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], None)
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert host["ReadonlyRootfs"]
        assert not host["Privileged"]
        assert host["Memory"] > 0
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
        assert not host["PortBindings"]
        written = {mount["Destination"] for mount in details["Mounts"] if mount["RW"]}
        assert written == {"/data" if service == "redis" else "/opt/airflow/logs"}
    project = celery.environment["COMPOSE_PROJECT_NAME"]
    (work,) = json.loads(celery.run("docker", "network", "inspect", f"{project}_work").stdout)
    assert work["Internal"]


def test_the_broker_takes_its_own_password_alone(celery: Stack) -> None:
    def ask(password: str) -> str:
        ping = ("env", f"REDISCLI_AUTH={password}", "redis-cli", "ping")
        done = celery.compose("exec", "-T", "redis", *ping, check=False)
        return done.stdout + done.stderr

    assert "PONG" in ask(celery.secret("broker_password"))
    assert "PONG" not in ask("airflow")
    assert "NOAUTH" in celery.compose("exec", "-T", "redis", "redis-cli", "ping").stdout
    shown = celery.compose("config").stdout + json.dumps([containers(celery, s) for s in ("redis", "worker")])
    assert celery.secret("broker_password") not in shown


@pytest.mark.timeout(1800)
def test_the_month_lands_on_two_workers_of_which_one_is_killed(
    celery: Stack, client: httpx.Client, expected: list[str], record_property: Callable[[str, object], None]
) -> None:
    wait_until(f"{DAG} is known", lambda: client.get(f"/dags/{DAG}").status_code == httpx.codes.OK)
    client.patch(f"/dags/{DAG}", json={"is_paused": False}).raise_for_status()
    hosts = {worker["Config"]["Hostname"]: worker["Id"] for worker in containers(celery, "worker")}
    assert len(hosts) == 2
    took_part = "SELECT DISTINCT host FROM ops.attempts WHERE state = 'succeeded'"
    wait_until("both workers took part", lambda: {host for (host,) in celery.sql(took_part)} == set(hosts))
    wait_until("a window landed", lambda: celery.landed() >= 1)

    where: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": celery.warehouse_port,
        "dbname": "sources",
        "user": "simulator",
    }
    with closing(psycopg2.connect(**where, password=celery.secret("simulator_password"))) as holder:
        holder.cursor().execute("LOCK TABLE legacy.sales IN ACCESS EXCLUSIVE MODE")
        wait_until("all stages that run wait for the source", lambda: celery.sql(STUCK)[0][0] == "t")
        in_hand = celery.sql(f"SELECT host, {ATTEMPT} FROM ops.attempts WHERE state = 'running'")
        victim = in_hand[0][0]
        lost = [made for host, *made in in_hand if host == victim]
        landed = celery.landed()
        assert landed < WINDOWS, "the month was over before the worker was killed"
        wait_until("its log can be read while it runs", lambda: f"{DAG}.py" in log_of(client, *lost[0]))
        celery.run("docker", "kill", hosts[victim])
    record_property("killed", f"{landed} had landed, {len(lost)} stages were lost")
    (survivor,) = set(hosts) - {victim}

    wait_until("30 windows landed", lambda: celery.landed() == WINDOWS, seconds=1500)
    assert [content for _, _, content in celery.hashes()] == expected
    before = f"dataset = 'daily_sales' AND gap_start < '{celery.environment['HIGHWATER_ANCHOR']}'"
    assert celery.sql(f"SELECT count(*) FROM ops.gaps WHERE {before}") == [("0",)]
    done = celery.sql(f"SELECT host, {ATTEMPT} FROM ops.attempts WHERE state = 'succeeded'")
    for run_id, stage, tried in lost:
        assert (victim, run_id, stage, tried) not in done
        assert [host for host, *made in done if made[:2] == [run_id, stage]] == [survivor]
        assert f"{DAG}.py" in log_of(client, run_id, stage, tried), "the log of a worker that is gone"
    audit = next(made for host, *made in done if host == survivor and made[1] == "audit")
    assert "expectations hold" in log_of(client, *audit)
    record_property("stages done", {name: [host for host, *_ in done].count(name) for name in hosts})


def test_a_backup_is_restored_and_the_workers_are_back(celery: Stack, tmp_path: Path) -> None:
    landed = celery.hashes()
    celery.run("scripts/backup", str(tmp_path / "month.dump"))
    celery.sql("CREATE TABLE ops.made_after_it ()")
    celery.run("scripts/restore", str(tmp_path / "month.dump"))
    assert celery.hashes() == landed
    assert celery.sql("SELECT to_regclass('ops.made_after_it') IS NULL") == [("t",)]
    assert [worker["State"]["Health"]["Status"] for worker in containers(celery, "worker")] == ["healthy", "healthy"]
