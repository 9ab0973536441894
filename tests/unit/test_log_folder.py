"""A changed HIGHWATER_UID meets the logs of the former one: taken where the group may write, else reported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from highwater.model.errors import ConfigurationError
from highwater.setup import log_folder


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Logs of two DAGs, one closed to this user, who is not root, even if the test runs as root."""
    for name in ("dag_id=a", "dag_id=b"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "dag_id=b")
    return tmp_path


def test_one_that_is_closed_is_reported_with_what_hands_it_over(logs: Path) -> None:
    owner = logs.stat().st_uid
    with pytest.raises(ConfigurationError) as refused:
        log_folder.refuse_closed(logs)
    said = str(refused.value)
    assert said.startswith(
        f"{logs}/dag_id=b belongs to user {owner} and is closed to user {os.getuid()}, since HIGHWATER_UID was changed:"
    )
    assert f"`docker compose run --rm --no-deps --user {owner}:0 init chmod -R g+rwX {logs}`" in said
    assert "\n" not in said


def test_ones_that_can_be_written_and_none_at_all_are_taken(logs: Path) -> None:
    (logs / "dag_id=b").rmdir()
    log_folder.refuse_closed(logs)
    log_folder.refuse_closed(logs / "nowhere")
