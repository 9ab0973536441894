"""The numbered migrations of tables: run by Alembic, on our connection and in our transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import sqlalchemy
from alembic import op
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from psycopg2.extensions import connection as Connection

from highwater.setup.migrations import statements

VERSION_TABLE = "alembic_version"
SCRIPTS = ScriptDirectory(str(Path(__file__).parent))
"""The revisions: a small file in ``versions/`` each, with its statements in ``highwater/sql/migrations/<version>/``."""


@contextmanager
def upgrading(link: Connection) -> Iterator[Callable[[str], None]]:
    """A function that applies the migrations up to a version, in the open transaction.

    Enter it outside a transaction, since SQLAlchemy rolls back when it first uses a connection. It ends no
    transaction: the caller commits.
    """
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg2://",
        creator=lambda: link,
        poolclass=sqlalchemy.StaticPool,
        pool_reset_on_return=None,
        use_native_hstore=False,
    )
    with _driver_errors(), engine.connect() as known, _invalidated_if_closed(known, link):
        known.begin()

        def upgrade(version: str) -> None:
            def steps(heads: tuple[str, ...], _context: MigrationContext) -> list[RevisionStep]:
                current = heads[0] if heads else "base"
                revisions = reversed(list(SCRIPTS.iterate_revisions(version, current)))
                return [RevisionStep(SCRIPTS.revision_map, revision, True) for revision in revisions]

            context = MigrationContext.configure(
                known, opts={"fn": steps, "version_table": VERSION_TABLE, "version_table_schema": "control"}
            )
            with Operations.context(context):
                context.run_migrations()

        yield upgrade


@contextmanager
def _driver_errors() -> Iterator[None]:
    """Unwrap the driver's error from SQLAlchemy's."""
    try:
        yield
    except sqlalchemy.exc.DBAPIError as error:
        if not isinstance(error.orig, psycopg2.Error):
            raise
        raise error.orig from None


@contextmanager
def _invalidated_if_closed(known: sqlalchemy.Connection, link: Connection) -> Iterator[None]:
    """Skip the rollback on a broken link, since it would hide the error that broke it."""
    try:
        yield
    finally:
        if link.closed:
            known.invalidate()


def run_files_of(version: str) -> None:
    """Run the files of a revision's folder.

    Raises:
        ConfigurationError: a statement fails.
    """
    link = op.get_bind().connection.driver_connection
    assert isinstance(link, Connection)
    with link.cursor() as cursor:
        statements.run_folder(cursor, f"migrations/{version}")
