"""Objects that are not Highwater's and depend on objects that a migration drops and creates again."""

from __future__ import annotations

from psycopg2.extensions import cursor as Cursor

from highwater.model.errors import ConfigurationError
from highwater.store import warehouse


def refuse(cursor: Cursor, ours: list[tuple[int, int]]) -> None:
    """Raise if an object outside this list depends on one in it.

    Args:
        cursor: in the warehouse.
        ours: class and object ids, as in pg_depend.

    Raises:
        ConfigurationError: names the dependent objects and the way out.
    """
    warehouse.run_file(
        cursor,
        "schema/dependents.sql",
        {"classes": [classid for classid, _ in ours], "objects": [oid for _, oid in ours]},
    )
    found = [f"{row.dependent} depends on {row.needed}" for row in warehouse.fetch_all(cursor)]
    if found:
        raise ConfigurationError(
            f"{'; '.join(found)}, which is created again: drop the dependent object, start, then create it again;"
            " nothing was changed"
        )
