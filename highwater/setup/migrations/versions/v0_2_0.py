"""The schema of the first version; a warehouse from before versions existed is adopted as this one."""

from highwater.setup.migrations import tables

revision = "0.2.0"
down_revision = None


def upgrade() -> None:
    """Create the tables of highwater/sql/migrations/0.2.0/."""
    tables.run_files_of(revision)
