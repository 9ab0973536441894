"""docs/how-to/operations.md: each symptom is brought about, examined and resolved by the commands written there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import batches
import channels
import psycopg2
import pytest
import runbook
import shopping
import yaml
from loading import OTHER_QUANTITY, day, land, partition, run, stage
from runbook import Command
from typer.testing import CliRunner

from highwater.backfill import requests
from highwater.backfill.requests import Request
from highwater.cli.main import app
from highwater.environment import credentials, settings
from highwater.incidents import alerts
from highwater.loading import source_checks, stages
from highwater.loading.source_checks import Check
from highwater.local import environment
from highwater.model import clock
from highwater.model.errors import AuditFailed, ConfigurationError, DataRejected, IntegrityBroken
from highwater.model.windows import Window
from highwater.policy import conditions
from highwater.recovery import backlog
from highwater.recovery.backlog import Loaded
from highwater.setup import bootstrap
from highwater.sources import health
from highwater.store import ledger, publish, warehouse
from simulation import outages, sales

SYMPTOMS = {symptom.key: symptom for symptom in runbook.symptoms()}
DAY = day("2026-10-24")
SALES = stages.Pipeline("daily_sales", "historical_sales_migration", "legacy", "daily_sales")
NUMBER = 7
"""Of the backfill and of the incident that the page takes as its example."""

BACKED_UP = ("control.catchup_policies", "control.sources")
"""What is wanted, and put back as it was at the end."""


def execute(statement: str, role: str = "postgres", database: str | None = None) -> list[Any]:
    """Run a statement and commit; returns its rows."""
    with warehouse.session(role, database) as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def count(query: str) -> int:
    """The number that a query of the warehouse gives."""
    return int(execute(query)[0][0])


@pytest.fixture(autouse=True)
def as_it_was(empty_warehouse: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is wrong yet, and the next backfill and incident are the page's; what is changed is put back."""
    # Nobody is to be asked at an address that this platform does not have.
    monkeypatch.setenv("HIGHWATER_UI_PORT", "1")
    settings.get.cache_clear()
    sequences = {"control.backfills": "backfill_id", "ops.incidents": "incident_id"}
    execute("TRUNCATE control.backfills CASCADE")
    for table, column in sequences.items():
        execute(f"ALTER TABLE {table} ALTER COLUMN {column} RESTART WITH {NUMBER}")
    ((changes,),) = execute("SELECT coalesce(max(change_id), 0) FROM control.catchup_policy_history")
    kept = {table: execute(f"SELECT * FROM {table}") for table in BACKED_UP}
    yield
    execute("TRUNCATE control.backfills, control.condition_states CASCADE")
    with warehouse.session("postgres") as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        for table, rows in kept.items():
            cursor.execute(f"DELETE FROM {table}")
            for row in rows:
                cursor.execute(f"INSERT INTO {table} VALUES ({', '.join(['%s'] * len(row))})", row)
        cursor.execute("DELETE FROM control.catchup_policy_history WHERE change_id > %s", (changes,))
    execute("TRUNCATE simulation.outages", "simulator", settings.get().sources_database)
    monkeypatch.undo()
    settings.get.cache_clear()


# -- how each symptom is brought about; what is left open is closed at the end of the test


def fail(dataset: str = "daily_sales", window: Window = DAY) -> None:
    """One attempt as a task makes it, which is refused, and its look for incidents."""
    with suppress(DataRejected), ledger.attempt(dataset, window, "load", run()):
        raise DataRejected("it breaks a rule")
    alerts.look()


def unwell() -> None:
    """A partition is gone without its ledger row, and a health check sees it."""
    land(day("2026-10-25"))
    execute(f"DROP TABLE {partition('daily_sales', day('2026-10-25'))}")
    health.check("run", [])
    assert count("SELECT count(*) FROM ops.health_checks WHERE check_name = 'ledger' AND verdict = 'unwell'")


def policy_keeps_it_off(stack: ExitStack) -> None:
    shell("policy set daily_sales --disabled --conditions off_peak_hours --reason 'the servers move'")
    list(conditions.evaluate())
    with warehouse.session("loader") as cursor:
        wanted = Request(
            "daily_sales", DAY.start, DAY.end, via="policy", reason="a gap", requested_by="catchup_control"
        )
        requests.request(cursor, wanted)


