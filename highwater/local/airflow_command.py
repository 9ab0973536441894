"""``scripts/airflow``: Airflow's command line with the settings of the platform on this machine."""

from __future__ import annotations

import os
import sys
from contextlib import closing

import psycopg2

from highwater.environment import commands, settings
from highwater.environment.commands import Place
from highwater.local import environment as local_environment
from highwater.model.errors import ConfigurationError, HighwaterError
from highwater.store import sentences, warehouse

USAGE_ERROR = 2


def require_platform() -> None:
    """Check that the metadata database of a platform on this machine answers.

    Raises:
        ConfigurationError: no platform was started here, or the settings name another server.
        psycopg2.OperationalError: the platform is stopped.
    """
    if commands.place() is not Place.DEMO:
        raise ConfigurationError(f"Airflow is not running here: {commands.how_to_start()}")
    with closing(warehouse.connect("airflow", settings.get().metadata_database, patience=5)):
        pass


def main() -> None:
    """Replace this process by Airflow's command line; without a running platform, print one sentence and exit 2."""
    try:
        require_platform()
        environment = local_environment.environment(settings.get().ui_port)
    except (HighwaterError, psycopg2.Error, OSError) as error:
        sys.stderr.write(f"airflow: {sentences.of(error)}\n")
        raise SystemExit(USAGE_ERROR) from None
    command = [sys.executable, "-m", "highwater.airflow.command_line", *sys.argv[1:]]
    os.execve(sys.executable, command, environment)  # noqa: S606


if __name__ == "__main__":
    main()
