#!/usr/bin/env python3
"""Finds the words of .plain-words: `plain_words.py [FILE ...]`, by default in every text file that git tracks.

Prints file:line, the words and what to say instead; exit 1 if there are any.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
LIST = ROOT / ".plain-words"
GAP = r"(?:_|\s+(?:(?:#|--|//|\*|>)\s+)?)"
"""Between two words of a phrase: part of a name, or a blank, or the next line of a comment."""


class Skip(NamedTuple):
    """Files that are left out: whole, or for these words only."""

    glob: str
    words: re.Pattern[str] | None

    def covers(self, file: str, words: str = "") -> bool:
        """Whether the file, or these words in it, are left out."""
        if not fnmatch(file, self.glob):
            return False
        return self.words is None or self.words.fullmatch(words) is not None


class Rule(NamedTuple):
    """What is not to be said, what is said instead, and an example of the first."""

    pattern: re.Pattern[str]
    instead: str
    example: str


def read_list(text: str) -> tuple[list[Rule], list[Skip]]:
    """The rules of a list, and what it leaves out.

    Raises:
        ValueError: a line is neither a rule, nor a file left out with its reason.
    """
    rules: list[Rule] = []
    skips: list[Skip] = []
    for number, line in enumerate(text.splitlines(), 1):
        parts = [part.strip() for part in line.split(" = ")]
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("skip ") and len(parts) == 2:
            glob, _, words = parts[0].removeprefix("skip ").partition(" ")
            skips.append(Skip(glob, re.compile(words, re.IGNORECASE) if words else None))
        elif len(parts) == 3 and all(parts):
            pattern = rf"(?<![^\W_])(?:{parts[0].replace(' ', GAP)})(?![^\W_])"
            rules.append(Rule(re.compile(pattern, re.IGNORECASE), parts[1], parts[2]))
        else:
            raise ValueError(f"invalid line {number} of {LIST.name}: {line!r}: expected 'pattern = instead = example'")
    return rules, skips


def find(text: str, rules: list[Rule]) -> Iterator[tuple[int, str, str]]:
    """The line, the words and what to say instead, of each place in a text, from its start to its end."""
    found = [(match.start(), match.group(), rule.instead) for rule in rules for match in rule.pattern.finditer(text)]
    for at, words, instead in sorted(found):
        yield text.count("\n", 0, at) + 1, " ".join(words.split()), instead


def main(files: list[str]) -> int:
    """Print what is found in these files of the checkout, or in all that git tracks; 1 if there is anything, else 0."""
    rules, skips = read_list(LIST.read_text(encoding="utf-8"))
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    count = 0
    for name in files or tracked.rstrip("\0").split("\0"):
        path = ROOT / name
        if any(skip.covers(name) for skip in skips) or not path.is_file():
            continue
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue  # an image
        for line, words, instead in find(text, rules):
            if any(skip.covers(name, words) for skip in skips):
                continue
            sys.stdout.write(f"{name}:{line}: {words!r}: say instead: {instead}\n")
            count += 1
    if count:
        sys.stdout.write(f"plain words: {count} to replace\n")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
