"""``scripts/airflow``: Airflow's own command line with the settings of the platform that runs on this machine."""

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

MISTAKE = 2


def refuse_where_nothing_runs() -> None:
    """Does nothing where the metadata of a platform on this machine answers.

    Raises:
        ConfigurationError: nothing was started here, or the settings lead elsewhere.
        psycopg2.OperationalError: what was started is stopped.
    """
    if commands.place() is not Place.DEMO:
        raise ConfigurationError(f"no Airflow runs here: {commands.how_to_start()}")
    with closing(warehouse.connect("airflow", settings.get().metadata_database, patience=5)):
        pass


def main() -> None:
    """Become Airflow's command line; a platform that does not run is one sentence and exit code 2."""
    try:
        refuse_where_nothing_runs()
        environment = local_environment.environment(settings.get().ui_port)
    except (HighwaterError, psycopg2.Error, OSError) as error:
        sys.stderr.write(f"airflow: {sentences.of(error)}\n")
        raise SystemExit(MISTAKE) from None
    command = [sys.executable, "-m", "highwater.airflow.command_line", *sys.argv[1:]]
    os.execve(sys.executable, command, environment)  # noqa: S606


if __name__ == "__main__":
    main()
