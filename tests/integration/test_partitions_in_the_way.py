"""A table in the bounds of a window that no load made: the publish is refused, names it and the way out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from loading import partition
from tables import admin, defined, land, rows_of, window

from highwater.model.errors import ConfigurationError
from highwater.store import verify, warehouse

pytestmark = pytest.mark.usefixtures("empty_warehouse")
W = window()
BOUNDS = "FOR VALUES FROM ('2026-10-01 00:00+00') TO ('2026-10-02 00:00+00')"


def value(query: str) -> object:
    with warehouse.session("postgres") as cursor:
        cursor.execute(query)
        return warehouse.fetch_value(cursor)


@pytest.fixture
def table() -> Iterator[str]:
    with defined("shaped") as name:
        yield name


def test_rows_that_no_load_has_put_there_are_refused_until_they_are_detached(table: str) -> None:
    admin(f"CREATE TABLE sales.by_hand PARTITION OF {table} {BOUNDS}", f"INSERT INTO {table} VALUES (77, '{W.start}')")
    try:
        with pytest.raises(ConfigurationError, match=r"sales\.by_hand is its partition: it holds rows that no load"):
            land("shaped", W)
        assert (rows_of(table, "id", "postgres"), value("SELECT count(*) FROM ops.window_ledger")) == ([(77,)], 0)
        admin(f"ALTER TABLE {table} DETACH PARTITION sales.by_hand")
        assert land("shaped", W).outcome == "published"
        assert rows_of("sales.by_hand", "id", "postgres") == [(77,)]
    finally:
        admin("DROP TABLE IF EXISTS sales.by_hand")


@pytest.mark.parametrize("same", [False, True], ids=["no row", "the same rows"])
def test_a_partition_whose_rows_are_not_lost_is_replaced(table: str, same: bool) -> None:
    """As where a person made partitions in advance, or took a window out of the ledger."""
    admin(f"CREATE TABLE sales.by_hand PARTITION OF {table} {BOUNDS}")
    if same:
        admin(f"INSERT INTO {table} SELECT n, '{W.start}' FROM generate_series(1, 5) AS n")
    assert land("shaped", W).outcome == "published"
    assert (len(rows_of(table, role="postgres")), value("SELECT to_regclass('sales.by_hand')")) == (5, None)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            f"CREATE TABLE sales.by_hand PARTITION OF sales.shaped {BOUNDS} PARTITION BY RANGE (at)",
            "is not a plain table",
        ),
        (
            f"CREATE TABLE sales.by_hand PARTITION OF sales.shaped {BOUNDS};"
            "RESET ROLE; ALTER TABLE sales.by_hand OWNER TO postgres",
            "belongs to postgres: ALTER TABLE sales.by_hand OWNER TO publisher",
        ),
    ],
    ids=["partitioned", "of another"],
)
def test_what_is_no_table_of_the_publishers_is_refused(table: str, make: str, said: str) -> None:
    admin(*make.split(";"))
    with pytest.raises(ConfigurationError, match=f"sales.by_hand is its partition: it {said}"):
        land("shaped", W)
    assert value("SELECT to_regclass('sales.by_hand')::text") == "sales.by_hand"


def test_a_published_table_that_is_a_partition_of_another_is_refused(table: str) -> None:
    with defined("within"):
        admin(
            f"DROP TABLE sales.within; CREATE TABLE sales.within PARTITION OF {table} {BOUNDS} PARTITION BY RANGE (at)"
        )
        said = f"it is a partition of {table} and .*: ALTER TABLE {table} DETACH PARTITION sales.within"
        with pytest.raises(ConfigurationError, match=said):
            land("within", W)
        admin(f"ALTER TABLE {table} DETACH PARTITION sales.within")
        assert land("within", W).outcome == "published"


@pytest.fixture
def being_detached(table: str) -> str:
    """A landed partition whose concurrent detaching was given up halfway, since a reader was at work."""
    land("shaped", W)
    name = partition("shaped", W)
    with closing(warehouse.connect("analyst")) as reader, reader.cursor() as look:
        look.execute(f"SELECT count(*) FROM {table}")
        with closing(warehouse.connect("postgres")) as link, link.cursor() as cursor:
            link.autocommit = True
            cursor.execute("SET lock_timeout = '200ms'")
            with pytest.raises(psycopg2.errors.LockNotAvailable):
                cursor.execute(f"ALTER TABLE {table} DETACH PARTITION {name} CONCURRENTLY")
    assert value("SELECT inhdetachpending FROM pg_inherits WHERE inhparent = 'sales.shaped'::regclass")
    return name


@pytest.mark.parametrize("rows", [5, 6], ids=["the same rows", "other rows"])
def test_a_partition_that_is_being_detached_has_not_landed(table: str, being_detached: str, rows: int) -> None:
    said = f"{being_detached} .*: ALTER TABLE {table} DETACH PARTITION {being_detached} FINALIZE"
    assert rows_of(table, role="postgres") == []
    assert re.search(said, str(value("SELECT ops.verify_window('shaped', window_range) FROM ops.window_ledger")))
    assert verify.unaccounted("shaped") == [("shaped", being_detached)]
    assert value(warehouse.read_sql("ops/ledger_inconsistent.sql")) is not None
    with pytest.raises(ConfigurationError, match=said):
        land("shaped", W, rows)
    admin(f"ALTER TABLE {table} DETACH PARTITION {being_detached} FINALIZE")
    assert land("shaped", W, rows).outcome == "published"
    assert len(rows_of(table, role="postgres")) == rows
    assert value("SELECT ops.verify_window('shaped', window_range) FROM ops.window_ledger") is None
    admin(f"DROP TABLE {being_detached}")
