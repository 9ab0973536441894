"""Replacing the file of HIGHWATER_NOW_FILE moves the clock of Python and of the database alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from highwater.model import clock
from highwater.store import warehouse


def test_a_session_has_the_moment_at_which_it_began(
    platform: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hand = tmp_path / "now"
    monkeypatch.setenv("HIGHWATER_NOW_FILE", str(hand))
    seen = []
    for moment in ("2026-12-24T00:00:00+00:00", "2026-12-25T00:00:00+00:00"):
        hand.write_text(moment)
        with warehouse.session("analyst") as cursor:
            cursor.execute("SELECT ops.clock() AS now")
            seen.append((warehouse.fetch_value(cursor).isoformat(), clock.now().isoformat()))
    assert seen == [(moment, moment) for moment in ("2026-12-24T00:00:00+00:00", "2026-12-25T00:00:00+00:00")]
