"""YAML and JSON files that people write: what a parser would silently accept is refused, with file and line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any

import yaml

from highwater.model.errors import ConfigurationError

LARGEST = 256 * 1024
"""Largest size in bytes of a file that a person writes."""
DEEPEST = 30
"""Most levels of nested lists and mappings."""

_KINDS: dict[re.Pattern[str], Callable[[str], Any]] = {
    re.compile(r"~|null|Null|NULL|"): lambda _: None,
    re.compile(r"true|false"): lambda text: text == "true",
    re.compile(r"-?(?:0|[1-9][0-9]{0,18})"): int,
    re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+"): float,
    re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}"): date.fromisoformat,
}
"""Unquoted values that are more than text: their form, and how to read them."""
_LIKE_BOOL = re.compile(r"(?i:yes|no|on|off|y|n)|True|TRUE|False|FALSE")


@dataclass(frozen=True)
class Document:
    """The content of a file, and the line in which each part begins, by its path: ``("policies", "orders")``."""

    content: Any
    lines: dict[tuple[str | int, ...], int]

    def line(self, path: tuple[str | int, ...]) -> int:
        """The line of a part, or of the nearest part around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_yaml(path: Path) -> Document:
    """The one document of a YAML file: mappings with text for keys, lists, and plain values.

    One form of each value is accepted: ``true`` and ``false``, numbers, ``2026-12-25``, ``null``; the rest is text.

    Raises:
        ConfigurationError: it cannot be read, is not YAML, names a key twice, or uses what is not accepted (anchors,
            aliases, tags, ``yes`` for ``true``): names the file and the line.
    """
    text = _text(path)
    try:
        loader = yaml.SafeLoader(text)
        try:
            _refuse_references(path, text)
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        number = mark.line if mark else 0
        raise ConfigurationError(f"{path}: line {number + 1} is not YAML: {_of_yaml(text, number, error)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigurationError(
            f"{path}: line {line} is not YAML: it has the character {chr(int(error.character))!r}, which is not allowed"
        ) from None
    lines: dict[tuple[str | int, ...], int] = {}
    return Document(None if node is None else _build(path, node, (), lines), lines)


def read_json(path: Path, *, name: str = "", largest: int = LARGEST) -> Any:
    """The value of a JSON file (RFC 8259) of at most ``largest`` bytes; errors call the file ``name``.

    Raises:
        ConfigurationError: it cannot be read, is not JSON (``NaN`` and ``Infinity`` are refused), or an object names a
            key twice: names the file and the line.
    """
    shown = name or str(path)
    text = _text(path, largest)
    try:
        try:
            return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite)
        except _Twice:
            return _NamingLines(shown).decode(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"{shown}: line {error.lineno}, column {error.colno} is not JSON: {of_json(error)}"
        ) from None
    except RecursionError:
        raise ConfigurationError(f"{shown} is refused: it is nested too deeply to be read") from None
    except _NoNumber as error:
        raise ConfigurationError(f"{shown} is not JSON: {error} is not a number in JSON") from None


_YAML = {
    "mapping values are not allowed": "expected `name: value`, indented as its neighbours; text with a colon in quotes",
    "could not find expected ':'": "expected a name, a colon and a space, then the value",
    "but found '-'": "found an item of a list, expected a name: indent it",
    "expected <block end>": "its indentation does not match the lines before",
    "cannot start any token": "text that begins with this character must be quoted",
    "while scanning a quoted": "a quote is not closed",
    "unexpected end of stream": "a quote is not closed",
    "expected the node content": "a value is missing",
    "expected ',' or": "a bracket is not closed",
    "expected a single document": "expected one document: remove the line ---",
    "expected <document start>": "expected one document that begins at the margin",
}
"""Messages of the YAML parser, and what to do."""

_JSON = {
    "Expecting value": "expected a value",
    "Expecting property name": "expected a name in double quotes",
    "Expecting ':'": "expected a colon after the name",
    "Expecting ','": "expected a comma or the closing bracket",
    "Extra data": "found text after the end",
    "Unterminated string": "a quote is not closed",
    "Illegal trailing comma": "found a comma before the closing bracket",
    "Invalid control character": "found a line break or control character in a text: write \\n for it",
    "Invalid \\": "a backslash in a text must be doubled",
}


