"""docs/reference/views.md is what scripts/reference writes of a bootstrapped warehouse."""

from __future__ import annotations

import importlib
import sys

import pytest
from psycopg2.extensions import cursor as Cursor

from highwater.environment.settings import ROOT


def test_views_are_up_to_date(admin: Cursor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts/lib")
    reference = importlib.import_module("reference")
    written = reference.views_page(admin)
    del sys.modules["reference"]
    assert written == (ROOT / "docs/reference/views.md").read_text(), "out of date: type scripts/reference"
