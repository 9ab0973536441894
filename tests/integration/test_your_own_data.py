"""docs/tutorial/your-own-data.md, followed word for word in a checkout of its own: a table becomes a dataset."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from highwater.environment import settings

PAGE = (settings.ROOT / "docs/tutorial/your-own-data.md").read_text()
BLOCKS = dict(re.findall(r"^```(.+?)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
FILES = {name.split(" ")[1]: text for name, text in BLOCKS.items() if re.search(r" \S+/", name)}
CONNECT = re.findall(r"^(?:scripts/)(airflow connections add .*?[^\\])\n", PAGE, re.MULTILINE | re.DOTALL)
AIRFLOW = (
    "import os, sys; from highwater.local import environment as local_environment;"
    " os.execvpe(sys.executable, [sys.executable, '-m', 'airflow', *sys.argv[1:]], local_environment.environment(1))"
)
HELP_DESK = """
CREATE SCHEMA helpdesk;
CREATE TABLE helpdesk.tickets (
    ticket_id bigint PRIMARY KEY, opened_at timestamptz, channel text, minutes_to_answer integer, text text
);
INSERT INTO helpdesk.tickets
SELECT n, '2026-10-01 00:00+00'::timestamptz + n * interval '1 hour', (ARRAY['Mail', 'phone ', 'chat'])[1 + n % 3],
    CASE WHEN n % 24 <> 7 THEN n % 90 END, 'what someone wrote'
FROM generate_series(0, 719) AS n;
"""


class Checkout:
    """A copy of the repository with the page's files in it, and its platform."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # Not under test: the machine's own settings, and this repository's package.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("HIGHWATER_", "SIMULATION_", "AIRFLOW"))}
        self.environment = inherited | {
            "PYTHONPATH": str(root),
            "HIGHWATER_HOME": str(root / ".highwater"),
            "HIGHWATER_ANCHOR": "2026-10-31",
            "HIGHWATER_NOW": "2026-10-31T12:00:00+00:00",
            "SIMULATION_ROWS_PER_DAY": "10",
            "SIMULATION_SHOP_ORDERS": "10",
            "SIMULATION_CHANNEL_SALES": "10",
        }

    def run(self, *command: str) -> str:
        """Run a program in the checkout; returns what it said."""
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, f"{command} said:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def python(self, program: str, *arguments: str) -> str:
        return self.run(sys.executable, "-c", program, *arguments)

    def port(self) -> str:
        return self.python("from highwater.environment import settings; print(settings.get().warehouse_port)").strip()

    def link(self, database: str) -> Connection:
        """The admin's connection to a database of the checkout's server."""
        password = (self.root / ".highwater/secrets/postgres_password").read_text().strip()
        link = psycopg2.connect(host="127.0.0.1", port=self.port(), dbname=database, user="postgres", password=password)
        link.autocommit = True
        return link


@pytest.fixture
def checkout(scratch: Callable[[str], Path]) -> Iterator[Checkout]:
    root = scratch("own")
    for folder in ("config", "dags", "docker", "expectations", "highwater", "scripts", "simulation", "sql"):
        shutil.copytree(settings.ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    mine = Checkout(root)
    mine.python("from highwater.local import server as local_server; local_server.start()")
    yield mine
    mine.run(sys.executable, "-m", "highwater.local.platform")


def trusting(dag: Path) -> None:
    """Put the tasks that go by the source's rules in place of those that do not, as the page says."""
    text, found = re.subn(
        r"    extracted = .*?(?=\n\n\n)",
        BLOCKS["python in place of the five tasks"].rstrip(),
        dag.read_text().replace("import tasks\n", "import sync_tasks\n"),
        flags=re.DOTALL,
    )
    assert found == 1
    dag.write_text(text)


@pytest.mark.slow
def test_a_table_of_another_owner_becomes_a_dataset(checkout: Checkout) -> None:
    assert sum(text.count("\n") for text in FILES.values()) < 100
    assert not [name for name in FILES if name.startswith("highwater/")]
    for name, text in FILES.items():
        (checkout.root / name).parent.mkdir(exist_ok=True)
        (checkout.root / name).write_text(text)
    checkout.run(sys.executable, "-m", "highwater.cli.main", "bootstrap")
    (checkout.root / ".highwater/airflow").mkdir()
    checkout.python(AIRFLOW, "db", "migrate")
    with closing(checkout.link("postgres")) as link, link.cursor() as cursor:
        cursor.execute("CREATE DATABASE crm")
    with closing(checkout.link("crm")) as link, link.cursor() as cursor:
        cursor.execute(HELP_DESK)
        cursor.execute(BLOCKS["sql at the source"])

    (connect,) = CONNECT
    where = {"db.example": "127.0.0.1", "5432": checkout.port()}
    words = [where.get(word, word) for word in re.findall(r"'[^']*'|[^\s\\]+", connect.removeprefix("airflow "))]
    checkout.python(AIRFLOW, *[word.strip("'") for word in words])
    checkout.python(AIRFLOW, "dags", "test", "support_tickets", "2026-10-05T03:00:00+00:00")
    with closing(checkout.link("warehouse")) as link, link.cursor() as cursor:
        cursor.execute("SET SESSION AUTHORIZATION operator")
        cursor.execute(BLOCKS["sql as operator"])
    trusting(checkout.root / "dags/support_tickets.py")
    checkout.python(AIRFLOW, "dags", "test", "support_tickets", "2026-10-30T03:00:00+00:00")

    with closing(checkout.link("warehouse")) as link, link.cursor() as cursor:
        cursor.execute("SELECT source, reachable, complete FROM ops.source_checks")
        assert cursor.fetchall() == [("helpdesk", True, True)]
        cursor.execute(
            "SELECT rows_published, rows_quarantined FROM ops.window_ledger WHERE dataset = 'tickets' ORDER BY 1, 2"
        )
        assert cursor.fetchall() == [(23, 1), (23, 1)]
        cursor.execute(
            "SELECT count(*), count(DISTINCT channel) FROM sales.tickets WHERE opened_at::date = '2026-10-05'"
        )
        assert cursor.fetchone() == (23, 3)
    said = [
        checkout.run(sys.executable, "-m", "highwater.cli.main", *command.split(" ")[1:])
        for command in BLOCKS["sh"].splitlines()
    ]
    assert "2 of 30 due windows landed" in said[0]
    assert "2026-10-05" in said[2] and "version 1 is loaded again" in said[2]
