"""A machine that runs tasks is given what they log in with, and no way to the metadata."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from highwater import airflow_files, credentials, settings, worker_files
from highwater.errors import ConfigurationError

KNOWN = {
    "analyst_password",
    "broker_password",
    "broker_url",
    "connections.json",
    "loader_password",
    "simulator_password",
}


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of secrets as `highwater secrets` leaves it."""
    monkeypatch.setenv("HIGHWATER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HIGHWATER_METADATA_HOST", "metadata")
    settings.get.cache_clear()
    credentials.ensure()
    airflow_files.write()
    yield settings.get().secrets
    settings.get.cache_clear()


def test_only_what_tasks_need_is_in_the_folder(secrets: Path, tmp_path: Path) -> None:
    worker_files.write(tmp_path)
    found = {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()}
    assert set(found) == KNOWN
    everything = "".join(found.values())
    kept_back = [path for path in secrets.iterdir() if path.name not in KNOWN]
    assert {"metadata_url", "airflow_password", "postgres_password", "jwt_secret"} <= {path.name for path in kept_back}
    readers = {f"{reader}_password" for reader in credentials.SOURCE_READERS}
    assert [
        path.name for path in kept_back if path.name not in readers and path.read_text().strip() in everything
    ] == []
    assert found["broker_url"] == f"redis://:{found['broker_password'].strip()}@redis:6379/0"


def test_the_broker_may_be_elsewhere_and_the_anchor_comes_along(secrets: Path, tmp_path: Path) -> None:
    settings.get().anchor_file.write_text("2026-10-31\n")
    worker_files.write(tmp_path, "queue.example:6380/2")
    assert (tmp_path / "broker_url").read_text().endswith("@queue.example:6380/2")
    assert (tmp_path / "anchor").read_text() == "2026-10-31\n"


def test_a_folder_that_is_not_there_is_named(secrets: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"--workers={tmp_path / 'none'} is no folder"):
        worker_files.write(tmp_path / "none")
