"""Errors of the driver, of Airflow's API, of models and of the system come to one plain sentence."""

from __future__ import annotations

import fcntl
import io
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg2
import pytest
from pydantic import BaseModel, Field, ValidationError
from typer.testing import CliRunner

from highwater.cli.main import app, main
from highwater.environment import commands, settings
from highwater.model.errors import DataRejected
from highwater.store import driver_errors, sentences

REFUSED = (
    'connection to server at "localhost" (::1), port 5432 failed: Connection refused\n'
    "\tIs the server running on that host and accepting TCP/IP connections?\n"
    'connection to server at "localhost" (127.0.0.1), port 5432 failed: Connection refused\n'
    "\tIs the server running on that host and accepting TCP/IP connections?\n"
)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A home in which nothing was started, of a process that knows nothing else."""
    for name in ("HIGHWATER_PLACE", "HIGHWATER_WAREHOUSE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HIGHWATER_HOME", str(tmp_path))
    settings.get.cache_clear()
    yield tmp_path
    settings.get.cache_clear()


AT = 'connection to server at "h" (10.0.0.1), port 1 failed: '


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        (REFUSED, "nothing listens on port 5432 of localhost"),
        (f'{AT}FATAL:  password authentication failed for user "x"\n', 'password authentication failed for user "x"'),
        ('connection to server on socket "/run/.s" failed: No such file or directory\n\tIs the server running\n',
         "no server has its socket at /run/.s"),
        ('could not translate host name "nix" to address: Name or service not known\n', 'unknown host "nix"'),
        (f"{AT}timeout expired\n", "the login got no answer in time"),
        ("server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally\n"
         "\tbefore or while processing the request.\n", "the server closed the connection"),
        (f"{AT}FATAL:  the database system is starting up\n", "it is starting up"),
        (f"{AT}FATAL:  sorry, too many clients already\n", "all its connections are in use"),
    ],
)  # fmt: skip
def test_what_libpq_says_is_one_plain_clause(raw: str, plain: str) -> None:
    said = driver_errors.said(psycopg2.OperationalError(raw))
    assert said.startswith(plain)
    assert not re.search(r"Is the server|probably|FATAL|failed: |\n|\t", said)


def test_a_warehouse_that_is_away_says_what_starts_it_here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = psycopg2.OperationalError(REFUSED)
    assert sentences.of(away) == (
        "the warehouse at 127.0.0.1:5432 does not answer: nothing listens there; nothing was started from this checkout"
        " yet: scripts/demo starts it on this machine, docker compose up --detach --wait in containers"
    )
    (home / "platform.env").write_text("HIGHWATER_WAREHOUSE_PORT=15432\n")
    settings.get.cache_clear()
    assert sentences.of(away) == (
        "the warehouse at 127.0.0.1:15432 does not answer: nothing listens there; scripts/demo starts it"
    )
    with (home / "platform.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert sentences.of(away).endswith(f"scripts/demo runs, its logs are in {home}/logs")
    monkeypatch.setenv("HIGHWATER_PLACE", "compose")
    monkeypatch.setenv("HIGHWATER_WAREHOUSE_HOST", "warehouse")
    settings.get.cache_clear()
    assert sentences.of(away).endswith("docker compose up --detach --wait starts what does not")
    monkeypatch.setenv("HIGHWATER_WAREHOUSE_HOST", "db.example")
    settings.get.cache_clear()
    assert sentences.of(away).endswith("HIGHWATER_WAREHOUSE_HOST and HIGHWATER_WAREHOUSE_PORT say where it is")


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ('["2026-10-24 00:00:00+00","2026-10-25 00:00:00+00")', "daily_sales 2026-10-24 has not landed"),
        ('["2026-10-24 06:00:00+00","2026-10-24 12:00:00+00")',
         "daily_sales 2026-10-24T06:00/2026-10-24T12:00 has not landed"),
        ('["2026-10-24 02:00:00+02","2026-10-25 02:00:00+02")', "daily_sales 2026-10-24 has not landed"),
        ("[1,5)", "daily_sales [1,5) has not landed"),
    ],
)  # fmt: skip
def test_a_window_is_named_as_everywhere_else(raw: str, plain: str) -> None:
    assert driver_errors.said(psycopg2.DatabaseError(f"daily_sales {raw} has not landed")) == plain


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ("(psycopg2.errors.QueryCanceled) canceling statement due to statement timeout\n\n[SQL: SELECT 1]\n(More)",
         "a statement exceeded its time limit (statement timeout)"),
        ('(psycopg2.errors.UndefinedColumn) column "revenu" does not exist\nLINE 1: SELECT revenu\n               ^\n'
         'HINT:  Perhaps you meant "revenue".\n\n[SQL: SELECT revenu]',
         'column "revenu" does not exist. Perhaps you meant "revenue"'),
        ("the metric is not known", "the metric is not known"),
        ("", ""),
    ],
)  # fmt: skip
def test_what_comes_through_great_expectations_has_no_sql_in_it(raw: str, plain: str) -> None:
    assert driver_errors.said_through_sqlalchemy(raw) == plain


def test_a_login_that_is_refused_is_no_silence(home: Path) -> None:
    refused = psycopg2.OperationalError(f'{AT}FATAL:  role "analyst" is not permitted to log in\n')
    assert sentences.of(refused) == (
        'the warehouse at 127.0.0.1:5432 refuses the login: role "analyst" is not permitted to log in;'
        " scripts/highwater bootstrap repairs roles and databases"
    )


class Form(BaseModel):
    many: int = Field(3, ge=1, le=8)
    name: str = Field("", max_length=4)


def test_a_value_that_a_model_refuses_is_named_with_what_was_expected() -> None:
    with pytest.raises(ValidationError) as refused:
        Form.model_validate({"many": 9, "name": "a" * 200})
    said = sentences.of(refused.value)
    assert said.startswith("many 9 is refused: expected at most 8; name 'aaa")
    assert said.endswith("…  is refused: expected at most 4 characters".replace("  ", " "))
    assert len(said) < 200


REQUEST = httpx.Request("POST", "http://127.0.0.1:8080/api/v2/dags/x/dagRuns")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (httpx.ConnectError("[Errno 111] Connection refused", request=REQUEST),
         "Airflow at http://127.0.0.1:8080 does not answer: nothing listens there; "),
        (httpx.ReadTimeout("", request=REQUEST), "Airflow at http://127.0.0.1:8080 does not answer in time"),
        (httpx.HTTPStatusError("404", request=REQUEST, response=httpx.Response(404, json={"detail": "no DAG x"})),
         "Airflow at http://127.0.0.1:8080 refuses: no DAG x (status 404)"),
        (httpx.HTTPStatusError("502", request=REQUEST, response=httpx.Response(502, text="<html>")),
         "Airflow at http://127.0.0.1:8080 refuses: status 502"),
        (FileNotFoundError(2, "No such file or directory", "/x/y"), "/x/y: No such file or directory"),
        (DataRejected("the day is short"), "the day is short"),
        (KeyError("conf"), "KeyError: 'conf'"),
        (ValueError(), "ValueError"),
    ],
)  # fmt: skip
def test_any_error_is_a_sentence(home: Path, error: Exception, said: str) -> None:
    assert sentences.of(error).startswith(said)


def test_help_and_mistakes_name_the_command_that_people_type() -> None:
    for words in ([], ["--help"], ["backfill", "--help"], ["backfill", "run", "--help"], ["statsu"]):
        shown = CliRunner().invoke(app, words, prog_name=commands.PROGRAM)
        assert "highwater.cli.main" not in shown.output
        assert "python -m" not in shown.output
        assert "scripts/highwater" in shown.output


COMMAND = re.compile(
    r"(?<![\w/`])highwater (?:backfill|policy|status|login|rollback|checkpoint|recovery|incidents|accept|verify|sources"
    r"|outage|bootstrap)\b"
)


def test_no_message_names_a_command_as_nobody_types_it() -> None:
    folders = ("sql/**/*.sql", "highwater/sql/**/*.sql", "highwater/**/*.py", "dags/*.py")
    files = [file for folder in folders for file in settings.ROOT.glob(folder)]
    found = [
        f"{file.name}: {line.strip()}"
        for file in files
        for line in file.read_text().splitlines()
        if COMMAND.search(line) and "hashtext" not in line
    ]
    assert not found


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("statsu", "unknown command 'statsu' of scripts/highwater: did you mean status?; see scripts/highwater --help"),
        ("backfill zzz", "unknown command 'zzz' of scripts/highwater backfill: expected one of "),
        ("status --jsno", "unknown option --jsno of scripts/highwater status: did you mean --json?; "),
        ("status -q", "unknown option -q of scripts/highwater status; see scripts/highwater status --help"),
        ("status more", "unexpected argument 'more' for scripts/highwater status; "),
        ("status --json=3", "invalid option --json: expected no value; see scripts/highwater status --help"),
        ("backfill plan", "argument DATASET is missing; see scripts/highwater backfill plan --help"),
        ("checkpoint reset orders", "option --reason is missing; "),
        ("backfill plan x --from", "invalid option --from: expected a value after it; see scripts/highwater backfill "),
        ("drill forget --hours x", "invalid option --hours 'x': expected a whole number; see scripts/highwater drill "),
        ("drill forget --hours 3", "invalid option --hours '3': expected at least 6; "),
        ("incidents acknowledge x --note y", "invalid argument INCIDENT 'x': expected a whole number; "),
    ],
)
def test_what_is_typed_wrongly_is_said_in_one_line(
    typed: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["highwater", *typed.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out, shown.err.count("\n")) == (2, "", 1)
    assert shown.err.startswith(f"highwater: {said}")
    assert shown.err.endswith(" --help\n")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("status --bogus", "unknown option --bogus of scripts/highwater status; "),
        ("backfill plan", "argument DATASET is missing; "),
        ("--bogus", "setting HIGHWATER_HISTORY_DAYS='0' is refused: expected at least 1"),
        ("nothing", "setting HIGHWATER_HISTORY_DAYS='0' is refused: expected at least 1"),
    ],
)
def test_beside_a_setting_of_the_project_that_is_wrong_it_is_one_line_too(
    typed: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HIGHWATER_HISTORY_DAYS", "0")
    monkeypatch.setattr("sys.argv", ["highwater", *typed.split()])
    settings.get.cache_clear()
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        monkeypatch.undo()
        settings.get.cache_clear()
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out, shown.err.count("\n")) == (2, "", 1)
    assert shown.err.startswith(f"highwater: {said}")


@pytest.mark.parametrize(
    ("typed", "warning"),
    [
        ("drill forget", ""),
        (
            "outage simulate",
            "highwater: scripts/highwater outage simulate is deprecated: use scripts/highwater drill forget\n",
        ),
    ],
)
def test_a_question_that_is_answered_with_no_ends_without_a_traceback(
    typed: str, warning: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["highwater", *typed.split()])
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (1, f"{warning}highwater: nothing was done\n")
