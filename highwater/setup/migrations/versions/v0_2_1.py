"""Kinds of failures and of incidents, and former versions of windows in schema archive."""

from highwater.setup.migrations import tables

revision = "0.2.1"
down_revision = "0.2.0"


def upgrade() -> None:
    """Run the statements of highwater/sql/migrations/0.2.1/."""
    tables.run_files_of(revision)
