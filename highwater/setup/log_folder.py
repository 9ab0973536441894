"""The folder of Airflow's logs: checks that the current user can write to folders that another user created."""

from __future__ import annotations

import os
from pathlib import Path

from highwater.model.errors import ConfigurationError


def refuse_closed(folder: Path) -> None:
    """Refuse log folders (one per DAG) that a former HIGHWATER_UID created and closed to others.

    Raises:
        ConfigurationError: there is one; names its owner and the command that opens all of them.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
            owner = path.stat().st_uid
            hand_over = f"docker compose run --rm --no-deps --user {owner}:0 init chmod -R g+rwX {folder}"
            raise ConfigurationError(
                f"{path} belongs to user {owner} and is closed to user {os.getuid()}, since HIGHWATER_UID was changed:"
                f" run `{hand_over}` to open the logs, or set HIGHWATER_UID={owner} in .env again;"
                " nothing was changed"
            )
