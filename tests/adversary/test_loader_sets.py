"""The loader, that tasks log in as, against what is published: it may fill a set, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
import tables
from loading import DATASET, change_set, day, land, landed, partition, run, stage
from psycopg2 import errors
from psycopg2.extensions import cursor as Cursor
from tables import defined, window

from highwater.loading import staging
from highwater.model.errors import DataRejected
from highwater.store import publish, warehouse
from highwater.store.publish import Staged

pytestmark = pytest.mark.usefixtures("empty_warehouse")
DAY = day("2026-10-05")
DENIED = (errors.InsufficientPrivilege, errors.DuplicateTable)


def attempt(statement: str, role: str = "loader") -> None:
    """One statement of a task that was taken over."""
    with warehouse.session(role) as cursor:
        cursor.execute(statement)


def value(query: str) -> object:
    with warehouse.session("postgres") as cursor:
        cursor.execute(query)
        return warehouse.fetch_value(cursor)


@pytest.fixture
def staged() -> Iterator[Staged]:
    """A finished set, about to be published."""
    yield stage(DAY)


MAKES_SOMETHING = [
    "CREATE TABLE {schema}.mine ()",
    "CREATE VIEW {schema}.mine AS SELECT 1 AS one",
    "CREATE FUNCTION {schema}.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE TYPE {schema}.mine AS (one integer)",
    "CREATE DOMAIN {schema}.mine AS integer",
    "CREATE OPERATOR {schema}.=== (FUNCTION = int4eq, LEFTARG = integer, RIGHTARG = integer)",
    "CREATE SEQUENCE {schema}.mine",
    "CREATE AGGREGATE {schema}.mine (integer) (SFUNC = int4pl, STYPE = integer)",
    'CREATE COLLATION {schema}.mine FROM "C"',
    "CREATE TEXT SEARCH CONFIGURATION {schema}.mine (COPY = simple)",
]


@pytest.mark.parametrize("statement", MAKES_SOMETHING)
@pytest.mark.parametrize("schema", ["staging", "sales", "archive", "quarantine", "ops", "control", "public"])
def test_it_makes_nothing_that_outlives_its_session(schema: str, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        attempt(statement.format(schema=schema))


@pytest.mark.parametrize(
    "statement",
    ["CREATE SCHEMA mine", "CREATE EXTENSION hstore", "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()",
     "CREATE PUBLICATION p FOR ALL TABLES", "ALTER DEFAULT PRIVILEGES FOR ROLE publisher GRANT ALL ON TABLES TO loader",
     "ALTER DATABASE warehouse SET search_path = staging", "ALTER ROLE publisher SET search_path = staging",
     "SET ROLE publisher", "SET SESSION AUTHORIZATION publisher", "GRANT publisher TO loader"],
)  # fmt: skip
def test_it_changes_nothing_of_the_server(statement: str) -> None:
    with pytest.raises(errors.DatabaseError, match=r"permission denied|must be|does not exist|not (available|allowed)"):
        attempt(statement)


CHANGES_A_SET = [
    "DELETE FROM {clean} WHERE till_no = 3",
    "UPDATE {clean} SET quantity = 1",
    "INSERT INTO {clean} SELECT * FROM {clean} LIMIT 1",
    "TRUNCATE {clean}",
    "DROP TABLE {clean}",
    "ALTER TABLE {clean} SET UNLOGGED",
    "ALTER TABLE {clean} SET (autovacuum_enabled = false)",
    "ALTER TABLE {clean} SET (fillfactor = 10)",
    "ALTER TABLE {clean} DROP CONSTRAINT {name}_clean_pkey",
    "ALTER TABLE {clean} ALTER COLUMN quantity SET DEFAULT 1",
    "ALTER TABLE {clean} ADD CHECK (quantity > 0)",
    "ALTER TABLE {clean} ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE {clean} OWNER TO loader",
    "ALTER TABLE {clean} SET SCHEMA sales",
    "CREATE INDEX ON {clean} (lower(store_code))",
    "CREATE STATISTICS pg_temp.evil ON (till_no + 1), till_no FROM {clean}",
    "CREATE STATISTICS staging.evil ON (till_no + 1), till_no FROM {clean}",
    "CREATE TRIGGER t BEFORE INSERT ON {clean} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE r AS ON INSERT TO {clean} DO ALSO SELECT 1",
    "CREATE POLICY p ON {clean}",
    "COMMENT ON TABLE {clean} IS 'mine'",
    "CLUSTER {clean} USING {name}_clean_pkey",
    "LOCK TABLE {clean} IN ACCESS EXCLUSIVE MODE",
    "INSERT INTO {raw} SELECT * FROM {raw} LIMIT 1",
    "DELETE FROM {raw}",
    "INSERT INTO {rejected} VALUES ('mine', '{{}}')",
    "DELETE FROM {rejected}",
    "INSERT INTO {copies} SELECT sale_id, sold_at FROM {clean} LIMIT 1",
    "DELETE FROM {copies}",
    "UPDATE ops.staging_sets SET rows_published = 1",
    "UPDATE ops.staging_sets SET content_hash = 'mine'",
    "INSERT INTO ops.staging_sets (dataset, window_range) VALUES ('daily_sales', 'empty')",
    "DELETE FROM ops.staging_sets",
    "SELECT ops.drop_set('{name}')",
    "SELECT ops.lock_staging_set('{name}', 'daily_sales', '[2026-10-05,2026-10-06)')",
    "SELECT ops.lock_set('{name}')",
    "SELECT ops.replace_partition(d, 'empty', '{clean}', NULL::ops.window_ledger, 'kept') FROM control.datasets AS d",
    "SELECT ops.drop_table('{clean}')",
    "SELECT ops.move_to_archive('{clean}', 'mine')",
    "SELECT ops.let_analyst_read('{clean}', 'daily_sales')",
    "SELECT ops.add_keys_and_indexes('{clean}', 'sales.daily_sales')",
]  # fmt: skip


@pytest.mark.parametrize(
    "statement",
    [
        "GRANT SELECT ON {clean} TO PUBLIC",
        "GRANT DELETE ON {clean} TO analyst",
        "GRANT ALL ON {raw} TO analyst",
        "GRANT SELECT (sale_id) ON {clean} TO PUBLIC",
        "GRANT UPDATE (quantity) ON {clean} TO analyst",
    ],
)
def test_it_hands_on_no_right_to_a_set(staged: Staged, statement: str) -> None:
    """Postgres warns where a right is not the grantor's to give."""
    names = {part: f"staging.{staged.name}_{part}" for part in ("raw", "clean")}
    rights = (
        "SELECT array_agg(ROW(c.relacl, a.attacl)::text ORDER BY c.oid, a.attnum) FROM pg_class AS c"
        " JOIN pg_attribute AS a ON a.attrelid = c.oid WHERE c.relnamespace = 'staging'::regnamespace"
    )
    before = value(rights)
    with suppress(errors.InsufficientPrivilege):
        attempt(statement.format(**names))
    assert value(rights) == before


