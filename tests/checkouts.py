"""A copy of this checkout whose files a test changes: the code of a next version, or a user's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from highwater.environment import settings

FOLDERS = ("config", "dags", "docker", "expectations", "highwater", "scripts", "simulation", "sql")


class Checkout:
    """The copy; its commands speak to the platform that the environment names."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in FOLDERS:
            shutil.copytree(settings.ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))

    def write(self, name: str, text: str) -> None:
        """A file of the copy."""
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def change(self, name: str, old: str, new: str) -> None:
        """Put other words in the place of some in a file."""
        text = (self.root / name).read_text()
        assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
        self.write(name, text.replace(old, new))

    def add_version(self, version: str, after: str, **files: str) -> None:
        """A migration that runs these files, each by its name without .sql."""
        for name, text in files.items():
            self.write(f"highwater/sql/migrations/{version}/{name}.sql", text)
        self.write(
            f"highwater/setup/migrations/versions/v{version.replace('.', '_')}.py",
            "from highwater.setup.migrations import tables\n\n"
            f"revision = {version!r}\ndown_revision = {after!r}\n\n\n"
            "def upgrade() -> None:\n    tables.run_files_of(revision)\n",
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command of Highwater, begun."""
        return subprocess.Popen(
            [sys.executable, "-m", "highwater.cli.main", *arguments],
            cwd=self.root,
            env=os.environ | {"PYTHONPATH": str(self.root)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of Highwater, done; whatever it comes to."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)
