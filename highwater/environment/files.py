"""Writing a file that others read meanwhile."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def replace(path: Path, text: str, mode: int = 0o644) -> None:
    """Put ``text`` into the file whole, so that a reader never sees half; does nothing when it is there already.

    Two processes that do it at once leave the whole text of one of them.
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
