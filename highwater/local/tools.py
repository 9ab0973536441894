"""Runs a program with Postgres' tools and the warehouse's admin login, on a machine without Docker.

``python -m highwater.local.tools [--alone] PROGRAM …``: the program finds ``pg_dump`` and the other tools on its path,
the login in the variables they read (the password in a file), and the database's name in ``WAREHOUSE``. The server of
this home folder runs until the program ends. With ``--alone`` the platform must be stopped, and cannot be started
until the program ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from highwater.environment import credentials, settings
from highwater.local import server
from highwater.local.placement import binaries
from highwater.local.platform import claim
from highwater.model.errors import HighwaterError
from highwater.store import sentences

INSIDE = "HIGHWATER_HAS_TOOLS"
"""Set for the program, so that a script that runs itself through this module can tell."""
USAGE_ERROR = 2


def main(arguments: list[str]) -> int:
    """Run the program; returns its exit code."""
    alone, program = arguments[0] == "--alone", [word for word in arguments if word != "--alone"]
    try:
        with ExitStack() as stack:
            if alone:
                stack.enter_context(claim())
            if not server.running():
                server.start()
                stack.callback(server.stop)
            # Ctrl-C reaches the program too; the server keeps running until the program has cleaned up.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            return subprocess.run(
                program, env=environment(), check=False, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
            ).returncode
    except HighwaterError as error:
        sys.stderr.write(f"{Path(program[0]).name}: {sentences.of(error)}\n")
        return USAGE_ERROR


def environment() -> dict[str, str]:
    """The program's environment: ours, the path to the tools, the login, the name of the warehouse's database."""
    config = settings.get()
    return {
        **os.environ,
        INSIDE: "1",
        "PATH": os.pathsep.join([str(binaries()), os.environ.get("PATH", os.defpath)]),
        "PGHOST": config.warehouse_host,
        "PGPORT": str(config.warehouse_port),
        "PGUSER": config.warehouse_admin,
        "PGPASSFILE": str(credentials.password_file("postgres")),
        "WAREHOUSE": config.warehouse_database,
    }


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
