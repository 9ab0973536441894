"""The files that a breaker's fingerprint covers: read once in a process, and again when they changed."""

from __future__ import annotations

import os
from pathlib import Path

from highwater.store import breakers


def test_a_file_is_read_again_only_when_its_time_or_size_changed(tmp_path: Path) -> None:
    path = tmp_path / "clean.sql"
    path.write_text("SELECT 1")
    first, status = breakers._file(path), path.stat()

    path.write_text("SELECT 2")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert breakers._file(path) == first, "neither its time nor its size changed: it is not read"

    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    second = breakers._file(path)
    assert second != first
    path.write_text("SELECT 22")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert breakers._file(path) not in (first, second)


def test_a_file_that_was_deleted_is_a_state_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "clean.sql"
    path.write_text("SELECT 1")
    there = breakers._file(path)
    path.unlink()
    assert breakers._file(path) != there
