"""A backup of the sources, and its restore: rows as they were, with the transactions of then, in new tables."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from highwater.environment import credentials, settings
from highwater.local import server
from highwater.model import clock
from highwater.model.errors import HighwaterError
from highwater.store import warehouse

MOST_TRIES = 5
"""A restore that meets a reader in a deadlock is done again."""
RESTORED, FORMER = "_restored", "_former"
"""What a database is called besides the name of the sources, before and after it is theirs."""


class RestoreFailed(HighwaterError):
    """A backup could not be made or put back."""


@dataclass(frozen=True)
class Backup:
    """A dump of the database of the sources in a file, and what the clock said when it was made (UTC)."""

    file: Path
    taken_at: datetime

    def restore_schema(self, schema: str) -> None:
        """Put one source back, while others read it: one transaction drops its tables and makes those of then.

        Raises:
            RestoreFailed: pg_restore says why.
        """
        options = ("--clean", "--if-exists", "--single-transaction", f"--schema={schema}")
        for attempt in range(1, MOST_TRIES + 1):
            try:
                _run("pg_restore", *options, f"--dbname={settings.get().sources_database}", self.file)
            except RestoreFailed as error:
                if attempt == MOST_TRIES or "deadlock detected" not in str(error):
                    raise
            else:
                return

    def prepare_database(self) -> None:
        """Restore all sources into a database aside, with the owner and the rights of the one that is there.

        Raises:
            RestoreFailed: pg_restore says why.
        """
        current = settings.get().sources_database
        restored = current + RESTORED
        with _admin() as cursor:
            _execute(cursor, "DROP DATABASE IF EXISTS {} WITH (FORCE)", restored)
            _execute(cursor, "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'", restored)
            _run("pg_restore", "--single-transaction", f"--dbname={restored}", self.file)
            # A dump of a database does not hold who owns it and who may log in to it.
            cursor.execute(
                "SELECT format('ALTER DATABASE %%I OWNER TO %%I', %(restored)s::text, pg_get_userbyid(datdba))"
                " FROM pg_database WHERE datname = %(current)s"
                " UNION ALL SELECT format('REVOKE ALL ON DATABASE %%I FROM PUBLIC', %(restored)s::text)"
                " UNION ALL SELECT format('GRANT %%s ON DATABASE %%I TO %%s', a.privilege_type, %(restored)s::text,"
                " CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)"
                " FROM pg_database CROSS JOIN aclexplode(datacl) AS a WHERE datname = %(current)s",
                {"restored": restored, "current": current},
            )
            for (statement,) in cursor.fetchall():
                cursor.execute(statement)

    def swap_database(self) -> None:
        """Give the database that was prepared the name of the one that is there, whose sessions are ended."""
        current = settings.get().sources_database
        with _admin() as cursor:
            _execute(cursor, "DROP DATABASE IF EXISTS {} WITH (FORCE)", current + FORMER)
            _execute(cursor, "ALTER DATABASE {} ALLOW_CONNECTIONS false", current)
            sessions = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
            cursor.execute(sessions, (current,))
            # Both names change in one transaction: nobody finds no database of that name.
            cursor.execute("BEGIN")
            _execute(cursor, "ALTER DATABASE {} RENAME TO {}", current, current + FORMER)
            _execute(cursor, "ALTER DATABASE {} RENAME TO {}", current + RESTORED, current)
            cursor.execute("COMMIT")
            _execute(cursor, "DROP DATABASE {} WITH (FORCE)", current + FORMER)


def take(folder: Path) -> Backup:
    """Dump the database of the sources as it is now into a file in a folder.

    Raises:
        RestoreFailed: pg_dump says why.
    """
    file = folder / "sources.dump"
    _run("pg_dump", "--format=custom", f"--file={file}", settings.get().sources_database)
    return Backup(file, clock.now())


@contextmanager
def _admin() -> Iterator[Cursor]:
    with closing(warehouse.connect("postgres", "postgres")) as link, link.cursor() as cursor:
        link.autocommit = True
        yield cursor


def _execute(cursor: Cursor, statement: str, *names: str) -> None:
    cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _run(program: str, *arguments: str | Path) -> None:
    config = settings.get()
    done = subprocess.run(
        [server.program(program), *arguments],
        env={
            "PATH": os.defpath,
            "PGHOST": config.warehouse_host,
            "PGPORT": str(config.warehouse_port),
            "PGUSER": config.warehouse_admin,
            "PGPASSWORD": credentials.password("postgres"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RestoreFailed(f"{program}: {done.stderr.strip()}")