def skipped(stack: ExitStack) -> None:
    shell("policy set daily_sales --max-age '3 days' --reason 'older ones are of no use'")
    assert count("SELECT count(*) FROM ops.window_status WHERE dataset = 'daily_sales' AND state = 'skipped'")


def audit_failed(stack: ExitStack) -> None:
    staged = stage(DAY)
    with suppress(AuditFailed), ledger.attempt("daily_sales", DAY, "audit", run()) as tried:
        stages.audit(SALES, tried, publish.Staged(**vars(staged) | {"expected_rows": staged.rows + 1}))
    assert count("SELECT count(*) FROM ops.attempts WHERE error_kind = 'audit failed'")


def stopped(stack: ExitStack) -> None:
    for number in (24, 25, 26):
        window = day(f"2026-10-{number}")
        with suppress(ConfigurationError), ledger.attempt("daily_sales", window, "transform", run()):
            raise ConfigurationError("clean.sql is missing")


def landed(stack: ExitStack) -> None:
    with ledger.attempt("daily_sales", DAY, "load", run()) as tried:
        tried.rows = land(DAY).rows_published
    with warehouse.session("loader") as cursor:
        ledger.summarise(cursor, "daily_sales", DAY, run())


def landed_twice(stack: ExitStack) -> None:
    land(DAY, by="good")
    sources = settings.get().sources_database
    execute(OTHER_QUANTITY.replace("2026-10-05", "2026-10-24"), "simulator", sources)
    land(DAY, by="bad")

    def as_simulated() -> None:
        execute("DROP TABLE legacy.sales_20261024", "simulator", sources)
        execute("DELETE FROM legacy.closed_days WHERE business_date = '2026-10-24'", "simulator", sources)
        sales.advance(clock.now())

    stack.callback(as_simulated)


def rows_lost(stack: ExitStack) -> None:
    land(DAY)
    execute("DELETE FROM sales.daily_sales WHERE sale_id IN (SELECT min(sale_id) FROM sales.daily_sales)")
    assert count("SELECT count(*) FROM sales.daily_sales") < count("SELECT rows_published FROM ops.window_ledger")
    unwell()


def other_than_the_source(stack: ExitStack) -> None:
    merged = shopping.land()
    execute("UPDATE sales.orders SET amount = amount + 1 WHERE order_id = (SELECT min(order_id) FROM sales.orders)")
    assert shopping.compare(merged).keys
    batches.land("payments", batches.window(0))
    execute(
        "UPDATE sales.payments SET amount = amount + 1 WHERE payment_id IN (SELECT min(payment_id) FROM sales.payments)"
    )
    sources = settings.get().sources_database
    with (
        closing(warehouse.connect("billing_reader", sources)) as billing,
        warehouse.session("loader") as target,
        pytest.raises(IntegrityBroken),
    ):
        payments = Loaded(batches.RECOVERED[0], billing.cursor(), [batches.window(0)])
        backlog.check_integrity([payments], target, run())


def at_work(stack: ExitStack) -> None:
    land(DAY)
    stack.enter_context(ledger.attempt("daily_sales", day("2026-10-25"), "extract", run()))
    with ledger.attempt("daily_sales", DAY, "load", run()):
        pass
    asked_for(stack)


def asked_for(stack: ExitStack) -> None:
    shell("backfill run daily_sales --from 2026-10-01 --to 2026-10-07 --reason 'to see' --yes")


def paused(stack: ExitStack) -> None:
    asked_for(stack)
    shell(f"backfill pause {NUMBER}")


def read_for_long(stack: ExitStack) -> None:
    land(DAY)
    link = stack.enter_context(closing(warehouse.connect("analyst")))
    link.cursor().execute("SELECT count(*) FROM sales.daily_sales")


def left_in_staging(stack: ExitStack) -> None:
    landed(stack)
    stage(day("2026-10-25"))
    execute("UPDATE ops.staging_sets SET made_at = made_at - interval '2 days'")
    stage(day("2026-10-26"))
    assert count("SELECT count(*) FROM ops.staging_sets") == 2


def source_away(stack: ExitStack) -> None:
    outages.start("partner", clock.now(), None, "to see", "ada")