@pytest.mark.parametrize("statement", CHANGES_A_SET)
def test_a_finished_set_is_out_of_its_hands(staged: Staged, statement: str) -> None:
    names = {part: f"staging.{staged.name}_{part}" for part in ("raw", "clean", "rejected", "copies")}
    before = value("SELECT to_jsonb(s) FROM ops.staging_sets AS s")
    with pytest.raises(errors.InsufficientPrivilege):
        attempt(statement.format(name=staged.name, **names))
    assert value("SELECT to_jsonb(s) FROM ops.staging_sets AS s") == before
    assert publish.publish_window(DATASET, DAY, staged, run()).rows_published == 391


def test_a_writer_that_holds_a_set_open_is_waited_for_and_shut_out(staged: Staged) -> None:
    """A session that began to fill the clean table goes on after it is finished: it must not."""
    with warehouse.session("loader") as cursor:
        cursor.execute("SELECT * FROM ops.begin_cleaning(%s)", (staged.name,))
        cursor.connection.commit()
        cursor.execute(f"PREPARE late AS INSERT INTO staging.{staged.name}_rejected VALUES ('late', '{{}}')")
        cursor.execute("EXECUTE late")
        with warehouse.session("loader") as other:
            other.execute("SET lock_timeout = '200ms'")
            with pytest.raises(errors.LockNotAvailable):
                other.execute("SELECT * FROM ops.finish_cleaning(%s)", (staged.name,))
            other.connection.rollback()
        cursor.connection.commit()
        with warehouse.session("loader") as other, pytest.raises(errors.DatabaseError, match="400 rows were extracted"):
            other.execute("SELECT * FROM ops.finish_cleaning(%s)", (staged.name,))
    with pytest.raises(DataRejected, match="is not finished"):
        publish.publish_window(DATASET, DAY, staged, run())


