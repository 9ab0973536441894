"""`docker compose up` in a new clone: who gets in, what is open, whether each container is what the file promises."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from compose.stack import AIRFLOW, DATABASES, ONE_SHOTS, SERVICES, Stack

from highwater.setup import secret_folders

SOURCES = ("dags", "sql", "expectations", "config", "highwater", "simulation")
MAY_WRITE = {
    "preflight": set(),
    "secrets": {
        "/run/highwater-secrets",
        "/var/lib/highwater",
        *(f"/run/highwater-for/{service}" for service in secret_folders.files_of_services()),
    },
    "metadata": {"/var/lib/postgresql/data", "/run/postgresql"},
    "warehouse": {"/var/lib/postgresql/data", "/run/postgresql"},
    "redis": {"/data"},
    "init": {"/var/lib/highwater", "/opt/airflow/logs", "/run/sockets/metadata", "/run/sockets/warehouse"},
    "apiserver": {"/run/highwater-ui", "/opt/airflow/logs"},
    "scheduler": {"/var/lib/highwater", "/opt/airflow/logs"},
    "worker": {"/opt/airflow/logs"},
    "dag-processor": {"/opt/airflow/logs"},
    "triggerer": {"/opt/airflow/logs"},
}
"""Everything mounted that a service can write to; the rest of its mounts and its root filesystem are read-only."""
USERS = dict.fromkeys(DATABASES, "postgres") | {"redis": "redis"}


def test_the_generated_password_logs_in_and_another_does_not(stack: Stack) -> None:
    assert stack.log_in(stack.secret("admin_password")).status_code == 201
    assert stack.log_in("admin").status_code == 401
    assert stack.log_in("airflow").status_code == 401


def test_the_command_line_shows_address_and_login(stack: Stack) -> None:
    said = stack.run("scripts/highwater", "login").stdout
    assert stack.url in said
    assert stack.secret("admin_password") in said


def test_the_warehouse_takes_the_analysts_password_alone(stack: Stack) -> None:
    def connect(password: str) -> None:
        where: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": stack.warehouse_port,
            "dbname": "warehouse",
            "user": "analyst",
        }
        with closing(psycopg2.connect(**where, password=password, connect_timeout=10)):
            pass

    connect(stack.secret("analyst_password"))
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        connect("analyst")


@pytest.mark.parametrize("service", [*ONE_SHOTS, *SERVICES])
def test_a_port_is_bound_to_loopback_or_not_at_all(stack: Stack, service: str) -> None:
    bindings = stack.inspect(service)["HostConfig"]["PortBindings"] or {}
    published = {"apiserver": stack.ui_port, "warehouse": stack.warehouse_port}
    wanted = [{"HostIp": "127.0.0.1", "HostPort": str(published[service])}] if service in published else []
    assert [binding for bound in bindings.values() for binding in bound] == wanted
    if wanted:
        with closing(socket.create_connection(("127.0.0.1", published[service]), timeout=5)):
            pass


@pytest.mark.parametrize("service", [*ONE_SHOTS, *SERVICES])
def test_a_container_has_no_root_no_capability_and_nothing_to_write_to(stack: Stack, service: str) -> None:
    details = stack.inspect(service)
    host = details["HostConfig"]
    assert details["Config"]["User"] == USERS.get(service, "50000:0")
    assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], None)
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["ReadonlyRootfs"]
    assert not host["Privileged"]
    assert host["Memory"] > 0
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    assert host["RestartPolicy"]["Name"] == ("no" if service in ONE_SHOTS else "unless-stopped")
    assert {mount["Destination"] for mount in details["Mounts"] if mount["RW"]} == MAY_WRITE[service]
    assert not [mount for mount in details["Mounts"] if "docker.sock" in mount["Source"]]


@pytest.mark.parametrize("service", SERVICES)
def test_what_runs_is_what_was_promised(stack: Stack, service: str) -> None:
    status = stack.compose("exec", "-T", service, "cat", "/proc/1/status").stdout
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split()[0] != "0"
    assert service not in AIRFLOW or fields["Uid"].split()[0] == "50000"
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    written = stack.compose("exec", "-T", service, "sh", "-c", "touch /usr/mine", check=False)
    assert "Read-only file system" in written.stderr


@pytest.mark.parametrize("service", AIRFLOW)
def test_an_edit_of_the_sources_is_live_and_cannot_come_from_inside(stack: Stack, service: str) -> None:
    details = stack.inspect(service)
    binds = {m["Destination"]: (m["Source"], m["RW"]) for m in details["Mounts"] if m["Type"] == "bind"}
    for name in SOURCES:
        assert binds[f"/opt/highwater/{name}"] == (str(stack.folder / name), False)


def test_the_metadata_has_no_way_out_and_the_warehouse_reaches_no_further_than_this_machine(stack: Stack) -> None:
    project = stack.environment["COMPOSE_PROJECT_NAME"]
    networks = {s: set(stack.inspect(s)["NetworkSettings"]["Networks"]) for s in (*SERVICES, "preflight", "secrets")}
    assert networks["metadata"] == {f"{project}_inside"}
    assert networks["warehouse"] == {f"{project}_warehouse-1", f"{project}_door"}
    assert networks["secrets"] == {"none"}
    named = [f"{project}_{name}" for name in ("inside", "work", "warehouse-1", "door")]
    *closed, door = json.loads(stack.run("docker", "network", "inspect", *named).stdout)
    assert all(network["Internal"] for network in closed)
    assert door["Options"]["com.docker.network.bridge.enable_ip_masquerade"] == "false"


def test_no_secret_shows_anywhere(stack: Stack) -> None:
    listing = stack.compose("run", "--rm", "--no-deps", "-T", "secrets", "sh", "-c", "cat /run/highwater-secrets/*_*")
    secrets = [line for line in listing.stdout.splitlines() if len(line) >= 20]
    assert len(secrets) >= 10
    image = stack.inspect("scheduler")["Image"]
    shown = {
        "docker compose config": stack.compose("config").stdout,
        "logs": (logs := stack.compose("logs", "--no-color")).stdout + logs.stderr,
        "image history": stack.run("docker", "history", "--no-trunc", image).stdout,
        "image": stack.run("docker", "inspect", image).stdout,
    } | {f"docker inspect of {service}": json.dumps(stack.inspect(service)) for service in (*ONE_SHOTS, *SERVICES)}
    assert all(len(text) > 100 for text in shown.values())
    assert [where for where, text in shown.items() for secret in secrets if secret in text] == []


def test_the_secrets_are_for_their_readers_only(stack: Stack) -> None:
    listing = stack.compose("exec", "-T", "scheduler", "sh", "-c", "stat -c '%a %u %g %n' /run/highwater-secrets/*")
    files = [line.split() for line in listing.stdout.splitlines()]
    assert {(uid, gid) for _, uid, gid, _ in files} == {("50000", "0")}
    assert {mode for mode, *_ in files} <= {"440", "640"}


def test_the_image_is_under_520_mb_and_its_bytecode_is_compiled(stack: Stack) -> None:
    image = json.loads(stack.run("docker", "inspect", stack.inspect("scheduler")["Image"]).stdout)[0]
    assert image["Size"] < 520_000_000
    missing = stack.compose(
        "exec", "-T", "scheduler", "python3", "-c",
        "import airflow.jobs.scheduler_job_runner, pandas, sys, os;"
        "print([m.__name__ for m in list(sys.modules.values()) if '/opt/venv' in (getattr(m, '__file__', None) or '')"
        " and (getattr(m, '__cached__', None) or '').endswith('.pyc') and not os.path.exists(m.__cached__)])",
    ).stdout  # fmt: skip
    assert missing.strip().splitlines()[-1] == "[]"
