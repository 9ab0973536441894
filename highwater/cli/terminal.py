"""The console that commands print to."""

from __future__ import annotations

from typing import Any

from rich.console import Console


def console(**more: Any) -> Console:
    """A console that never interprets text as markup, so that text from people and programs is printed unchanged."""
    return Console(markup=False, emoji=False, **more)
