"""The numbered migrations of tables: Alembic's, on a connection and in a transaction of ours."""

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

from highwater.setup.migrations import running

VERSION_TABLE = "alembic_version"
SCRIPTS = ScriptDirectory(str(Path(__file__).parent))
"""The revisions: a thin file of ``versions/`` each, whose statements are in ``highwater/sql/migrations/<version>/``."""


@contextmanager
def upgrading(link: Connection) -> Iterator[Callable[[str], None]]:
    """Call what it gives with a version to apply, in the transaction that is under way, what leads to that version.

    To be entered outside a transaction, since SQLAlchemy rolls back as it gets to know a connection. It ends none: the
    caller commits.
    """
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg2://",
        creator=lambda: link,
        poolclass=sqlalchemy.StaticPool,
        pool_reset_on_return=None,
        use_native_hstore=False,
    )
    with _errors_of_the_driver(), engine.connect() as known, _given_up_if_closed(known, link):
        known.begin()

        def upgrade(version: str) -> None:
            def steps(heads: tuple[str, ...], _context: MigrationContext) -> list[RevisionStep]:
                there = heads[0] if heads else "base"
                revisions = reversed(list(SCRIPTS.iterate_revisions(version, there)))
                return [RevisionStep(SCRIPTS.revision_map, revision, True) for revision in revisions]

            context = MigrationContext.configure(
                known, opts={"fn": steps, "version_table": VERSION_TABLE, "version_table_schema": "control"}
            )
            with Operations.context(context):
                context.run_migrations()

        yield upgrade


@contextmanager
def _errors_of_the_driver() -> Iterator[None]:
    """What SQLAlchemy makes of an error of the driver is that error again."""
    try:
        yield
    except sqlalchemy.exc.DBAPIError as error:
        if not isinstance(error.orig, psycopg2.Error):
            raise
        raise error.orig from None


@contextmanager
def _given_up_if_closed(known: sqlalchemy.Connection, link: Connection) -> Iterator[None]:
    """On a link that has broken there is nothing to roll back, and the attempt would hide what broke it."""
    try:
        yield
    finally:
        if link.closed:
            known.invalidate()


def run_files_of(version: str) -> None:
    """What a revision does: the files of its folder.

    Raises:
        ConfigurationError: a statement is refused.
    """
    link = op.get_bind().connection.driver_connection
    assert isinstance(link, Connection)
    with link.cursor() as cursor:
        running.run_folder(cursor, f"migrations/{version}")
