"""Bad input: `docker compose up` fails with one line that names the setting and the way out, and nothing loops."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from stack import AIRFLOW, Stack


@pytest.fixture(scope="module")
def stopped(stack: Stack) -> Iterator[Stack]:
    """The platform with nothing running; it is up again for the tests that follow."""
    stack.compose("down", "--timeout", "5")
    yield stack
    stack.up()


@pytest.fixture
def idle(stopped: Stack) -> Iterator[Stack]:
    """The platform with nothing running and its data kept."""
    stopped.compose("down", "--timeout", "5")
    yield stopped
    (stopped.folder / ".env").unlink(missing_ok=True)


def refusal(stack: Stack, **settings: str) -> str:
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
    assert f"{name}={port} is taken on this machine" in line
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


def test_too_little_memory(idle: Stack) -> None:
    line = refusal(idle, HIGHWATER_MIN_MEMORY_MIB="99999999")
    assert "HIGHWATER_MIN_MEMORY_MIB asks for 99999999" in line
    assert "give Docker more" in line


def test_a_mount_that_cannot_be_read(idle: Stack) -> None:
    secret = idle.folder / "sql/warehouse/00_schemas.sql"
    secret.chmod(0o600)
    line = refusal(idle)
    secret.chmod(0o644)
    assert "sql/warehouse/00_schemas.sql is not readable for user 50000" in line
    assert "HIGHWATER_UID=" in line
    assert "chmod -R a+rX" in line


def test_a_folder_that_is_not_there(idle: Stack) -> None:
    folder = idle.folder / "expectations"
    folder.rename(idle.folder / "gone")
    done = idle.compose("up", "--detach", check=False)
    (idle.folder / "gone").rename(folder)
    assert done.returncode != 0
    assert f"{folder}" in done.stderr


def test_a_warehouse_that_refuses_the_login(idle: Stack, request: pytest.FixtureRequest) -> None:
    idle.compose("up", "--detach", "--wait", "warehouse")
    idle.sql("ALTER ROLE postgres PASSWORD 'somebody changed it'")
    request.addfinalizer(lambda: reset_password(idle))
    line = refusal(idle)
    assert "the warehouse at warehouse:5432 refuses" in line
    assert "password authentication failed" in line
    assert "HIGHWATER_WAREHOUSE_ADMIN=postgres" in line
    assert "HIGHWATER_WAREHOUSE_ADMIN_PASSWORD_FILE" in line


def reset_password(stack: Stack) -> None:
    """Give the admin the generated password again."""
    stack.compose("up", "--detach", "--wait", "warehouse")
    stack.sql(f"ALTER ROLE postgres PASSWORD '{stack.secret('postgres_password')}'")


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


def test_somebody_elses_warehouse(
    make_stack: Callable[[str, dict[str, str]], Stack], small: dict[str, str], request: pytest.FixtureRequest
) -> None:
    stack = make_stack("elsewhere", small)
    server = f"{stack.environment['COMPOSE_PROJECT_NAME']}-server"
    password = stack.folder / "password"
    password.write_text("not one of ours\n")
    password.chmod(0o644)
    request.addfinalizer(lambda: stack.run("docker", "rm", "--force", "--volumes", server, check=False))
    stack.environment |= {
        "HIGHWATER_OWN_WAREHOUSE": "0",
        "HIGHWATER_WAREHOUSE_HOST": "elsewhere",
        "HIGHWATER_WAREHOUSE_ADMIN": "boss",
        "HIGHWATER_WAREHOUSE_ADMIN_PASSWORD_FILE": str(password),
    }
    # Docker keeps its networks apart, so the server is put where the platform's way out leads.
    stack.compose("create", "init")
    stack.run(
        "docker", "run", "--detach", "--name", server, "--env", "POSTGRES_PASSWORD=not one of ours",
        "--env", "POSTGRES_USER=boss", "--network", f"{stack.environment['COMPOSE_PROJECT_NAME']}_outside",
        "--network-alias", "elsewhere", "postgres:17",
    )  # fmt: skip
    stack.compose("up", "--detach", "--wait", "metadata")
    assert not stack.compose("ps", "--all", "--quiet", "warehouse").stdout
    stack.compose("run", "--rm", "-T", "init")
    made = stack.run("docker", "exec", server, "psql", "-U", "boss", "-d", "warehouse", "-Atc",
                     "SELECT count(*) FROM control.datasets").stdout  # fmt: skip
    assert int(made) >= 1
