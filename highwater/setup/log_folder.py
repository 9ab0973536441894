"""The folder of Airflow's logs: whether whoever runs the platform now can write where another user has written."""

from __future__ import annotations

import os
from pathlib import Path

from highwater.model.errors import ConfigurationError


def refuse_closed(folder: Path) -> None:
    """Refuse folders of logs, one a DAG, that a former HIGHWATER_UID has made and closed to others.

    Raises:
        ConfigurationError: there is one; names its owner, and the command that hands all of them over.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
            owner = path.stat().st_uid
            hand_over = f"docker compose run --rm --no-deps --user {owner}:0 init chmod -R g+rwX {folder}"
            raise ConfigurationError(
                f"{path} belongs to user {owner} and is closed to user {os.getuid()}: HIGHWATER_UID was changed;"
                f" `{hand_over}` hands the logs over, HIGHWATER_UID={owner} in .env goes on as before;"
                " nothing was changed"
            )