def test_invented_copies_are_not_counted() -> None:
    """Good rows that are marked as copies of rows that do not exist."""
    with warehouse.session("loader") as cursor:
        name = stage(DAY).name
        cursor.execute("SELECT * FROM ops.begin_cleaning(%s)", (name,))
        cursor.execute(
            f"INSERT INTO staging.{name}_copies SELECT sale_id, sold_at FROM staging.{name}_raw WHERE sale_id > 0"
        )
        cursor.execute(
            f"INSERT INTO staging.{name}_rejected SELECT 'r', '{{}}' FROM generate_series("
            f"1, 400 - (SELECT count(*) FROM staging.{name}_copies)) AS n"
        )
        with pytest.raises(errors.DatabaseError, match=r"rows are marked as copies .* no clean row has their key"):
            cursor.execute("SELECT * FROM ops.finish_cleaning(%s)", (name,))


def test_a_set_of_another_window_or_dataset_is_refused(staged: Staged) -> None:
    for dataset, wanted in ((DATASET, day("2026-10-06")), ("store_sales", day("2026-10-20"))):
        with pytest.raises(DataRejected, match=f"set {staged.name} belongs to daily_sales .*, not to {dataset}"):
            publish.publish_window(dataset, wanted, staged, run())


@pytest.mark.parametrize(
    ("columns", "types", "said"),
    [
        (["a"], "{control.datasets}", "built-in types only"),
        (["a"], "{trigger}", "built-in types only"),
        (["a"], "{record}", "built-in types only"),
        (['a"); DROP TABLE sales.daily_sales; --'], "{integer}", None),
    ],
)
def test_a_raw_table_has_built_in_types_only(columns: list[str], types: str, said: str | None) -> None:
    with warehouse.session("loader") as cursor:
        name = staging.new_set(cursor, DATASET, DAY, run())
        if said is None:
            cursor.execute("SELECT ops.new_set_table(%s, 'raw', %s, %s::regtype[])", (name, columns, types))
            assert warehouse.columns_of(cursor, f"{name}_raw", "staging") == columns
        else:
            with pytest.raises(errors.DatabaseError, match=said):
                cursor.execute("SELECT ops.new_set_table(%s, 'raw', %s, %s::regtype[])", (name, columns, types))


@pytest.mark.parametrize("part", ["clean", "rejected", "copies", "../x", "raw_x", ""])
def test_it_can_have_no_other_part_of_a_set_made(part: str) -> None:
    with warehouse.session("loader") as cursor:
        name = staging.new_set(cursor, DATASET, DAY, run())
        with pytest.raises(errors.DatabaseError, match=f'invalid part "{part}" of a staging set'):
            cursor.execute("SELECT ops.new_set_table(%s, %s, '{a}', '{integer}')", (name, part))


SETTINGS = (
    "default_toast_compression = 'pglz'",
    "DateStyle = 'SQL, DMY'",
    "IntervalStyle = 'sql_standard'",
    "extra_float_digits = 0",
    "bytea_output = 'escape'",
    "timezone = 'Asia/Tokyo'",
    "search_path = pg_temp",
)


