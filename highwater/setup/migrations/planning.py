"""What there is to do to bring the warehouse's schema to the version of this code; reads only."""

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
"""The name in control.repeatable of what the files have made, beside the files themselves."""


def our_roles() -> list[str]:
    """Those whose rights are ours to give; what others have been given is the admin's."""
    return ["publisher", *credentials.logins()]


@dataclass(frozen=True)
class Plan:
    """What bringing the schema to the version of this code comes to."""

    before: str | None
    """The version that the warehouse has; None: none yet."""
    is_adopted: bool
    """Whether it is of a time without versions."""
    after: str
    versions: tuple[str, ...]
    """Those that are to be applied, in order."""
    files: tuple[str, ...]
    """Files of highwater/sql/warehouse/ that are new, changed or gone."""
    objects_differ: bool
    """Whether triggers, views, functions or rights are not as the files made them, though these are the same."""

    @property
    def makes_objects(self) -> bool:
        """Whether triggers, views and functions are made anew."""
        return bool(self.versions or self.files or self.objects_differ)

    def as_json(self) -> dict[str, Any]:
        """The plan for a program."""
        return asdict(self) | {"makes_objects": self.makes_objects}

    def in_words(self) -> list[str]:
        """What there is to do, a line each; none where there is nothing."""
        lines = []
        if self.is_adopted:
            lines.append(f"a warehouse of a time without versions becomes {schema_version.BASELINE}, its rows stay")
        for version in self.versions:
            if not self.is_adopted or version != schema_version.BASELINE:
                lines.append(f"tables of version {version}")
        if self.files:
            lines.append(f"functions and views anew: {', '.join(self.files)}" if self.before else "functions and views")
        if self.objects_differ:
            lines.append("functions and views anew: they are not as highwater/sql/warehouse/ made them")
        return lines


def of_nothing() -> Plan:
    """The plan for a warehouse that does not exist yet."""
    known = schema_version.known()
    return Plan(None, False, known[-1], known, tuple(sorted(file_fingerprints())), False)


def plan(cursor: Cursor) -> Plan:
    """What there is to do to the warehouse of the cursor, whose role sees all of it: the admin, or the publisher.

    Raises:
        ConfigurationError: it is newer than this code, or not Highwater's; or a file lies where none is run any more.
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
    """Refuse a user's file where release 0.1 ran it: its dataset would be missed in silence."""
    for path in sorted((warehouse.SQL / "warehouse").glob("*.sql")):
        raise ConfigurationError(
            f"sql/warehouse/{path.name} is not run any more: move it into sql/datasets/, where published tables and"
            " their rows of control.datasets are made; nothing was changed"
        )


def found(cursor: Cursor) -> tuple[str | None, bool]:
    """The version that the warehouse has, and whether it is one of a time without versions.

    Raises:
        ConfigurationError: it is newer than this code, or not Highwater's.
    """
    warehouse.run_file(cursor, "schema/found.sql")
    there = warehouse.fetch(cursor)
    database = cursor.connection.info.dbname
    way_out = "let HIGHWATER_WAREHOUSE_DATABASE name another database; nothing was changed"
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
            f"the database {database!r} holds tables of another platform, or of one that had no ledger yet"
            f" ({there.some_tables}): {way_out}"
        )
    return None, bool(there.has_ledger)


def objects(cursor: Cursor) -> list[Any]:
    """What the files of highwater/sql/warehouse/ have made, each with a fingerprint as schema/objects.sql gives it."""
    warehouse.run_file(cursor, "schema/objects.sql", {"roles": our_roles()})
    return warehouse.fetch_all(cursor)


def fingerprint_of(made: Iterable[Any]) -> str:
    """One fingerprint of what the files have made."""
    return _fingerprint("\n".join(sorted(f"{one.kind} {one.name} {one.fingerprint}" for one in made)))


def files(folder: str) -> list[Path]:
    """The files of a folder of statements, in the order they are run in."""
    return warehouse.sql_files(folder)


def file_fingerprints() -> dict[str, str]:
    """The files of highwater/sql/warehouse/, with a fingerprint each."""
    return {f"warehouse/{path.name}": _fingerprint(path.read_text()) for path in files("warehouse")}


def _fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
