"""The text of SQL statements: parameters, where a statement ends, line numbers. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from difflib import get_close_matches

from highwater.model.errors import ConfigurationError

_SPAN = re.compile(
    r"""(?P<comment> --[^\n]* )
    | (?P<block> /\* )
    | (?P<string> (?<![\w$])[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
        | (?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$ .*? \$(?P=tag)\$ )
    | (?P<end> ; )""",
    re.VERBOSE | re.DOTALL,
)
_PERCENT = re.compile(r"%%|%\((?P<name>[^()]*)\)s|%")


def with_parameters(text: str, known: Collection[str], file: str) -> str:
    """The text in the driver's format: ``%(name)s`` is a parameter, any other ``%`` is a plain ``%``, as is ``%%``.

    Comments have no parameters.

    Args:
        text: the content of the file.
        known: the names of the parameters.
        file: its name, for errors.

    Raises:
        ConfigurationError: it names an unknown parameter; says where, and which are known.
    """
    comments = [(start, end) for kind, start, end in _spans(text) if kind == "comment"]

    def one(found: re.Match[str]) -> str:
        name = found["name"]
        if any(start <= found.start() < end for start, end in comments):
            return found[0].replace("%", "%%")
        if name is None:
            return "%%"
        if name not in known:
            near = get_close_matches(name, known, n=1)
            there = f"did you mean {near[0]}? " if near else ""
            there += f"expected one of {', '.join(sorted(known))}" if known else "this file has no parameters"
            raise ConfigurationError(
                f"{file}, line {line_of(text, found.start())}: unknown parameter %({name})s: {there}"
            )
        return found[0]

    return _PERCENT.sub(one, text)


def one_statement(text: str, file: str) -> str:
    """The one statement in the text, without the semicolon and the comments after it.

    Line breaks are kept, so that line numbers in errors are those of the file.

    Raises:
        ConfigurationError: there is no statement, or more than one.
    """
    bare = list(text)
    ends = [len(text)]
    for kind, start, end in _spans(text):
        if kind == "end":
            ends.insert(-1, start)
        else:
            bare[start:end] = (" " if kind == "comment" else "x") * (end - start)
    statements, begin = [], 0
    for end in ends:
        words = "".join(bare[begin:end])
        if words.strip():
            statements.append((end - len(words.lstrip()), begin + len(words.rstrip())))
        begin = end + 1
    if not statements:
        raise ConfigurationError(f"{file} has no statement: expected one")
    if len(statements) > 1:
        raise ConfigurationError(
            f"{file}, line {line_of(text, statements[1][0])}: a second statement begins: expected one in the file"
        )
    return text[: statements[0][1]]


def statements(text: str) -> list[tuple[int, str]]:
    """The statements in the text: where each begins, after the comments before it, and its text.

    A function body of statements (``BEGIN ATOMIC … END``) is part of the statement that creates the function.
    """
    bare = list(text)
    ends = []
    for kind, start, end in _spans(text):
        if kind == "end":
            ends.append(start)
        else:
            bare[start:end] = [character if character == "\n" else " " for character in text[start:end]]
            if kind == "string":
                bare[start] = "x"
    ends.append(len(text))
    found, begin = [], 0
    for end in ends:
        words = "".join(bare[begin:end])
        if len(_BODY.findall(words)) > len(_BODY_ENDS.findall(words)):
            continue
        if words.strip():
            start = begin + len(words) - len(words.lstrip())
            found.append((start, text[start:end]))
        begin = end + 1
    return found


_BODY = re.compile(r"\bBEGIN\s+ATOMIC\b|(?<=\s)CASE\b", re.IGNORECASE)
_BODY_ENDS = re.compile(r"\bEND\b", re.IGNORECASE)


def line_of(text: str, position: int) -> int:
    """The line of a position in the text, counted from 1."""
    return text.count("\n", 0, position) + 1


def _spans(text: str) -> Iterator[tuple[str, int, int]]:
    """Comments, quoted parts and semicolons that end a statement: kind (comment, string, end), start and end."""
    position = 0
    while found := _SPAN.search(text, position):
        if found["block"] is None:
            kind = "comment" if found["comment"] is not None else "end" if found["end"] else "string"
            position = found.end()
        else:
            kind, position = "comment", _end_of_block(text, found.end())
        yield kind, found.start(), position


def _end_of_block(text: str, position: int) -> int:
    """The end of a block comment that begins before the position; block comments nest."""
    depth = 1
    for found in re.compile(r"/\*|\*/").finditer(text, position):
        depth += 1 if found[0] == "/*" else -1
        if depth == 0:
            return found.end()
    return len(text)