def checked_source(stack: ExitStack) -> None:
    source_checks.record("partner", channels.day("2026-10-30"), Check("away", False, 0.1, False, "no"), channels.run())


def was_down(stack: ExitStack) -> None:
    alerts.look()
    assert count("SELECT count(*) FROM ops.incidents WHERE kind = 'outage found'")
    unwell()


def nobody_notified(stack: ExitStack) -> None:
    patch = stack.enter_context(pytest.MonkeyPatch.context())
    patch.setenv("HIGHWATER_ALERT_URLS", "json://127.0.0.1:1")
    settings.get.cache_clear()
    stack.callback(settings.get.cache_clear)
    fail()
    alerts.send_waiting()


def another_password(stack: ExitStack) -> None:
    stack.callback(bootstrap.run)
    stack.callback(lambda: warehouse.connect("analyst").close())
    execute("ALTER ROLE analyst PASSWORD 'another user changed it'")
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        warehouse.connect("analyst")


def known_to_too_many(stack: ExitStack) -> None:
    known = credentials.password("analyst"), credentials.secret("admin_password")
    stack.callback(lambda: _changed(known))


def _changed(known: tuple[str, str]) -> None:
    now = credentials.password("analyst"), credentials.secret("admin_password")
    assert all(old != new for old, new in zip(known, now, strict=True))
    assert now[1] in settings.get().ui_passwords_file.read_text()
    warehouse.connect("analyst").close()


def nothing(stack: ExitStack) -> None:
    """The symptom is that there is nothing yet, or lies outside of the warehouse."""


BROUGHT_ABOUT: dict[str, Callable[[ExitStack], None]] = {
    "begin": nothing,
    "first-check": nothing,
    "missing-day": nothing,
    "catch-up-off": policy_keeps_it_off,
    "skipped": skipped,
    "policy-ignored": nothing,
    "audit-failed": audit_failed,
    "stopped": stopped,
    "load-again": landed,
    "worse-than-before": landed_twice,
    "ledger-differs": rows_lost,
    "source-differs": other_than_the_source,
    "quarantine": landed,
    "too-many-runs": at_work,
    "memory": at_work,
    "slow": landed,
    "stuck": at_work,
    "backfill-waits": paused,
    "from-airflow-2": landed,
    "days-before": nothing,
    "busy-table": read_for_long,
    "disk-full": left_in_staging,
    "password": known_to_too_many,
    "role-missing": another_password,
    "outage": source_away,
    "source-unavailable": checked_source,
    "was-down": was_down,
    "alert": nobody_notified,
    "upgrade": nothing,
    "restore": nothing,
    "port": nothing,
    "service": nothing,
}

AFTERWARDS = {
    "missing-day": "SELECT count(*) = 1 FROM control.backfills WHERE state = 'requested'",
    "catch-up-off": "SELECT is_on FROM control.catchup_is_on('daily_sales')",
    "skipped": "SELECT count(*) = 0 FROM ops.window_status WHERE state = 'skipped'",
    "audit-failed": "SELECT windows_left = 1 FROM ops.backfill_progress",
    "load-again": "SELECT windows_left = 1 FROM ops.backfill_progress",
    "worse-than-before": "SELECT run_id ~ 'rollback' FROM ops.window_ledger",
    "ledger-differs": "SELECT windows_left = 1 FROM ops.backfill_progress",
    "source-differs": "SELECT mode = 'reset' FROM ops.checkpoints",
    "too-many-runs": "SELECT array_agg(max_active ORDER BY backfill_id) = '{3,1}' FROM control.backfills",
    "backfill-waits": "SELECT state = 'cancelled' FROM control.backfills",
    "from-airflow-2": "SELECT which = 'all' AND via = 'cli' FROM control.backfills",
    "outage": "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'partner_reader'",
    "source-unavailable":
        "SELECT (reliability_threshold, catch_up_limit) = (0.9, '14 days')"
        " FROM control.sources WHERE source = 'partner'",
    "was-down": "SELECT count(DISTINCT dataset) > 4 FROM control.backfills",
    "alert": "SELECT acknowledged_by IS NOT NULL FROM ops.incidents WHERE incident_id = 7",
}  # fmt: skip
"""What is true after the fix."""

EMPTY_HERE = {
    "SELECT backfill_id, state, running, note FROM ops.backfill_progress WHERE running > 0": "no lane runs in here",
}
"""Questions that have no answer in this test, and why."""


