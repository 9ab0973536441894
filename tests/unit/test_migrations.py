"""The rules that files of sql/ and revisions hold, so that every warehouse can be brought to the present version."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from highwater.environment import settings
from highwater.model.errors import ConfigurationError
from highwater.setup.migrations import statements, tables
from highwater.store import schema_version

MIGRATIONS = settings.ROOT / "highwater/sql/migrations"
LINES = [line.split("  ") for line in (MIGRATIONS / "released.sha256").read_text().splitlines() if line]
RELEASED = {name: known for known, name in LINES}
REPEATABLE = sorted((settings.ROOT / "highwater/sql/warehouse").glob("*.sql"))


def test_the_files_of_a_released_version_stay_as_they_were() -> None:
    """A rule, a default or a column edited there reaches no warehouse that exists: it takes a new version."""
    there = {
        str(path.relative_to(MIGRATIONS)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in MIGRATIONS.glob("*/*.sql")
    }
    assert {name: there.get(name) for name in RELEASED} == RELEASED
    released = {name.split("/")[0] for name in RELEASED}
    assert not [name for name in there if name.split("/")[0] in released and name not in RELEASED]
    assert set(schema_version.known()[:-1]) <= released, "only the newest version may be in the making"


def test_each_version_is_a_revision_after_the_one_before() -> None:
    revisions = list(reversed(list(tables.SCRIPTS.walk_revisions())))
    assert [revision.revision for revision in revisions] == list(schema_version.known())
    assert [revision.down_revision for revision in revisions] == [None, *schema_version.known()[:-1]]
    assert schema_version.known()[0] == schema_version.BASELINE
    assert not [revision.revision for revision in revisions if hasattr(revision.module, "downgrade")]


@pytest.mark.parametrize("path", REPEATABLE, ids=lambda path: path.name)
def test_a_file_that_runs_again_makes_nothing_that_stays(path: Path) -> None:
    statements.refuse_lasting(path.name, path.read_text())


def test_a_file_that_runs_again_makes_no_function_that_rules_of_tables_call() -> None:
    """Those stay when the others are dropped, so that what is edited there would be another one, or none."""
    made = {
        name
        for path in MIGRATIONS.glob("*/*.sql")
        for name in re.findall(r"^CREATE (?:OR REPLACE )?FUNCTION ([\w.]+)", path.read_text(), re.MULTILINE)
    }
    again = {
        name
        for path in REPEATABLE
        for name in re.findall(r"^CREATE (?:OR REPLACE )?FUNCTION ([\w.]+)", path.read_text(), re.MULTILINE)
    }
    assert made and not made & again


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE IF NOT EXISTS ops.more (n integer);",
        "ALTER TABLE ops.attempts ADD COLUMN IF NOT EXISTS n integer;",
        "CREATE INDEX ON ops.attempts (n);",
        "DO $$ BEGIN EXECUTE 'CREATE TABLE ops.more ()'; END; $$;",
        "INSERT INTO control.incident_kinds VALUES (1);",
    ],
)
def test_one_that_does_is_named_with_its_line_and_where_it_belongs(statement: str) -> None:
    text = f"-- What it does.\nGRANT SELECT ON ops.x TO analyst;\n\n{statement}\n"
    with pytest.raises(ConfigurationError) as refused:
        statements.refuse_lasting("99_more.sql", text)
    assert "highwater/sql/warehouse/99_more.sql, line 4" in str(refused.value)
    assert "sql/datasets/" in str(refused.value) and "highwater/sql/migrations/" in str(refused.value)
