"""Holds a table that others need, so that they stand still at a point of one's choice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import psutil  # type: ignore[import-untyped]
from psycopg2 import sql

from highwater.store import warehouse


@contextmanager
def held(database: str, table: str) -> Iterator[Callable[[], set[int]]]:
    """Nobody else reads or writes the table for the length of the block.

    Yields a function that tells which processes of this machine wait for it.
    """
    with (
        closing(warehouse.connect("postgres", database)) as link,
        closing(warehouse.connect("postgres", database)) as look,
        link.cursor() as cursor,
        look.cursor() as eye,
    ):
        look.autocommit = True
        cursor.execute("SET lock_timeout = '60s'")
        cursor.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(*table.split("."))))

        def waiting() -> set[int]:
            eye.execute(
                "SELECT client_port FROM pg_stat_activity JOIN pg_locks USING (pid)"
                " WHERE relation = %s::regclass AND NOT granted",
                (table,),
            )
            ports = {row[0] for row in eye.fetchall()}
            return {c.pid for c in psutil.net_connections("tcp") if c.pid and c.laddr.port in ports} if ports else set()

        yield waiting
        link.rollback()