@pytest.mark.parametrize("key", SYMPTOMS)
def test_what_is_written_shows_the_symptom_and_repairs_it(
    key: str, request: pytest.FixtureRequest, platform: Path
) -> None:
    with ExitStack() as stack:
        if BROUGHT_ABOUT[key] is other_than_the_source:
            request.getfixturevalue("small_shop")
        BROUGHT_ABOUT[key](stack)
        for command in SYMPTOMS[key].commands:
            if command.role:
                ask(command)
            elif command.where == "" and command.words[0] != "scripts/airflow":
                shell(command.text)
            elif command.where == "with scripts/demo":
                on_this_machine(command.words, platform)
        if key in AFTERWARDS:
            assert execute(AFTERWARDS[key])[0][0]


def test_what_lies_in_staging_and_is_read_stays() -> None:
    with ExitStack() as stack:
        left_in_staging(stack)
        for command in SYMPTOMS["disk-full"].commands:
            if "drop_set" in command.text:
                ask(command)
        left = execute("SELECT lower(window_range) FROM ops.staging_sets")
    assert [row[0] for row in left] == [day("2026-10-26").start]


def test_a_window_that_lost_rows_is_whole_once_it_is_loaded_again() -> None:
    with ExitStack() as stack:
        rows_lost(stack)
        shown = SYMPTOMS["ledger-differs"].commands
        compared, *_ = [c for c in shown if c.role and not c.acts]
        land(DAY)
    assert [row.day for row in execute(compared.text)] == [day("2026-10-25").start]


def shell(line: str) -> str:
    """The output of ``scripts/highwater …``; exit code 1 is an answer of commands that check."""
    words = shlex.split(line.removeprefix("scripts/highwater "))
    done = CliRunner().invoke(app, words)
    answers = (0, 1) if "--check" in words or words[0] == "verify" else (0,)
    assert done.exit_code in answers, f"{line}: {done.exception or done.output}"
    return done.stdout


def ask(command: Command) -> None:
    """Run SQL as the role that the page names; a question has an answer."""
    text, gexec = command.text.removesuffix(r"\gexec"), command.text.endswith(r"\gexec")
    rows = execute(text, str(command.role))
    if gexec:
        assert rows, text
        for row in rows:
            execute(row[0], str(command.role))
    elif text.startswith("SELECT") and text not in EMPTY_HERE:
        assert rows, f"{text} shows nothing"


def on_this_machine(words: list[str], home: Path) -> None:
    """What the page has typed beside ``scripts/demo``, on the home of this platform; git and the start are left out,
    and what tests/integration/test_restore.py tries.
    """
    if words[0] in ("git", "scripts/airflow", "scripts/backup", "scripts/restore") or words == ["scripts/demo"]:
        return
    if words[0] == "scripts/highwater":
        shell(shlex.join(words[1:]))
        return
    (home / "airflow/logs").mkdir(parents=True, exist_ok=True)
    line = " ".join(word if "*" in word else shlex.quote(word) for word in words).replace(".highwater", str(home))
    subprocess.run(line, shell=True, check=True, capture_output=True)


PROGRAMS = {"git", "docker", "cp", "du", "find", "rm"}
SERVICES = yaml.safe_load((settings.ROOT / "docker-compose.yaml").read_text())["services"]


def test_each_symptom_says_how_to_fix_it() -> None:
    for symptom in SYMPTOMS.values():
        if symptom.key not in ("begin", "first-check", "from-airflow-2"):
            assert runbook.FIX in symptom.text, symptom.key


def test_what_is_typed_in_a_shell_is_there(platform: Path) -> None:
    typed = [command for symptom in SYMPTOMS.values() for command in symptom.commands if not command.role]
    for command in typed:
        first, *rest = command.words
        if first.startswith("scripts/"):
            assert (settings.ROOT / first).exists(), command
        elif first == "docker" and rest[0] == "compose":
            named = [word for word in rest if word in SERVICES]
            assert named or rest[1] in ("up", "down", "ps", "build"), command
        else:
            assert first in PROGRAMS | {"psql"}, command


