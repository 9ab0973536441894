"""Streaming rows between databases: what goes in comes out, and an error of either side ends both."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from highwater.environment import settings
from highwater.model.errors import NoRoom, SourceUnavailable
from highwater.sources import sources
from highwater.store import warehouse

NUMBERS = "SELECT n, n::text AS t, NULLIF(n % 3, 0) AS m FROM generate_series(1, 100000) AS n"


@pytest.fixture
def target(loader: Cursor) -> sql.Identifier:
    loader.execute("CREATE TEMPORARY TABLE arrived (n integer, t text, m integer)")
    return sql.Identifier("arrived")


def test_every_row_arrives_as_it_was(legacy_reader: Cursor, loader: Cursor, target: sql.Identifier) -> None:
    assert warehouse.copy_stream(legacy_reader, NUMBERS, loader, target) == 100_000
    loader.execute(f"SELECT count(*) FROM ({NUMBERS} EXCEPT SELECT * FROM arrived) AS lost")
    assert warehouse.fetch_value(loader) == 0


def test_a_source_that_fails_on_its_last_word_fails_the_whole(loader: Cursor, target: sql.Identifier) -> None:
    """The rows have all arrived when the reader hears that its connection is gone: only its error tells."""

    class Dying:
        connection = loader.connection

        def copy_expert(self, _: str, sink: Any, size: int) -> None:
            sink.write(b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"\xff\xff")
            raise psycopg2.OperationalError("server closed the connection unexpectedly")

    with pytest.raises(psycopg2.OperationalError, match="server closed the connection"):
        warehouse.copy_stream(Dying(), "SELECT", loader, target)  # type: ignore[arg-type]


def test_the_source_s_error_is_raised_rather_than_the_broken_stream_it_left(
    legacy_reader: Cursor, loader: Cursor, target: sql.Identifier
) -> None:
    with pytest.raises(psycopg2.DataError, match="division by zero"):
        warehouse.copy_stream(
            legacy_reader, "SELECT 1 / (5000 - n), 'x', n FROM generate_series(1, 5000) AS n", loader, target
        )


def test_a_target_that_refuses_a_row_ends_the_reading(legacy_reader: Cursor, loader: Cursor) -> None:
    loader.execute("CREATE TEMPORARY TABLE picky (n integer CHECK (n < 50000), t text, m integer)")
    with pytest.raises(psycopg2.IntegrityError, match="violates check constraint"):
        warehouse.copy_stream(legacy_reader, NUMBERS, loader, sql.Identifier("picky"))


def test_a_full_disk_is_the_warehouse_s_and_not_taken_for_a_source_that_is_away(platform: object) -> None:
    full = "DO $$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$"
    with (
        pytest.raises(NoRoom, match="the warehouse has no room: could not extend file: No space left on device"),
        sources._translated_errors("legacy"),
        warehouse.session("loader") as cursor,
    ):
        cursor.execute(full)
    with (
        pytest.raises(SourceUnavailable, match="source 'legacy' is unavailable: could not extend file"),
        sources._translated_errors("legacy"),
        warehouse.session("loader"),
        closing(warehouse.connect("legacy_reader", settings.get().sources_database)) as link,
        link.cursor() as reader,
    ):
        reader.execute(full)
