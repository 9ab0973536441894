"""The schema of the first version: what warehouses of a time without versions are brought to as well."""

from highwater.setup.migrations import tables

revision = "0.2.0"
down_revision = None


def upgrade() -> None:
    """Make the tables of highwater/sql/migrations/0.2.0/."""
    tables.run_files_of(revision)
