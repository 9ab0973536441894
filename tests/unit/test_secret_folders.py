"""Each service is given what it needs of the secrets, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from highwater.environment import credentials, settings
from highwater.model.errors import ConfigurationError
from highwater.setup import airflow_files, secret_folders

OF_THE_PLATFORM = {"fernet_key", "jwt_secret", "api_secret_key", "admin_password", "operator_password"}
OF_SUPERUSERS = {"postgres_password", "metadata_admin_password"}


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


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """An empty folder for each service."""
    for service in secret_folders.files_of_services():
        (tmp_path / "for" / service).mkdir(parents=True)
    return tmp_path / "for"


def contents(folder: Path) -> dict[str, str]:
    """The text of each file in a folder by name."""
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_folder_holds_its_services_files_and_what_it_held_before_is_gone(secrets: Path, folders: Path) -> None:
    (folders / "worker/metadata_url").write_text("postgresql://of.before/")
    secret_folders.write(folders)
    for service, names in secret_folders.files_of_services().items():
        assert set(contents(folders / service)) == set(names)
    assert (folders / "worker/loader_password").read_text() == (secrets / "loader_password").read_text()


@pytest.mark.parametrize("service", ["worker", "dag-processor"])
def test_what_runs_code_of_users_gets_no_key_of_the_platform(secrets: Path, folders: Path, service: str) -> None:
    secret_folders.write(folders)
    known = "".join(contents(folders / service).values())
    hidden = {name: (secrets / name).read_text().strip() for name in OF_THE_PLATFORM | OF_SUPERUSERS}
    assert [name for name, secret in hidden.items() if secret in known] == []


def test_a_superusers_password_is_for_its_server_and_for_init() -> None:
    for service, names in secret_folders.files_of_services().items():
        assert not OF_SUPERUSERS & set(names) or service in {"metadata", "warehouse", "init"}


def test_a_secret_that_was_made_again_arrives(secrets: Path, folders: Path) -> None:
    secret_folders.write(folders)
    (secrets / "loader_password").unlink()
    credentials.ensure()
    secret_folders.write(folders)
    assert (folders / "worker/loader_password").read_text() == (secrets / "loader_password").read_text()


def test_only_the_folders_that_are_there_are_filled_and_the_broker_may_be_elsewhere(
    secrets: Path, tmp_path: Path
) -> None:
    (tmp_path / "for/worker").mkdir(parents=True)
    secret_folders.write(tmp_path / "for", "queue.example:6380/2")
    assert [path.name for path in (tmp_path / "for").iterdir()] == ["worker"]
    password = (secrets / "broker_password").read_text().strip()
    assert (tmp_path / "for/worker/broker_url").read_text() == f"redis://:{password}@queue.example:6380/2"


def test_a_root_without_a_folder_of_a_service_is_named(secrets: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"--folders={tmp_path / 'none'} contains no folder of a service"):
        secret_folders.write(tmp_path / "none")
