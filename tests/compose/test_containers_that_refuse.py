"""Bad input: `docker compose up` fails with one line that names the setting and the way out, and nothing loops."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from compose import certificates
from compose.stack import AIRFLOW, Stack

USER = 50000
"""The containers' user, unless HIGHWATER_UID names another."""


@pytest.fixture
def idle(stack: Stack) -> Iterator[Stack]:
    """The platform with nothing running and its data kept; this file is the last that wants it."""
    stack.compose("down", "--timeout", "5")
    yield stack
    (stack.folder / ".env").unlink(missing_ok=True)


def refusal(stack: Stack, **settings: Any) -> str:
    """The line that `docker compose up` fails with; Airflow was not started, and nothing is being restarted."""
    done = stack.compose("--ansi", "never", "up", check=False, **settings)
    assert done.returncode != 0
    said = [line for line in (done.stdout + done.stderr).splitlines() if "HIGHWATER_" in line]
    assert len(said) == 1, done.stdout + done.stderr
    states = stack.compose("ps", "--all", "--format", "{{.Service}} {{.State}}", **settings).stdout.split("\n")
    assert not [state for state in states if state.endswith("restarting")]
    assert not [state for state in states if state.split(" ")[0] in AIRFLOW and state.endswith("running")]
    return said[0]


@pytest.mark.parametrize("name", ["HIGHWATER_UI_PORT", "HIGHWATER_WAREHOUSE_PUBLISHED_PORT"])
def test_a_port_that_is_taken(idle: Stack, name: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        line = refusal(idle, **{name: port})
    assert f"{name}={port} is in use on this machine" in line
    assert "set another port in .env" in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HIGHWATER_UI_PORT", "eighty"),
        ("HIGHWATER_PARALLELISM", "0"),
        ("HIGHWATER_WAREHOUSE_SSLMODE", "maybe"),
        ("HIGHWATER_ANCHOR", "yesterday"),
    ],
)
def test_a_broken_value_in_the_env_file(idle: Stack, name: str, value: str) -> None:
    (idle.folder / ".env").write_text(f"{name}={value}\n")
    inherited = idle.environment.pop(name, None)
    try:
        line = refusal(idle)
    finally:
        (idle.folder / ".env").unlink()
        if inherited is not None:
            idle.environment[name] = inherited
    assert name in line
    assert value in line


def test_an_alert_address_that_nothing_can_be_sent_to(idle: Stack) -> None:
    addresses = idle.folder / "addresses"
    addresses.write_text("json://fine.example/hook\nnonsense://user:s3cretword@host/\n")
    setting: dict[str, Any] = {"HIGHWATER_ALERT_URLS_FILE": str(addresses)}
    line = refusal(idle, **setting)
    assert "HIGHWATER_ALERT_URLS is refused: address 2 of 2 (nonsense://…)" in line
    logs = idle.compose("logs", "--no-color", **setting).stdout
    assert "s3cretword" not in line + logs + idle.compose("config", **setting).stdout


def test_too_little_memory(idle: Stack) -> None:
    line = refusal(idle, HIGHWATER_MIN_MEMORY_MIB="99999999")
    assert "HIGHWATER_MIN_MEMORY_MIB requires 99999999" in line
    assert "give Docker more" in line


def test_a_mount_that_cannot_be_read(idle: Stack) -> None:
    secret = idle.folder / "highwater/sql/warehouse/00_schemas.sql"
    secret.chmod(0o600)
    line = refusal(idle)
    secret.chmod(0o644)
    assert "highwater/sql/warehouse/00_schemas.sql is not readable for user 50000" in line
    owner = idle.folder.stat().st_uid
    assert ("HIGHWATER_UID=" in line) == (owner != 0), "it is never advised to run it as root"
    assert "chmod -R a+rX" in line


def test_root(idle: Stack) -> None:
    assert "HIGHWATER_UID=0 is refused: nothing of the platform runs as root" in refusal(idle, HIGHWATER_UID="0")


def test_an_image_of_another_checkout(idle: Stack) -> None:
    file = idle.folder / "docker/airflow/airflow.cfg"
    ours = file.read_text()
    file.write_text(ours + "# of another version\n")
    done = idle.compose("up", check=False)
    file.write_text(ours)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "the image was built from another docker/airflow/airflow.cfg than this checkout's" in said
    assert "`docker compose build`" in said


def test_a_folder_that_is_not_there(idle: Stack) -> None:
    folder = idle.folder / "expectations"
    folder.rename(idle.folder / "gone")
    done = idle.compose("up", "--detach", check=False)
    (idle.folder / "gone").rename(folder)
    assert done.returncode != 0
    assert f"{folder}" in done.stderr


def test_another_password_of_the_superuser_stops_no_start(idle: Stack) -> None:
    idle.compose("up", "--detach", "--wait", "warehouse")
    idle.sql("ALTER ROLE postgres PASSWORD 'another user changed it'")
    idle.compose("run", "--rm", "-T", "init")