def expanded(line: str) -> list[str]:
    """The words of a line as a shell makes them, dates of today among them."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], check=True, capture_output=True, text=True)
    return done.stdout.split("\0")[:-1]


def test_airflow_has_the_commands_that_are_typed(platform: Path) -> None:
    lines = [
        expanded(command.text)[1:]
        for symptom in SYMPTOMS.values()
        for command in symptom.commands
        if command.words[0] == "scripts/airflow"
    ]
    assert len(lines) >= 10
    # Of the names that Airflow 2 had for it only those that are gone are shown as such.
    gone = [["dags", "backfill", "x"], ["dags", "trigger", "x", "--exec-date", "2026-10-24"]]
    assert all(f"`airflow {' '.join(line[:2])} DAG" in runbook.FROM_AIRFLOW_2.read_text() for line in gone)
    program = (
        "import json, sys; from airflow.cli import cli_parser; parser = cli_parser.get_parser();"
        " [parser.parse_args(line) for line in json.loads(sys.argv[1])]"
    )
    (platform / "airflow").mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(lines)],
        env=environment.environment(1),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


PAGES = (
    "README.md",
    "docs/how-to/compose.md",
    *(f"docs/reference/dags/{path.name}" for path in sorted((settings.ROOT / "docs/reference/dags").glob("*.md"))),
    "docs/how-to/roll-back.md",
    "docs/reference/page.md",
    "docs/reference/queries.md",
)
"""Those of which each command is typed; docs/how-to/operations.md has its own tests above."""
README = "\n".join((settings.ROOT / page).read_text() for page in PAGES)
FENCES = "\n".join(re.findall(r"^```(?:sh|sql)\n(.*?)^```", README, re.MULTILINE | re.DOTALL))
ASKED = [
    *re.findall(r"^(?:psql> )?((?:SELECT|UPDATE|INSERT) .*?;)", FENCES, re.MULTILINE),
    *re.findall(r"`(SELECT [^`…]+)`", README.replace("\n", " ")),
]
TYPED = [
    re.sub(r"\[|\]", "", line.split("  #")[0]) for line in re.findall(r"^scripts/highwater (.+)$", FENCES, re.MULTILINE)
]


INLINE = re.findall(r"`scripts/highwater ([^`]+)`", README.replace("\n", " "))


def test_what_the_readme_asks_in_sql_is_answered() -> None:
    assert len(ASKED) > 15
    for statement in ASKED:
        if "rollback_window" not in statement:  # which has its own test, and nothing to roll back here
            with warehouse.session("operator") as cursor:
                cursor.execute(statement)
                cursor.connection.rollback()


def twice_with_other_payments(stack: ExitStack) -> None:
    """The window of payments that the page takes as its example, as two versions."""
    window = batches.window(5)
    sources = settings.get().sources_database
    batches.land("payments", window, by="good")
    with warehouse.session("simulator", sources) as cursor:
        cursor.execute(
            "SELECT amount, payment_id FROM billing.payments WHERE batch_start = %s AND amount > 0"
            " ORDER BY payment_id LIMIT 1",
            (window.start,),
        )
        amount, payment = warehouse.fetch(cursor)
        cursor.execute("UPDATE billing.payments SET amount = amount + 1 WHERE payment_id = %s", (payment,))
    batches.land("payments", window, by="bad")

    def as_it_was() -> None:
        with warehouse.session("simulator", sources) as cursor:
            cursor.execute("UPDATE billing.payments SET amount = %s WHERE payment_id = %s", (amount, payment))

    stack.callback(as_it_was)


def test_every_command_of_the_readme_does_what_it_says(small_shop: object, platform: Path) -> None:
    assert len(TYPED) > 15
    with ExitStack() as stack:
        landed_twice(stack)
        shopping.land()
        fail()
        for line in [*TYPED, *(text for text in INLINE if not {"…", "["} & set(text) and "--" in text)]:
            words = [word for word in shlex.split(line) if word != "--watch" or "backfill" not in line]
            if words[:2] == ["outage", "start"]:
                execute("TRUNCATE simulation.outages", "simulator", settings.get().sources_database)
            if words[:2] == ["rollback", "payments"]:
                twice_with_other_payments(stack)
            if words == ["--help"]:
                continue
            done = CliRunner().invoke(app, words, input="y\n" * 3)
            assert done.exit_code == 0, f"{line}: {done.exception or done.output}"
            assert done.output.strip(), line
