"""What a project's code adds to the engine, and what is said of a module that adds nothing it can use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from highwater.environment import credentials, project, settings
from highwater.model.errors import ConfigurationError
from highwater.setup import metadata, roles


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The module that HIGHWATER_EXTENSION names, to be written."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("HIGHWATER_EXTENSION", "own_extension")
    settings.get.cache_clear()
    yield tmp_path / "own_extension.py"
    monkeypatch.undo()
    sys.modules.pop("own_extension", None)
    settings.get.cache_clear()


def test_its_roles_and_pools_are_the_platforms(named: Path) -> None:
    named.write_text(
        "from highwater.environment.project import Extension\n"
        "EXTENSION = Extension(owner='crm', readers=('crm_reader',), pools={'crm': (2, 'at once')})\n"
    )
    assert credentials.logins() == (*credentials.LOGINS, "crm", "crm_reader")
    assert {"crm", "crm_reader"} < set(roles.logins())
    assert metadata.pools() == metadata.POOLS | {"crm": (2, "at once")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No module named 'own_extension'"),
        ("", "has no attribute 'EXTENSION'"),
        ("EXTENSION = 1", "its EXTENSION is a int"),
    ],
)
def test_an_invalid_module_is_refused_with_its_setting(named: Path, text: str | None, said: str) -> None:
    if text is not None:
        named.write_text(text)
    with pytest.raises(ConfigurationError, match=f"HIGHWATER_EXTENSION=own_extension is refused: .*{said}"):
        project.extension()


def test_without_one_the_engine_works_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "get", lambda: settings.Settings(extension=None))
    assert project.extension() == project.Extension()
    assert credentials.logins() == credentials.LOGINS
    assert not project.extension().commands()


def test_a_setting_of_the_project_that_is_out_of_bounds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIGHWATER_EXTENSION", "simulation.extension")
    monkeypatch.setenv("HIGHWATER_CHANNEL_DAYS", "0")
    settings.get.cache_clear()
    try:
        with pytest.raises(
            ConfigurationError, match="setting HIGHWATER_CHANNEL_DAYS='0' is refused: expected at least 1"
        ):
            project.extension()
    finally:
        monkeypatch.undo()
        settings.get.cache_clear()
    assert project.extension().settings().keys() == {"HIGHWATER_HISTORY_DAYS", "HIGHWATER_CHANNEL_DAYS"}
