"""docs/how-to/operations.md as a program reads it: its symptoms, and the commands of each, to look and to act."""

from __future__ import annotations

import re
import shlex
import textwrap
from dataclasses import dataclass, field

from highwater.environment import settings

PAGE = settings.ROOT / "docs/how-to/operations.md"
FENCE = re.compile(r"^( *)```(\w+)(?: ([\w /]+))?\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:scripts/highwater|SELECT|DELETE|UPDATE) [^`…]+)`")
ACT = "**Act**"


@dataclass(frozen=True)
class Command:
    """What a person would type: ``words`` of a shell, or ``text`` of SQL for a role; in which surroundings, if any."""

    text: str
    role: str | None = None
    where: str = ""
    acts: bool = False

    @property
    def words(self) -> list[str]:
        """The arguments of a line of a shell, without what is set for it."""
        return shlex.split(re.sub(r"^[A-Z_]+=(\$\(.*?\)|\S+) ", "", self.text))


@dataclass(frozen=True)
class Symptom:
    """A section of the page."""

    title: str
    text: str
    commands: list[Command] = field(default_factory=list)


def symptoms() -> list[Symptom]:
    """Every section with its commands, in the order of the page; what comes before the first one is one too."""
    parts = re.split(r"^## (.+)\n", PAGE.read_text(), flags=re.MULTILINE)
    pairs = [("before the first", parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]
    return [Symptom(title, text, _commands(text)) for title, text in pairs]


def _commands(text: str) -> list[Command]:
    """Those in fences and those in a line, in their order."""
    begins = text.find(ACT) if ACT in text else len(text)
    found: list[tuple[int, Command]] = []
    for match in FENCE.finditer(text):
        indent, language, about, body = match.groups()
        acts = match.start() > begins
        body = textwrap.dedent(body) if indent else body
        if language == "sql":
            role = (about or "as analyst").removeprefix("as ")
            statements = [s.strip() for s in re.split(r";\n|;$|(?<=\\gexec)\n", body) if s.strip()]
            found += [(match.start(), Command(statement, role, acts=acts)) for statement in statements]
        elif language == "sh":
            found += [(match.start(), Command(line, None, about or "", acts)) for line in body.splitlines()]
        else:
            raise ValueError(f"a fence of {language} is neither SQL nor shell: {body}")
    prose = FENCE.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)
    for match in INLINE.finditer(prose):
        line, acts = " ".join(match.group(1).split()), match.start() > begins
        behind = prose[match.end() : match.end() + 20]
        role = re.match(r" as `(\w+)`|\)? as `(\w+)`", behind)
        if line.startswith("scripts/highwater"):
            found.append((match.start(), Command(line, None, "", acts)))
        else:
            found.append((match.start(), Command(line, role.group(1) if role else "analyst", acts=acts)))
    return [command for _, command in sorted(found, key=lambda each: each[0])]
