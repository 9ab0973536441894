"""What the commands print to."""

from __future__ import annotations

from typing import Any

from rich.console import Console


def console(**more: Any) -> Console:
    """A console to which no text is markup, nor in a table: what people and other programs wrote stands as it is."""
    return Console(markup=False, emoji=False, **more)
