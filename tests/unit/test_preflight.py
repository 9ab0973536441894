"""What preflight says of a checkout and of the image that it starts; the rest of it is tried in tests/compose/."""

from __future__ import annotations

import importlib.util
import re
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from highwater import __version__
from highwater.environment import settings
from highwater.environment.settings import ROOT


@pytest.fixture
def preflight(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The program, with a checkout of its own whose folders hold a file each, and the image that was built from it."""
    monkeypatch.setenv("HIGHWATER_HOME", str(tmp_path))
    monkeypatch.setenv("HIGHWATER_SECRETS_DIR", str(tmp_path))
    loader = SourceFileLoader("preflight", str(ROOT / "docker/airflow/preflight"))
    spec = importlib.util.spec_from_loader("preflight", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path / "checkout")
    monkeypatch.setattr(module, "BUILT_FROM", tmp_path / "image")
    for folder in (*(module.ROOT / name for name in module.MOUNTS), module.BUILT_FROM):
        folder.mkdir(parents=True)
        (folder / "requirements.lock").write_text("airflow==3.3.2\n")
    return module


class TestAFileThatNobodyElseMayRead:
    @pytest.fixture(autouse=True)
    def closed(self, preflight: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(preflight.os, "access", lambda path, mode: Path(path).name != "requirements.lock")

    def test_names_its_owner_as_the_user_to_run_as(
        self, preflight: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(preflight, "owner_of", lambda folder: 1000)
        said = preflight.unreadable_mount()
        assert "dags/requirements.lock is not readable for user" in said
        assert "set HIGHWATER_UID=1000 in .env, or run `chmod -R a+rX dags sql" in said

    def test_makes_nobody_root(self, preflight: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(preflight, "owner_of", lambda folder: 0)
        said = preflight.unreadable_mount()
        assert "HIGHWATER_UID=" not in said
        assert said.endswith("run `chmod -R a+rX dags sql expectations config highwater simulation docker/airflow`")


def test_root_is_refused(preflight: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.os, "getuid", lambda: 0)
    assert preflight.runs_as_root().startswith("HIGHWATER_UID=0 is refused: nothing of the platform runs as root")
    monkeypatch.setattr(preflight.os, "getuid", lambda: 50000)
    assert preflight.runs_as_root() is None


def test_a_setting_of_the_project_is_refused(preflight: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMULATION_ROWS_PER_DAY", "many")
    settings.get.cache_clear()
    try:
        assert "SIMULATION_ROWS_PER_DAY='many' is refused: expected a whole number" in preflight.bad_setting()
    finally:
        monkeypatch.undo()
        settings.get.cache_clear()
    assert preflight.bad_setting() is None


class TestAnImage:
    def test_of_this_checkout_is_taken(self, preflight: ModuleType) -> None:
        assert preflight.built_from_others() is None

    def test_of_another_checkout_is_reported(self, preflight: ModuleType) -> None:
        (preflight.ROOT / "docker/airflow/requirements.lock").write_text("airflow==3.3.3\n")
        said = preflight.built_from_others()
        assert "built from another docker/airflow/requirements.lock than this checkout's" in said
        assert "`docker compose build`" in said

    def test_keeps_all_that_it_was_built_from(self) -> None:
        context = (ROOT / "docker/airflow/.dockerignore").read_text()
        copied = re.findall(r"^COPY (?!--from)(?:--chmod=\S+ )?(.*) \S+$", _dockerfile(), re.MULTILINE)
        assert "." in copied
        assert {name for names in copied for name in names.split()} - {"."} < set(
            re.findall(r"^!(.*)$", context, re.MULTILINE)
        )

    def test_is_of_one_project_and_one_version(self) -> None:
        images = {image for image in _images() if not image.startswith(("postgres:", "redis:"))}
        assert images == {f"highwater-airflow:${{COMPOSE_PROJECT_NAME:-highwater}}-{__version__}"}


def test_who_reads_the_admins_password_for_init_reads_it_for_a_backup() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"]
    readers = {
        name: service["user"]
        for name, service in services.items()
        if "warehouse_admin_password" in service.get("secrets", ())
    }
    assert readers == dict.fromkeys(("init", "pgtools"), "${HIGHWATER_UID:-50000}:0")


def _dockerfile() -> str:
    return (ROOT / "docker/airflow/Dockerfile").read_text()


def _images() -> set[str]:
    services = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"]
    return {service["image"] for service in services.values()}
