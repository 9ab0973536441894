"""What is not Highwater's and needs something that is to be made anew."""

from __future__ import annotations

from psycopg2.extensions import cursor as Cursor

from highwater.model.errors import ConfigurationError
from highwater.store import warehouse


def refuse(cursor: Cursor, ours: list[tuple[int, int]]) -> None:
    """Refuse to go on where something that is not among these objects needs one of them.

    Args:
        cursor: in the warehouse.
        ours: class and object of each, as pg_depend names them.

    Raises:
        ConfigurationError: says what needs what, and the way out.
    """
    warehouse.run_file(
        cursor,
        "schema/dependents.sql",
        {"classes": [classid for classid, _ in ours], "objects": [oid for _, oid in ours]},
    )
    found = [f"{row.dependent} needs {row.needed}" for row in warehouse.fetch_all(cursor)]
    if found:
        raise ConfigurationError(
            f"{'; '.join(found)}, which is made anew: drop what needs it, start again, then create it again;"
            " nothing was changed"
        )
