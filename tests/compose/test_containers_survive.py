"""The month in compose: it lands as without Docker, whatever is killed, restarted, taken down or restored."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from compose.stack import CHANNEL_DAYS, SERVICES, Stack
from waiting import wait_until

WINDOWS = 30


def healthy(stack: Stack, service: str) -> bool:
    """Whether the service's container runs and its health check agrees."""
    state = stack.inspect(service)["State"]
    return bool(state["Running"]) and state["Health"]["Status"] == "healthy"


def restart(stack: Stack, service: str) -> None:
    """What a user types."""
    stack.compose("restart", service)


def kill(stack: Stack, service: str) -> None:
    """A crash: SIGKILL from outside, after which the restart policy has to bring the container back."""
    before = stack.inspect(service)
    os.kill(before["State"]["Pid"], signal.SIGKILL)
    wait_until(
        f"{service} is back after a kill",
        lambda: (now := stack.inspect(service))["RestartCount"] > before["RestartCount"] and now["State"]["Running"],
        seconds=60,
    )


def test_the_month_lands_as_it_does_without_docker(loaded: list[tuple[str, ...]], expected: list[str]) -> None:
    assert [content for _, _, content in loaded] == expected


def test_the_days_of_three_sources_come_together(stack: Stack, loaded: list[tuple[str, ...]]) -> None:
    wait_until("the days of channel_sales landed", lambda: stack.landed("channel_sales") == CHANNEL_DAYS)


def test_init_run_again_changes_nothing_that_landed(stack: Stack, loaded: list[tuple[str, ...]]) -> None:
    stack.compose("run", "--rm", "-T", "init")
    assert stack.hashes() == loaded


def test_an_upgrade_applies_new_statements_and_starts_everything_again(
    stack: Stack, loaded: list[tuple[str, ...]]
) -> None:
    added = stack.folder / "sql/datasets/99_added.sql"
    added.write_text("CREATE TABLE IF NOT EXISTS sales.added_later (n integer);\n")
    before = {service: stack.inspect(service)["Id"] for service in SERVICES}
    stack.compose("up", "--detach", "--build", "--force-recreate", "--wait")
    added.unlink()
    assert not before.items() & {service: stack.inspect(service)["Id"] for service in SERVICES}.items()
    assert stack.sql("SELECT to_regclass('sales.added_later') IS NOT NULL, current_database()") == [("t", "warehouse")]
    stack.sql("DROP TABLE sales.added_later")
    assert stack.hashes() == loaded


def test_down_and_up_keep_everything(stack: Stack, loaded: list[tuple[str, ...]]) -> None:
    password = stack.secret("admin_password")
    stack.compose("down")
    stack.up()
    assert stack.hashes() == loaded
    assert stack.log_in(password).status_code == 201


def test_another_user_takes_the_installation_over_once_its_logs_are_handed_over(
    stack: Stack, loaded: list[tuple[str, ...]]
) -> None:
    logs = "/opt/airflow/logs"
    shown = stack.compose("exec", "-T", "scheduler", "sh", "-c", f"stat -c %A {logs}/dag_id=*").stdout.split()
    assert {mode[5] for mode in shown} == {"w"}, "the group of all users may write what one of them has made"
    # As it was before that: made by one user for itself.
    stack.compose("exec", "-T", "scheduler", "chmod", "-R", "g-w", logs)
    another: dict[str, Any] = {"HIGHWATER_UID": "51000"}
    refused = stack.compose("up", "--detach", "--wait", check=False, **another)
    assert refused.returncode != 0
    said = stack.compose("logs", "--no-color", "init", **another).stdout
    assert "Traceback" not in said
    hand_over = re.search("`docker compose (run .*)` to open the logs", said)
    assert hand_over, said
    stack.compose(*hand_over[1].split())
    stack.compose("up", "--detach", "--wait", **another)
    assert stack.compose("exec", "-T", "scheduler", "id", "-u", **another).stdout.strip() == "51000"
    assert "30 of 30" in stack.run("scripts/highwater", "status", **another).stdout
    stack.up()
    assert stack.compose("exec", "-T", "scheduler", "id", "-u").stdout.strip() == "50000"
    assert stack.hashes() == loaded


def test_a_backup_is_restored_after_everything_was_thrown_away(
    stack: Stack, loaded: list[tuple[str, ...]], tmp_path: Path
) -> None:
    dump = tmp_path / "month.dump"
    stack.run("scripts/backup", str(dump))
    rows = stack.sql("SELECT count(*), sum(revenue) FROM sales.daily_sales")
    stack.compose("down", "--volumes")
    stack.run("scripts/restore", str(dump))
    assert stack.hashes() == loaded
    assert stack.sql("SELECT count(*), sum(revenue) FROM sales.daily_sales") == rows
    assert "30 of 30" in stack.run("scripts/highwater", "status").stdout


def test_a_file_that_is_no_backup_changes_nothing(stack: Stack, loaded: list[tuple[str, ...]], tmp_path: Path) -> None:
    bad = tmp_path / "bad.dump"
    bad.write_text("this is no dump")
    refused = stack.run("scripts/restore", str(bad), check=False)
    assert refused.returncode == 2
    assert "is no dump" in refused.stderr
    assert len(stack.hashes()) == WINDOWS


@pytest.mark.timeout(1800)
def test_every_service_in_turn_goes_down_while_the_month_loads(
    stack: Stack, loaded: list[tuple[str, ...]], record_property: Callable[[str, object], None]
) -> None:
    stack.compose("down", "--volumes")
    stack.up()
    started = time.monotonic()
    landed = 0
    for service in SERVICES:
        wait_until(f"a window lands before {service}", lambda landed=landed: stack.landed() > landed)  # type: ignore[misc]
        for disturb in (restart, kill):
            landed = stack.landed()
            assert landed < WINDOWS, "the month was over before every service had its turn"
            disturb(stack, service)
            wait_until(f"{service} is healthy again", lambda service=service: healthy(stack, service), seconds=120)  # type: ignore[misc]
            what = f"{disturb.__name__} {service}"
            record_property(what, f"{landed} had landed, healthy at {time.monotonic() - started:.0f} s")
    wait_until("30 windows landed", lambda: stack.landed() == WINDOWS)
    record_property("30 of 30", f"at {time.monotonic() - started:.0f} s")
    assert stack.hashes() == loaded
