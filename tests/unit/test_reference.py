"""The generated pages of docs/reference/ are what scripts/reference writes now."""

from __future__ import annotations

import subprocess

from highwater.environment.settings import ROOT


def test_settings_commands_and_the_pages_json_are_up_to_date() -> None:
    done = subprocess.run([ROOT / "scripts/reference", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
