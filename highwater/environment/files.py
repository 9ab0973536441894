"""Atomic writes of files that others read at the same time."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def replace(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace the content of a file atomically; does nothing if it is the same already.

    Of two processes that do it at once, one wins.
    """
    with suppress(OSError, UnicodeDecodeError):
        if path.read_text() == text:
            return
    draft = path.with_name(f".{path.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.chmod(mode)
    draft.replace(path)
