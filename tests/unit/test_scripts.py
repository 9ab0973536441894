"""The scripts of the checkout reach the platform wherever it runs, and say so where none does."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from highwater.environment.settings import ROOT

DOCKER = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$*" in
  *"ps --quiet --status running "*) [ "$STATE" != up ] || echo id ;;
  *"ps --quiet --status running") [ "$STATE" = none ] || [ "$STATE" = stopped ] || echo id ;;
  *"ps --all --quiet"*) [ "$STATE" = none ] || echo id ;;
esac
"""


def typed(folder: Path, state: str, *line: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """What a command comes to beside a docker in that state; and the last thing that docker was asked."""
    docker, calls = folder / "docker", folder / "calls"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "CALLS": str(calls),
        "STATE": state,
        "HIGHWATER_HOME": str(folder / "home"),
    }
    for name in ("HIGHWATER_PLACE", "HIGHWATER_WAREHOUSE_HOST"):
        environment.pop(name, None)
    done = subprocess.run(
        [str(ROOT / line[0]), *line[1:]], env=environment, capture_output=True, text=True, check=False, cwd="/"
    )
    return done, calls.read_text().splitlines()[-1].removeprefix(f"compose --project-directory {ROOT} ")


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        (
            ("scripts/airflow", "dags", "list"),
            "exec --no-TTY scheduler python3 -m highwater.airflow.command_line dags list",
        ),
        (("scripts/highwater", "status", "--json"), "exec --no-TTY apiserver highwater status --json"),
        (("scripts/highwater", "login"), "run --no-TTY --rm --no-deps secrets highwater login"),
        (("scripts/highwater", "bootstrap"), "run --no-TTY --rm --no-deps init highwater bootstrap"),
        (("scripts/highwater", "migrate", "--plan"), "run --no-TTY --rm --no-deps init highwater migrate --plan"),
    ],
)
def test_a_command_goes_to_the_containers_that_run(tmp_path: Path, line: tuple[str, ...], asked: str) -> None:
    done, last = typed(tmp_path, "up", *line)
    assert (done.returncode, last) == (0, asked)


ASKED = {"airflow": ("dags", "list"), "highwater": ("status",)}
OF = {"airflow": "scheduler", "highwater": "apiserver"}
"""The service that each of the two speaks to."""


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize(("state", "demo"), [("stopped", False), ("partly", False), ("partly", True)])
def test_a_container_that_is_stopped_is_named(tmp_path: Path, name: str, state: str, demo: bool) -> None:
    (tmp_path / "home").mkdir()
    if demo:
        (tmp_path / "home/platform.env").touch()
    done, _ = typed(tmp_path, state, f"scripts/{name}", *ASKED[name])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"{name}: the {OF[name]} of docker compose is not up: docker compose ps --all shows what runs,"
        " docker compose up --detach --wait starts it\n"
    )


@pytest.mark.parametrize("line", [("scripts/airflow", "dags", "list"), ("scripts/highwater", "status")])
def test_where_nothing_was_ever_started_it_says_what_starts_it(tmp_path: Path, line: tuple[str, ...]) -> None:
    done, _ = typed(tmp_path, "none", *line)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "nothing was started from this checkout yet: scripts/demo starts it on this machine" in done.stderr
