"""The command line as a person and a program use it: what it prints, its exit codes, no traceback for a mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from loading import day, land
from psycopg2.extensions import cursor as Cursor

from highwater.environment import credentials, settings

pytestmark = pytest.mark.usefixtures("empty_warehouse")


def highwater(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "highwater.cli.main", *arguments],
        env={**os.environ, "PYTHONPATH": str(settings.ROOT), **environment},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def test_status_draws_a_mark_a_window_and_says_what_is_missing() -> None:
    land(day("2026-10-01"))
    land(day("2026-10-03"))
    shown = highwater("status")
    assert shown.returncode == 0
    assert "2026-10-01 █░█" + "░" * 27 in shown.stdout
    assert "2 of 30 due windows landed · 28 missing · 782 rows · 16 quarantined" in shown.stdout
    assert "daily_sales 2026-10-02 missing: no run of historical_sales_migration has begun it" in shown.stdout
    assert "daily_sales 2026-10-04T00:00/2026-10-31T00:00 missing" in shown.stdout


def test_status_for_a_program_is_json() -> None:
    land(day("2026-10-01"))
    answer = json.loads(highwater("status", "--json").stdout)
    (sales,) = [dataset for dataset in answer["datasets"] if dataset["dataset"] == "daily_sales"]
    assert (sales["windows_landed"], sales["windows_missing"], sales["rows_published"]) == (1, 29, 391)
    assert sales["landed_until"] == "2026-10-02 00:00:00+00:00"
    assert sales["is_stale"] is True
    first_gap = next(gap for gap in answer["not_landed"] if gap["dataset"] == "daily_sales")
    assert first_gap["window_start"] == "2026-10-02 00:00:00+00:00"


@pytest.mark.parametrize(("first_window", "is_stale"), [("2026-10-30 06:30+00", False), ("2026-10-30 05:30+00", True)])
def test_before_anything_landed_a_dataset_is_stale_once_its_first_window_is_older_than_its_limit(
    admin: Cursor, first_window: str, is_stale: bool
) -> None:
    admin.execute("UPDATE control.datasets SET first_window = %s WHERE dataset = 'daily_sales'", (first_window,))
    admin.execute("SELECT landed_until, is_stale FROM ops.freshness WHERE dataset = 'daily_sales'")
    assert tuple(admin.fetchone() or ()) == (None, is_stale)


def test_check_says_by_its_exit_code_whether_all_has_landed() -> None:
    assert highwater("status", "--check").returncode == 1


def test_login_shows_the_address_and_the_generated_password() -> None:
    shown = highwater("login").stdout
    assert settings.get().ui_address in shown
    assert credentials.secret("admin_password") in shown
    # No platform runs here, only its warehouse.
    assert "the platform is stopped: scripts/demo starts it" in shown
    assert highwater("login", "--role", "analyst").stdout == credentials.password("analyst") + "\n"


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (("status",), {"HIGHWATER_WAREHOUSE_PORT": "1"}, "the warehouse at 127.0.0.1:1 does not answer"),
        (("bootstrap",), {"HIGHWATER_WAREHOUSE_PORT": "1"}, "the warehouse at 127.0.0.1:1 does not answer: nothing"),
        (("status",), {"HIGHWATER_KEEP_VERSIONS_DAYS": "-3"}, "HIGHWATER_KEEP_VERSIONS_DAYS='-3' is refused"),
        (("status",), {"HIGHWATER_SECRETS_DIR": "/nowhere"}, "/nowhere/analyst_password is missing"),
        (("login", "--role", "publisher"), {}, "unknown role 'publisher': expected one of postgres, airflow, loader"),
        (("statsu",), {}, "unknown command 'statsu'"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_two(
    arguments: tuple[str, ...], environment: dict[str, str], said: str
) -> None:
    refused = highwater(*arguments, **environment)
    assert refused.returncode == 2
    assert said in refused.stderr.replace("\n", " ")
    assert "Traceback" not in refused.stderr
