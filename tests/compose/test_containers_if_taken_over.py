"""A task, or the code of a DAG file, that was taken over: it reads, logs in, connects and writes, and gets nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from compose.stack import Stack

from highwater.setup import secret_folders

INTRUDER = Path(__file__).with_name("intruder.py").read_text()
SUPERUSERS = ("postgres_password", "metadata_admin_password")
KEYS = ("fernet_key", "jwt_secret", "api_secret_key", "admin_password", "operator_password")
HIDDEN = {
    "worker": (*SUPERUSERS, *KEYS, "airflow_password", "metadata_url"),
    "dag-processor": (*SUPERUSERS, *KEYS, "broker_password", "simulator_password", "legacy_reader_password"),
}
"""What neither may find anywhere, by where it runs."""
MAY_LOG_IN = {
    "worker": {("warehouse", role) for role in ("analyst", "loader", "simulator", "legacy_reader")},
    "dag-processor": {("warehouse", "analyst"), ("warehouse", "loader"), ("metadata", "airflow")},
}
"""The DAG processor records DAGs in the metadata; the code that it runs shares its user (docs/how-to/operations.md)."""
MAY_CONNECT = {
    "worker": {"apiserver:8080", "redis:6379", "warehouse:5432"},
    "dag-processor": {"apiserver:8080", "metadata:5432", "warehouse:5432"},
}
FOLDERS = [service for service in secret_folders.files_of_services() if service not in {"preflight", "init"}]


@pytest.fixture(scope="module", params=["worker", "dag-processor"])
def service(request: pytest.FixtureRequest) -> str:
    """Where the intruder is: tasks run in one, DAG files in the other."""
    return str(request.param)


@pytest.fixture(scope="module")
def spoils(stack: Stack, service: str) -> dict[str, Any]:
    """What the intruder got."""
    said = stack.compose("exec", "-T", service, "python3", "-c", INTRUDER).stdout
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def test_it_finds_what_is_its_own_and_no_other_secret(stack: Stack, service: str, spoils: dict[str, Any]) -> None:
    assert stack.secret("loader_password") in spoils["known"]
    assert [name for name in HIDDEN[service] if stack.secret(name) in spoils["known"]] == []


def test_it_logs_in_as_what_it_is_and_runs_no_program(service: str, spoils: dict[str, Any]) -> None:
    assert spoils["passwords"] >= 2
    assert {(server, role) for server, role, _ in spoils["logins"]} == MAY_LOG_IN[service]
    assert {what for *_, what in spoils["logins"]} == {"no superuser"}
    assert spoils["let in"] == []


def test_it_connects_to_what_it_needs(service: str, spoils: dict[str, Any]) -> None:
    assert set(spoils["ports"]) == MAY_CONNECT[service]


def test_it_changes_neither_the_logins_nor_the_code_nor_what_others_know(spoils: dict[str, Any]) -> None:
    assert spoils["written"] == []


def test_only_tasks_have_a_way_out_and_may_be_kept_from_it(stack: Stack, spoils: dict[str, Any], service: str) -> None:
    assert spoils["way out"] == (service == "worker")
    closed = stack.compose("config", "--format", "json", HIGHWATER_TASKS_OUTSIDE="0").stdout
    described = json.loads(closed)
    assert set(described["services"]["worker"]["networks"]) == {"work", "warehouse-1", "outside-0"}
    assert described["networks"]["outside-0"]["internal"]


@pytest.mark.parametrize("name", ["metadata", "redis", "scheduler", "triggerer"])
def test_what_speaks_to_nobody_outside_has_no_route(stack: Stack, name: str) -> None:
    routes = stack.compose("exec", "-T", name, "cat", "/proc/net/route").stdout.splitlines()[1:]
    assert routes
    assert [line for line in routes if line.split()[1] == "00000000"] == []


@pytest.mark.parametrize("name", FOLDERS)
def test_a_service_has_its_own_secrets_and_no_volume_with_others(stack: Stack, name: str) -> None:
    listed = stack.compose("exec", "-T", name, "ls", "-A", "/run/highwater-secrets").stdout.split()
    assert set(listed) == set(secret_folders.files_of_services()[name])
    volumes = {mount["Name"] for mount in stack.inspect(name)["Mounts"] if mount["Type"] == "volume"}
    project = stack.environment["COMPOSE_PROJECT_NAME"]
    assert f"{project}_secrets" not in volumes
    assert len([volume for volume in volumes if "_for-" in volume or volume.endswith("_worker")]) == 1


def test_the_superuser_is_turned_away_at_the_published_port(stack: Stack) -> None:
    where: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": stack.warehouse_port,
        "dbname": "postgres",
        "user": "postgres",
    }
    with pytest.raises(psycopg2.OperationalError, match=r"pg_hba\.conf rejects connection"):
        psycopg2.connect(**where, password=stack.secret("postgres_password"), connect_timeout=10)


@pytest.mark.parametrize("server", ["warehouse", "metadata"])
def test_the_superuser_is_turned_away_within_the_networks(stack: Stack, server: str) -> None:
    name = "metadata_admin_password" if server == "metadata" else "postgres_password"
    program = (
        "import psycopg2, sys\n"
        f"try: psycopg2.connect(host={server!r}, user='postgres', password=sys.argv[1], dbname='postgres')\n"
        "except psycopg2.OperationalError as error: print(error)\n"
        "else: print('let in')"
    )
    said = stack.compose("exec", "-T", "scheduler", "python3", "-c", program, stack.secret(name)).stdout
    # the scheduler is in both networks
    assert "pg_hba.conf rejects connection" in said