def test_metadata_of_a_newer_airflow(idle: Stack, request: pytest.FixtureRequest) -> None:
    def set_revision(revision: str) -> None:
        idle.compose("up", "--detach", "--wait", "metadata")
        idle.sql(f"UPDATE alembic_version SET version_num = '{revision}'", database="airflow", server="metadata")

    idle.compose("up", "--detach", "--wait", "metadata")
    known = idle.sql("SELECT version_num FROM alembic_version", database="airflow", server="metadata")[0][0]
    request.addfinalizer(lambda: set_revision(known))
    set_revision("feedfacecafe")
    line = refusal(idle)
    assert "HIGHWATER_METADATA_DATABASE=airflow was migrated by a newer Airflow (revision feedfacecafe)" in line
    assert "3.3.2 installed here" in line


@pytest.fixture(scope="module")
def elsewhere(
    make_stack: Callable[[str, dict[str, str]], Stack], small: dict[str, str], request: pytest.FixtureRequest
) -> Stack:
    """A platform whose warehouse is another owner's server, reached by TLS alone, its certificate from their own CA."""
    stack = make_stack("elsewhere", small)
    project = stack.environment["COMPOSE_PROJECT_NAME"]
    server, tls, password = f"{project}-server", stack.folder / "tls", stack.folder / "password"
    certificates.make(tls, "elsewhere")
    password.write_text("not one of ours\n")
    password.chmod(0o600)
    if os.getuid() == 0:
        os.chown(password, USER, 0)
    else:
        stack.environment["HIGHWATER_UID"] = str(os.getuid())
    stack.environment |= {
        "HIGHWATER_OWN_WAREHOUSE": "0",
        "HIGHWATER_WAREHOUSE_HOST": "elsewhere",
        "HIGHWATER_WAREHOUSE_ADMIN": "boss",
        "HIGHWATER_WAREHOUSE_ADMIN_PASSWORD_FILE": str(password),
        "HIGHWATER_WAREHOUSE_SSLMODE": "verify-full",
        "HIGHWATER_WAREHOUSE_CA_FILE": str(tls / "ca.crt"),
    }
    # Docker keeps its networks apart, so the server is put where the platform's way out leads.
    stack.compose("create", "init")
    request.addfinalizer(lambda: stack.run("docker", "rm", "--force", "--volumes", server, check=False))
    stack.run(
        "docker", "create", "--name", server, "--network", f"{project}_warehouse-0", "--network-alias", "elsewhere",
        "--env", "POSTGRES_PASSWORD=not one of ours", "--env", "POSTGRES_USER=boss",
        "--user", "postgres", "--group-add", "0", "postgres:17",
        "-c", "ssl=on", "-c", "ssl_cert_file=/tls/server.crt", "-c", "ssl_key_file=/tls/server.key",
    )  # fmt: skip
    stack.run("docker", "cp", str(tls), f"{server}:/tls")
    stack.run("docker", "start", server)
    stack.compose("up", "--detach", "--wait", "metadata")
    return stack


def test_another_users_warehouse(elsewhere: Stack, tmp_path: Path) -> None:
    assert not elsewhere.compose("ps", "--all", "--quiet", "warehouse").stdout
    elsewhere.compose("run", "--rm", "-T", "init")
    asked = "SELECT count(*), bool_and(ssl) FROM control.datasets, pg_stat_ssl WHERE pid = pg_backend_pid()"
    counted = (
        "from highwater.store import warehouse\n"
        f"with warehouse.session('loader') as cursor: cursor.execute({asked!r}); print(*cursor.fetchone())"
    )
    datasets, encrypted = elsewhere.compose("run", "--rm", "-T", "init", "python", "-c", counted).stdout.split()
    assert int(datasets) >= 1
    assert encrypted == "True"
    dump = tmp_path / "elsewhere.dump"
    assert f"backup: {dump}, " in elsewhere.run("scripts/backup", str(dump)).stdout


def test_a_warehouse_that_refuses_the_login(elsewhere: Stack) -> None:
    wrong = elsewhere.folder / "wrong"
    wrong.write_text("not this one\n")
    wrong.chmod(0o644)
    setting = {"HIGHWATER_WAREHOUSE_ADMIN_PASSWORD_FILE": str(wrong)}
    done = elsewhere.compose("run", "--rm", "-T", "init", check=False, **setting)
    assert done.returncode != 0
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if "HIGHWATER_" in line]
    assert "the warehouse at elsewhere:5432 refuses" in line
    assert "password authentication failed" in line
    assert "HIGHWATER_WAREHOUSE_ADMIN=boss" in line
    assert "HIGHWATER_WAREHOUSE_ADMIN_PASSWORD_FILE" in line


def test_another_users_warehouse_with_a_certificate_that_our_ca_did_not_sign(elsewhere: Stack) -> None:
    certificates.make(elsewhere.folder / "others", "elsewhere")
    stranger = str(elsewhere.folder / "others/ca.crt")
    done = elsewhere.compose("run", "--rm", "-T", "init", check=False, HIGHWATER_WAREHOUSE_CA_FILE=stranger)
    assert done.returncode != 0
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if "HIGHWATER_" in line]
    assert "the warehouse at elsewhere:5432 refuses" in line
    assert "certificate verify failed" in line, line
    assert "HIGHWATER_WAREHOUSE_SSLMODE" in line
