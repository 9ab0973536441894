"""A rollback after the published table has changed: what the dry run promises is done, else both refuse it alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
from loading import DATASET, OTHER_QUANTITY, day, land
from psycopg2.extensions import cursor as Cursor
from rows import named
from typer.testing import CliRunner

from highwater.cli.main import app
from highwater.model.errors import HighwaterError
from highwater.store import driver_errors, ledger, rollback, verify, warehouse

pytestmark = pytest.mark.usefixtures("empty_warehouse")
NAME = "2026-10-05"
DAY = day(NAME)
TABLE = "sales.daily_sales"
Change = Callable[[str], int]


def rows(query: str) -> list[tuple[Any, ...]]:
    """What a query of the warehouse gives to the analyst."""
    with warehouse.session("analyst") as cursor:
        cursor.execute(query)
        return [tuple(row) for row in cursor.fetchall()]


@pytest.fixture
def alter(admin: Cursor) -> Iterator[Callable[[str], None]]:
    """Changes the published table as an administrator does; at the end it is as it was, and nothing of it is left."""
    admin.execute(
        "SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0",
        (TABLE,),
    )
    columns = {row.attname: row.type for row in named(admin)}
    admin.execute("SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass", (TABLE,))
    constraints = {row.conname for row in named(admin)}
    admin.connection.commit()

    def change(statement: str) -> None:
        admin.execute(statement)
        admin.connection.commit()

    yield change
    admin.connection.rollback()
    admin.execute("SELECT c.oid::regclass::text AS name FROM pg_class AS c WHERE c.relispartition AND c.relkind = 'r'")
    for partition in named(admin):
        admin.execute(f"DROP TABLE {partition.name}")
    admin.execute("SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass", (TABLE,))
    for constraint in {row.conname for row in named(admin)} - constraints:
        admin.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT {constraint}")
    admin.execute(
        "SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
        (TABLE,),
    )
    for name, kind in {row.attname: row.type for row in named(admin)}.items():
        if name not in columns:
            admin.execute(f"ALTER TABLE {TABLE} DROP COLUMN {name}")
        elif columns[name] != kind:
            admin.execute(f"ALTER TABLE {TABLE} ALTER COLUMN {name} TYPE {columns[name]}")
    admin.execute(f"DROP TABLE IF EXISTS sales.tills; DROP TRIGGER IF EXISTS t ON {TABLE}")
    admin.connection.commit()


def land_twice(source_day: Change, between: Callable[[], None] = lambda: None) -> list[tuple[Any, ...]]:
    """The day lands, and again with other rows; returns what landed first."""
    land(DAY, by="good")
    first = rows(f"SELECT sale_id, quantity FROM {TABLE} ORDER BY sale_id")
    between()
    assert source_day(OTHER_QUANTITY) > 0
    land(DAY, by="bad")
    return first


def refusals() -> list[str]:
    """What the dry run says, and what the rollback itself says."""
    said = []
    for options in (["--dry-run"], ["--yes", "--reason", "why"]):
        with pytest.raises(HighwaterError) as refusal:
            CliRunner().invoke(app, ["rollback", DATASET, NAME, *options], catch_exceptions=False)
        said.append(str(refusal.value))
    # By the function alone, as by psql.
    with pytest.raises(psycopg2.Error, match=DATASET) as error, warehouse.session("operator") as cursor:
        cursor.execute("SELECT ops.rollback_window(%s, %s, 'ada', 'why')", (DATASET, ledger.as_range(DAY)))
    said.append(driver_errors.said(error.value))
    return said


ADDED = {
    "a column without a default": ("note text", "note IS NULL"),
    "a default": ("note text DEFAULT 'none'", "note = 'none'"),
    "a default that is required": ("rate numeric(6, 2) NOT NULL DEFAULT 1.5", "rate = 1.50"),
    "a collation": ("""note text COLLATE "C" DEFAULT 'none'""", "note = 'none'"),
    "what is computed": ("half numeric GENERATED ALWAYS AS (quantity / 2.0) STORED", "half = quantity / 2.0"),
}  # fmt: skip


class TestAColumnThatWasAdded:
    @pytest.mark.parametrize("when", ["while the first version was published", "since the second is"])
    @pytest.mark.parametrize("kind", ADDED)
    def test_the_former_version_comes_back_with_what_it_has_in_it(
        self, source_day: Change, alter: Callable[[str], None], kind: str, when: str
    ) -> None:
        column, expected = ADDED[kind]
        add = f"ALTER TABLE {TABLE} ADD COLUMN {column}"
        if when.startswith("while"):
            first = land_twice(source_day, lambda: alter(add))
        else:
            first = land_twice(source_day)
            alter(add)
        planned = rollback.plan(DATASET, NAME)
        going = rows(f"SELECT count(*) FROM {TABLE} WHERE till_no = 3")[0][0]
        assert 0 < planned.rows_going == planned.rows_coming <= going
        assert rollback.carry_out(planned, "ada", "why").as_version == 3
        assert rows(f"SELECT sale_id, quantity FROM {TABLE} ORDER BY sale_id") == first
        assert rows(f"SELECT count(*) FROM {TABLE} WHERE ({expected}) IS NOT TRUE") == [(0,)]
        assert [looked.problem for looked in verify.compare("analyst", verify.landed(DATASET))] == [None]


FLAWS = {
    "a column with a value of its own time": (
        "ALTER TABLE sales.daily_sales ADD COLUMN seen timestamptz DEFAULT now()",
        "(seen, whose value now() is not constant): load it again",
    ),
    "a column that must have a value and has none": (
        "ALTER TABLE sales.daily_sales ADD COLUMN note text; UPDATE sales.daily_sales SET note = 'x';"
        "ALTER TABLE sales.daily_sales ALTER COLUMN note SET NOT NULL",
        "its rows break the NOT NULL of column note: load it again",
    ),
    "another type": (
        "ALTER TABLE sales.daily_sales ALTER COLUMN unit_price TYPE numeric(14, 3)",
        "whose columns changed since (unit_price): load it again",
    ),
    "a check": (
        "ALTER TABLE sales.daily_sales ADD CONSTRAINT as_now CHECK (till_no <> 3) NOT VALID",
        "its rows break the check constraint as_now: load it again",
    ),
    "a foreign key": (
        "CREATE TABLE sales.tills (till_no integer PRIMARY KEY); ALTER TABLE sales.tills OWNER TO publisher;"
        "INSERT INTO sales.tills SELECT DISTINCT till_no FROM sales.daily_sales WHERE till_no <> 3;"
        "DELETE FROM sales.daily_sales WHERE till_no = 3;"
        "ALTER TABLE sales.daily_sales ADD CONSTRAINT of_a_till FOREIGN KEY (till_no) REFERENCES sales.tills",
        "its rows break the foreign key of_a_till: load it again",
    ),
    "a key": (
        "DELETE FROM sales.daily_sales;"
        "ALTER TABLE sales.daily_sales ADD CONSTRAINT one_at_a_time UNIQUE (sold_at, till_no)",
        "its rows break the unique index sales.one_at_a_time: load it again",
    ),
    "a trigger": (
        "CREATE TRIGGER t BEFORE UPDATE ON sales.daily_sales FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "it has the trigger t, which staged rows would bypass: drop the trigger",
    ),
}


class TestWhatDoesNotFit:
    @pytest.mark.parametrize("kind", FLAWS)
    def test_the_dry_run_and_the_real_one_refuse_it_in_the_same_words(
        self, source_day: Change, alter: Callable[[str], None], kind: str
    ) -> None:
        assert source_day("UPDATE legacy.sales SET sold_at = business_date + time '10:00' WHERE till_no = 3") > 1
        land_twice(source_day)
        change, said = FLAWS[kind]
        alter(change)
        dry, real, by_function = refusals()
        assert dry == real == by_function
        assert dry.endswith(said)
        assert rows("SELECT version, state FROM ops.versions ORDER BY version") == [(1, "kept"), (2, "published")]

    def test_what_was_changed_while_the_former_version_stood_is_reported_before_too(
        self, source_day: Change, alter: Callable[[str], None]
    ) -> None:
        """The former version has its columns as they are now, so only its content tells."""
        land_twice(source_day, lambda: alter(f"ALTER TABLE {TABLE} ALTER COLUMN unit_price TYPE numeric(14, 3)"))
        dry, real, by_function = refusals()
        assert dry == real == by_function
        assert dry.endswith("(as many rows, but a value or a type changed): load it again")

    def test_a_former_version_that_someone_made_a_view_of_is_reported_before_too(
        self, source_day: Change, admin: Cursor
    ) -> None:
        land_twice(source_day)
        ((table,),) = rows("SELECT held_in FROM ops.versions WHERE state = 'kept'")
        admin.execute(f"CREATE VIEW public.mine AS SELECT * FROM {table}")
        admin.connection.commit()
        try:
            dry, real, by_function = refusals()
        finally:
            admin.execute("DROP VIEW public.mine")
            admin.connection.commit()
        assert dry == real == by_function
        assert "on view public.mine depends on it: correct that, or load the window again" in dry
