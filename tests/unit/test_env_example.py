"""`.env.example` is the one list of settings people read, so it may not lag behind the settings themselves."""

from __future__ import annotations

import re

import pytest

from highwater.environment.settings import ROOT, Settings
from simulation import settings as simulation_settings

OF_THIS_MACHINE = {"home"}
"""Their default is a path of the machine the test runs on."""


def test_every_setting_is_there_with_its_default() -> None:
    offered = dict(re.findall(r"^#([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    for name, field in (Settings.model_fields | simulation_settings.Settings.model_fields).items():
        variable = str(field.validation_alias or f"HIGHWATER_{name.upper()}")
        default = "" if field.default is None or name in OF_THIS_MACHINE else str(field.default)
        assert offered.get(variable) == default, variable


@pytest.mark.parametrize("file", ["docker-compose.yaml", "docker-compose.celery.yaml"])
def test_every_setting_of_the_compose_file_is_there(file: str) -> None:
    read = re.findall(r"\$\{((?:HIGHWATER|SIMULATION)_[A-Z_]+)", (ROOT / file).read_text())
    offered = dict(re.findall(r"^#([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert set(read) <= set(offered)


def test_copied_as_it_is_it_sets_nothing() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert all(not line or line.startswith("#") for line in lines)
