"""Failures by kinds of their own, and former versions in schema archive."""

from highwater.setup.migrations import tables

revision = "0.2.1"
down_revision = "0.2.0"


def upgrade() -> None:
    """Carry out the statements of highwater/sql/migrations/0.2.1/."""
    tables.run_files_of(revision)