def _of_yaml(text: str, line: int, error: yaml.MarkedYAMLError) -> str:
    """The line, and what was expected in it."""
    said = " ".join(filter(None, (error.problem, error.context)))
    given = [*text.splitlines(), ""][line]
    if given.startswith("\t"):
        return "it is indented by a tab: expected spaces"
    words = next((plain for part, plain in _YAML.items() if part in said), "expected `name: value` or `- item`")
    return f"{given.strip()[:60]!r}: {words}"


def of_json(error: json.JSONDecodeError) -> str:
    """What was expected where parsing failed."""
    return next((plain for part, plain in _JSON.items() if error.msg.startswith(part)), error.msg)


def _text(path: Path, largest: int = LARGEST) -> str:
    try:
        size = path.stat().st_size
        if size > largest:
            raise ConfigurationError(f"{path} is refused: it has {size:,} bytes, and at most {largest:,} are read")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is refused: byte {error.start + 1} is not UTF-8") from None


def _refuse_references(path: Path, text: str) -> None:
    """Refuse references, tags and deep nesting before anything is built."""
    depth = 0
    event: Any
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        where = f"{path}: line {event.start_mark.line + 1}"
        anchor = getattr(event, "anchor", None)
        if anchor:
            sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
            raise ConfigurationError(
                f"{where}: {sign}{anchor} is refused, anchors and aliases are not supported: write it out"
            )
        if getattr(event, "tag", None):
            raise ConfigurationError(f"{where}: the tag {event.tag} is refused: write the value without it")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ConfigurationError(f"{where}: more than {DEEPEST} nested levels are refused")


def _build(path: Path, node: yaml.Node, way: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int]) -> Any:
    lines.setdefault(way, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        made: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode) or not isinstance(_scalar(path, key_node, is_key=True), str):
                raise ConfigurationError(f"{path}: line {line}: a key must be a name, but is {_shown(key_node)}")
            if key in made:
                before = lines[(*way, key)]
                raise ConfigurationError(f"{path}: line {line}: {key!r} is already in line {before}: keep one")
            lines[(*way, key)] = line
            made[key] = _build(path, value_node, (*way, key), lines)
        return made
    if isinstance(node, yaml.SequenceNode):
        return [_build(path, part, (*way, place), lines) for place, part in enumerate(node.value)]
    return _scalar(path, node)


def _scalar(path: Path, node: yaml.Node, *, is_key: bool = False) -> Any:
    text: str = node.value
    if node.style is not None or (is_key and _LIKE_BOOL.fullmatch(text)):  # type: ignore[attr-defined]
        return text
    where = f"{path}: line {node.start_mark.line + 1}"
    if _LIKE_BOOL.fullmatch(text):
        raise ConfigurationError(
            f'{where}: {text} is refused as ambiguous: write true or false, or "{text}" for the word'
        )
    for kind, make in _KINDS.items():
        if kind.fullmatch(text):
            try:
                return make(text)
            except ValueError:
                raise ConfigurationError(f"{where}: invalid date {text}: expected one such as 2026-10-24") from None
    return text


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return repr(node.value)
    return "a mapping" if isinstance(node, yaml.MappingNode) else "a list"


class _Twice(Exception):
    """An object names a key twice."""


class _NoNumber(Exception):
    """A number that Python accepts and JSON does not."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise _Twice(next(key for place, (key, _) in enumerate(pairs) if key in dict(pairs[:place])))
    return made


def _no_number(name: str) -> Any:
    raise _NoNumber(name)


def _finite(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise _NoNumber(digits)
    return number


class _NamingLines(json.JSONDecoder):
    """Much slower, but knows the line in which an object begins."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.parse_object = self._object
        self.scan_once = py_make_scanner(self)

    def _object(
        self, s_and_end: tuple[str, int], strict: bool, scan_once: Any, hook: Any, _pairs_hook: Any, memo: Any = None
    ) -> Any:
        try:
            return json.decoder.JSONObject(s_and_end, strict, scan_once, hook, _once, memo)  # type: ignore[attr-defined]
        except _Twice as twice:
            text, end = s_and_end
            raise ConfigurationError(
                f"{self._name}: the object that begins in line {text.count(chr(10), 0, end) + 1} names"
                f" {str(twice)!r} twice: keep one"
            ) from None