def test_its_settings_do_not_reach_what_is_published() -> None:
    with defined("shaped") as table:
        with warehouse.session("loader") as cursor:
            for setting in SETTINGS:
                cursor.execute(f"SET {setting}")
            cursor.execute("CREATE TEMP TABLE pg_class AS SELECT 1 AS oid")
            cursor.execute("CREATE FUNCTION pg_temp.count(anyelement) RETURNS bigint LANGUAGE sql AS 'SELECT 7'")
            rows = tables.ROWS.format(start="'2026-10-01 00:00+00'", count=5)
            name = staging.new_set(cursor, "shaped", window(), run())
            staging.save(cursor, rows, name, "raw")
            staging.clean_by(cursor, "test/clean.sql", tables.AS_IT_CAME, name)
            cursor.execute(
                "SELECT (p.landed).rows_published FROM ops.publish_window("
                "'shaped', '[2026-10-01 00:00+00,2026-10-02 00:00+00)', %s, 0, NULL, 's', 'd', 'r') AS p",
                (name,),
            )
            assert warehouse.fetch_value(cursor) == 5
        assert value(f"SELECT count(*) FROM {table}") == 5
        assert value("SELECT ops.verify_window('shaped', window_range) FROM ops.window_ledger") is None


@pytest.mark.parametrize("role", ["loader", "analyst", "operator"])
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM {t}",
        "UPDATE {t} SET till_no = 1",
        "TRUNCATE {t}",
        "INSERT INTO {t} SELECT * FROM {t}",
        "SELECT FROM {t}",
        "DROP TABLE {t}",
        "ALTER TABLE sales.daily_sales DETACH PARTITION {t}",
        "COPY {t} TO STDOUT",
        "LOCK TABLE {t}",
    ],
)
def test_nobody_reaches_a_partition_by_its_name(role: str, statement: str) -> None:
    land(DAY)
    with pytest.raises(errors.InsufficientPrivilege):
        attempt(statement.format(t=partition(DATASET, DAY)), role)


def test_what_is_published_is_the_publishers_alone(analyst: Cursor) -> None:
    """The catalogue after a few windows, a reload and a change of content."""
    for name in ("2026-10-05", "2026-10-06"):
        land(day(name))
    land(DAY)
    other = stage(DAY)
    change_set(other, "SET quantity = quantity + 1, revenue = revenue + unit_price")
    publish.publish_window(DATASET, DAY, other, run())
    assert [version for _, version, _ in landed(analyst)] == [3, 1]
    analyst.execute("SELECT c.oid::regclass::text FROM pg_class AS c WHERE c.relispartition AND c.relkind = 'r'")
    assert len(partitions := [row[0] for row in analyst.fetchall()]) == 2
    assert [value(f"SELECT ops.table_flaw('{name}')") for name in partitions] == [None, None]
    assert (
        value(
            "SELECT count(*) FROM pg_class WHERE relowner = 'loader'::regrole AND relnamespace <> pg_my_temp_schema()"
        )
        == 0
    )


def being_cleaned(rows: int) -> str:
    """A set of a shape of its own with this number of raw rows, whose other tables are there to be filled."""
    with warehouse.session("loader") as cursor:
        name = staging.new_set(cursor, "shaped", window(), run())
        staging.save(cursor, tables.ROWS.format(start="'2026-10-01 00:00+00'", count=rows), name, "raw")
        cursor.execute("SELECT FROM ops.begin_cleaning(%s)", (name,))
    return name


@pytest.mark.parametrize(
    "row", ["'', '{}'", "' ', '{}'", "'r', '[]'", "'r', '1'", "'r', 'null'", "'r', NULL", "NULL, '{}'"]
)
def test_a_refused_row_has_a_reason_and_is_a_row(row: str) -> None:
    """What it says there is its own word, as docs/explanation/security.md tells; that it says something is not."""
    with defined("shaped"):
        name = being_cleaned(1)
        with pytest.raises(errors.IntegrityError, match=r"a_refused_row_has_a_reason|source_row_is_a_row|null value"):
            attempt(f"INSERT INTO staging.{name}_rejected VALUES ({row})")


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_what_is_counted_is_not_counted_by_an_older_snapshot(level: str) -> None:
    with defined("shaped"):
        name = being_cleaned(1)
        attempt(f"INSERT INTO staging.{name}_clean VALUES (1, '2026-10-01')")
        with warehouse.session("loader") as cursor:
            cursor.connection.set_session(isolation_level=level)
            cursor.execute("SELECT FROM ops.shapes LIMIT 1")
            attempt(f"INSERT INTO staging.{name}_clean SELECT n, '2026-10-01' FROM generate_series(2, 9) AS n")
            with pytest.raises(errors.DatabaseError, match="expected READ COMMITTED"):
                cursor.execute("SELECT * FROM ops.finish_cleaning(%s)", (name,))


