"""The user's project: what its code adds to the engine.

A project is a folder with ``dags/``, ``sql/``, ``expectations/`` and ``config/``. Its code may add roles, connections,
pools, commands and settings: ``HIGHWATER_EXTENSION`` names a module whose ``EXTENSION`` says which.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from highwater.environment import settings
from highwater.model.errors import ConfigurationError

if TYPE_CHECKING:
    import typer
    from psycopg2.extensions import connection as Connection


@dataclass(frozen=True)
class Extension:
    """What a project adds. Functions are called at the start of the platform, except ``commands``.

    Attributes:
        owner: the role that owns the schemas of the database `Settings.sources_database`; None without one.
        readers: roles that may log in to that database and read what its owner grants them.
        pools: pools of Airflow by name, each with its slots and a description.
        connections: connections of Airflow by name, each with conn_type, host, port, schema, login, password, extra.
        settings: settings of the project by their names in the environment; files of ``sql/datasets/`` read
            ``HIGHWATER_X`` as ``current_setting('highwater.x')``. Called whenever the extension is read.
        prepare: migrates that database, given the admin's connection to it.
        advance: called at the end of a start.
        commands: command groups of ``highwater`` by name.
        begin_settings: settings that move the first window of a dataset, by dataset.
    """

    owner: str | None = None
    readers: tuple[str, ...] = ()
    pools: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    connections: Callable[[], dict[str, dict[str, Any]]] = dict
    settings: Callable[[], Mapping[str, object]] = dict
    prepare: Callable[[Connection], None] = lambda _: None
    advance: Callable[[], None] = lambda: None
    commands: Callable[[], Mapping[str, typer.Typer]] = dict
    begin_settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def logins(self) -> tuple[str, ...]:
        """Roles of the project that log in."""
        return (*filter(None, [self.owner]), *self.readers)


def extension() -> Extension:
    """What the project's code adds; empty if no module is named.

    Raises:
        ConfigurationError: the module cannot be imported, has no ``EXTENSION``, or a setting of its is out of bounds.
    """
    name = settings.get().extension
    if name is None:
        return Extension()
    try:
        found = importlib.import_module(name).EXTENSION
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"setting HIGHWATER_EXTENSION={name} is refused: {error}: expected a module with an EXTENSION"
        ) from error
    if not isinstance(found, Extension):
        raise ConfigurationError(
            f"setting HIGHWATER_EXTENSION={name} is refused: its EXTENSION is a {type(found).__name__},"
            " expected a highwater.environment.project.Extension"
        )
    found.settings()
    return found
