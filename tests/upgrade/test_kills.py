"""A start that is killed at any moment leaves the former state, and the next one ends where an unharmed one does."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
import pytest
from checkouts import Checkout
from old_states import STATES, database, restore, schema
from waiting import wait_until

from highwater.environment import settings
from highwater.setup import bootstrap
from highwater.setup.migrations import statements
from highwater.store import schema_version, warehouse

TIMES = 10
LEDGER = "SELECT dataset, window_range::text, version, content_hash FROM ops.window_ledger ORDER BY 1, 2"


@pytest.fixture(params=["a new warehouse", "an adoption", "functions made again"])
def before(request: pytest.FixtureRequest, platform: Path) -> Iterator[str]:
    """A warehouse that a start has something to do in, of each kind."""
    with database("killed"):
        if request.param == "an adoption":
            restore(STATES[-1])
        elif request.param == "functions made again":
            restore(STATES[-1])
            bootstrap.run()
            disturb()
        yield request.param


def disturb() -> None:
    """All functions are to be made again."""
    admin("DROP FUNCTION IF EXISTS ops.skip_window")


def admin(statement: str) -> list[tuple[object, ...]]:
    with warehouse.session("postgres", settings.get().warehouse_database) as cursor:
        cursor.execute(statement)
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else []


def ledger(what: str) -> list[tuple[object, ...]]:
    return [] if what == "a new warehouse" else admin(LEDGER)


def is_as_before(what: str, former: str) -> bool:
    """Whether nothing has changed; of a new warehouse, whether none of its tables is there."""
    if what == "a new warehouse":
        return admin("SELECT count(*) FROM pg_namespace WHERE nspname IN ('control', 'ops', 'sales')") == [(0,)]
    return schema() == former


def begin_again(what: str) -> None:
    """Where a start has got to its end, there is something to do again."""
    if what == "functions made again":
        disturb()


def test_the_process_is_killed_at_a_random_moment(before: str, fresh: str, scratch: Callable[[str], Path]) -> None:
    checkout = Checkout(scratch("killed"))
    rows, former, chance = ledger(before), schema(), random.Random(17)
    for _ in range(TIMES):
        process = checkout.start("migrate")
        try:
            process.communicate(timeout=chance.uniform(0.3, 2.5))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        wait_until("its sessions are gone", lambda: not sessions())
        assert ledger(before) == rows
        if not is_as_before(before, former):
            assert schema() == fresh
            begin_again(before)
    bootstrap.run()
    assert schema() == fresh
    assert ledger(before) == rows
    assert bootstrap.plan().in_words() == []


def sessions() -> list[tuple[object, ...]]:
    return admin(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    )


def test_its_session_is_ended_at_a_random_statement(before: str, fresh: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, former, chance = ledger(before), schema(), random.Random(17)
    for _ in range(TIMES):
        with ending_at(monkeypatch, chance.randrange(200)), pytest.raises(psycopg2.Error):
            bootstrap.migrate()
        assert is_as_before(before, former)
        assert ledger(before) == rows
    bootstrap.run()
    assert schema() == fresh
    assert ledger(before) == rows
    assert admin("SELECT version_num FROM control.alembic_version") == [(schema_version.head(),)]


@contextmanager
def ending_at(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[None]:
    """The publisher's session is ended as it is about to run the statement of that number."""
    left = number
    located = statements._located

    @contextmanager
    def counted(*arguments: object) -> Iterator[None]:
        nonlocal left
        left -= 1
        if left == 0:
            with closing(warehouse.connect("postgres", "postgres")) as link, link, link.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'publisher'")
        with located(*arguments):  # type: ignore[arg-type]
            yield

    with monkeypatch.context() as patch:
        patch.setattr(statements, "_located", counted)
        yield