@pytest.mark.parametrize(
    "columns", [tables.COLUMNS, f"{tables.COLUMNS}) PARTITION BY RANGE (at)"], ids=["key", "no key"]
)
@pytest.mark.parametrize(
    ("part", "row"), [("clean", "n, '2026-10-01'::timestamptz"), ("rejected", "'forged', '{}'::jsonb")]
)
def test_no_statement_goes_on_writing_after_its_own_set_is_finished(columns: str, part: str, row: str) -> None:
    """Rights are checked when a statement begins."""
    with defined("shaped", columns):
        name = being_cleaned(1)
        with pytest.raises(errors.DatabaseError, match=r"is being written to by the statement that closes it|in use"):
            attempt(
                f"INSERT INTO staging.{name}_{part} SELECT {row} FROM generate_series(1, 5) AS n"
                f" WHERE n <> 2 OR (ops.finish_cleaning('{name}')).rows_clean IS NOT NULL"
            )
        assert value("SELECT finished_at FROM ops.staging_sets") is None


def test_the_raw_table_of_a_set_is_not_made_again_once_it_is_cleaned() -> None:
    """Who could write to it again would decide, for a full run, what counts as gone."""
    with defined("shaped"):
        name = being_cleaned(1)
        with pytest.raises(errors.DatabaseError, match="is being cleaned and its raw table is closed"):
            attempt(f"SELECT ops.new_set_table('{name}', 'raw', '{{id,at}}', '{{bigint,timestamptz}}')")
        attempt(f"INSERT INTO staging.{name}_clean SELECT * FROM staging.{name}_raw")
        attempt(f"SELECT ops.finish_cleaning('{name}')")
        with pytest.raises(errors.InsufficientPrivilege):
            attempt(f"INSERT INTO staging.{name}_raw VALUES (2, '2026-10-01')")


def test_a_raw_table_that_a_set_of_an_older_warehouse_left_open_is_closed_with_it() -> None:
    with defined("shaped"):
        name = being_cleaned(1)
        with warehouse.session("postgres") as cursor:
            cursor.execute(f"GRANT INSERT ON staging.{name}_raw TO loader")
        attempt(f"INSERT INTO staging.{name}_clean SELECT * FROM staging.{name}_raw")
        attempt(f"SELECT ops.finish_cleaning('{name}')")
        with pytest.raises(errors.InsufficientPrivilege):
            attempt(f"INSERT INTO staging.{name}_raw VALUES (2, '2026-10-01')")


@pytest.mark.parametrize("part", ["raw", "compared", "together"])
def test_a_table_of_no_set_is_not_made(part: str) -> None:
    with pytest.raises(errors.DatabaseError, match="staging set my own does not exist"):
        attempt(f"SELECT ops.new_set_table('my own', '{part}', '{{a}}', '{{text}}')")


@pytest.mark.parametrize(
    "call", ["ops.new_set('daily_sales', '[2026-10-05,2026-10-09)', 'd', 'r')", "ops.take_lease('mine')"]
)
def test_it_fills_no_table_of_the_record_with_what_nobody_knows(call: str) -> None:
    with pytest.raises(errors.DatabaseError, match=r"is not a window of daily_sales|unknown lease"):
        attempt(f"SELECT {call}")


def test_a_window_of_a_backfill_has_landed_only_if_the_ledger_says_so() -> None:
    with pytest.raises(errors.DatabaseError, match="has not landed at version 7: the ledger says otherwise"):
        attempt("SELECT control.end_backfill_window(1, 'landed', 7, NULL)")
