"""The plan of a migration to the installed version; only reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from psycopg2.extensions import cursor as Cursor

from highwater.environment import credentials
from highwater.model.errors import ConfigurationError
from highwater.store import schema_version, warehouse

OBJECTS = "(objects)"
"""The row of control.repeatable for the created objects, beside the rows for the files."""


def our_roles() -> list[str]:
    """The roles whose privileges Highwater manages; those of other roles are the admin's."""
    return ["publisher", *credentials.logins()]


@dataclass(frozen=True)
class Plan:
    """What a migration to the installed version has to do."""

    before: str | None
    """The version of the warehouse; None if it has no version."""
    is_adopted: bool
    """Whether the warehouse is from before versions existed."""
    after: str
    versions: tuple[str, ...]
    """The versions to apply, in order."""
    files: tuple[str, ...]
    """Files of highwater/sql/warehouse/ that are new, changed or deleted."""
    objects_differ: bool
    """Whether triggers, views, functions or grants differ from what the unchanged files created."""

    @property
    def makes_objects(self) -> bool:
        """Whether triggers, views and functions are created again."""
        return bool(self.versions or self.files or self.objects_differ)

    def as_json(self) -> dict[str, Any]:
        """The plan for a program."""
        return asdict(self) | {"makes_objects": self.makes_objects}

    def in_words(self) -> list[str]:
        """What there is to do, one line each; empty if there is nothing."""
        lines = []
        if self.is_adopted:
            lines.append(f"adopt a warehouse without a version as {schema_version.BASELINE}; its rows are kept")
        for version in self.versions:
            if not self.is_adopted or version != schema_version.BASELINE:
                lines.append(f"migrate tables to version {version}")
        if self.files:
            lines.append(
                f"recreate functions and views: {', '.join(self.files)}"
                if self.before
                else "create functions and views"
            )
        if self.objects_differ:
            lines.append("recreate functions and views: they differ from highwater/sql/warehouse/")
        return lines


def of_nothing() -> Plan:
    """The plan for a warehouse that does not exist yet."""
    known = schema_version.known()
    return Plan(None, False, known[-1], known, tuple(sorted(file_fingerprints())), False)


def plan(cursor: Cursor) -> Plan:
    """The plan for the warehouse of the cursor, whose role is the admin or the publisher.

    Raises:
        ConfigurationError: it is newer than this version, or not Highwater's; or a file is in a folder that is no
            longer run.
    """
    _refuse_former_place()
    before, is_adopted = found(cursor)
    if before is None:
        return replace(of_nothing(), is_adopted=is_adopted)
    known, there = schema_version.known(), file_fingerprints()
    cursor.execute("SELECT name, fingerprint FROM control.repeatable")
    applied: dict[str, str] = {row.name: row.fingerprint for row in warehouse.fetch_all(cursor)}
    made = applied.pop(OBJECTS, None)
    changed = sorted(name for name in there.keys() | applied.keys() if there.get(name) != applied.get(name))
    differ = not changed and made != fingerprint_of(objects(cursor))
    return Plan(before, False, known[-1], known[known.index(before) + 1 :], tuple(changed), differ)


def _refuse_former_place() -> None:
    """Refuse a user's file in the folder of release 0.1: its dataset would silently be missing."""
    for path in sorted((warehouse.SQL / "warehouse").glob("*.sql")):
        raise ConfigurationError(
            f"sql/warehouse/{path.name} is no longer run: move it into sql/datasets/, where published tables and"
            " their rows of control.datasets are created; nothing was changed"
        )


def found(cursor: Cursor) -> tuple[str | None, bool]:
    """The version of the warehouse, and whether it is one from before versions existed.

    Raises:
        ConfigurationError: it is newer than this version, or not Highwater's.
    """
    warehouse.run_file(cursor, "schema/found.sql")
    there = warehouse.fetch(cursor)
    database = cursor.connection.info.dbname
    way_out = "set HIGHWATER_WAREHOUSE_DATABASE to another database; nothing was changed"
    if there.of_others is not None:
        raise ConfigurationError(
            f"the database {database!r} holds schemas that are not Highwater's ({there.of_others}):"
            f" rename them, or {way_out}"
        )
    if there.has_version:
        warehouse.run_file(cursor, "schema/version.sql")
        rows = warehouse.fetch_all(cursor)
        version = str(rows[0].version_num) if len(rows) == 1 else "unknown"
        if version not in schema_version.known():
            raise schema_version.refusal(version)
        return version, False
    if not there.has_ledger and there.some_tables is not None:
        raise ConfigurationError(
            f"the database {database!r} holds tables of another platform, or of a version without a ledger"
            f" ({there.some_tables}): {way_out}"
        )
    return None, bool(there.has_ledger)


def objects(cursor: Cursor) -> list[Any]:
    """The objects that the files of highwater/sql/warehouse/ created, each with a fingerprint by schema/objects.sql."""
    warehouse.run_file(cursor, "schema/objects.sql", {"roles": our_roles()})
    return warehouse.fetch_all(cursor)


def fingerprint_of(made: Iterable[Any]) -> str:
    """One fingerprint of all objects."""
    return _fingerprint("\n".join(sorted(f"{one.kind} {one.name} {one.fingerprint}" for one in made)))


def files(folder: str) -> list[Path]:
    """The files of a folder of statements, in the order in which they are run."""
    return warehouse.sql_files(folder)


def file_fingerprints() -> dict[str, str]:
    """The files of highwater/sql/warehouse/, each with its fingerprint."""
    return {f"warehouse/{path.name}": _fingerprint(path.read_text()) for path in files("warehouse")}


def _fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
