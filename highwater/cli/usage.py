"""What is typed wrongly, said as every other mistake is: the thing, the value, what was expected, the way out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

# Typer keeps a copy of Click of its own, and shows nothing else of what went wrong.
from typer._click.exceptions import (
    BadOptionUsage,
    BadParameter,
    ClickException,
    MissingParameter,
    NoArgsIsHelpError,
    NoSuchOption,
)

from highwater.environment import commands
from highwater.model import expected

__all__ = ["ClickException", "NoArgsIsHelpError", "sentence"]


def sentence(error: ClickException, root: Any, typed: Sequence[str]) -> str:
    """What is wrong with the words that were typed, as one sentence that ends with the way out.

    Args:
        error: what the parser of the command line raised.
        root: the command that the words are given to.
        typed: the words, without the program.
    """
    path, command = commands.PROGRAM, root
    for word in typed:
        if word not in getattr(command, "commands", {}):
            break
        path, command = f"{path} {word}", command.commands[word]
    known = sorted(getattr(command, "commands", {}))
    return f"{_problem(error, path, known)}; {path} --help shows what there is"


def _problem(error: ClickException, path: str, known: Sequence[str]) -> str:
    match error:
        case NoSuchOption():
            near = get_close_matches(error.option_name, error.possibilities or [], n=1)
            return f"option {error.option_name} is not known to {path}" + (f", did you mean {near[0]}?" if near else "")
        case BadOptionUsage():
            has = "a value, expected none" if "does not take" in error.message else "no value, expected one behind it"
            return f"option {error.option_name} has {has}"
        case MissingParameter():
            return f"{_named(error)} is missing, expected a value"
        case BadParameter():
            return f"{_named(error)} {_value(error)}"
    return _of_words(error.message.strip().rstrip("."), path, known)


def _of_words(said: str, path: str, known: Sequence[str]) -> str:
    """What a mistake is that Click has no class for."""
    if unknown := re.search(r"No such command '(.*?)'", said):
        near = get_close_matches(unknown[1], known, n=1)
        way = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
        return f"command {unknown[1]!r} is not known to {path}, {way}"
    if extra := re.search(r"unexpected extra arguments?(?:\(s\))? \((.*)\)", said):
        return f"argument {extra[1]!r} is one too many for {path}"
    if said == "Missing command":
        return f"{path} has no command behind it, expected one of {', '.join(known)}"
    return said[:1].lower() + said[1:]


def _named(error: BadParameter) -> str:
    """The option as it is typed, or the argument as the help calls it."""
    parameter = error.param
    if parameter is None:
        return "the value"
    if parameter.param_type_name == "option":
        return f"option {max(parameter.opts, key=len)}"
    return f"argument {(parameter.name or '').upper()}"


def _value(error: BadParameter) -> str:
    """The value that is refused, and what was expected of it."""
    if not isinstance(error.__cause__, ValidationError):
        return f"is refused: {error.message.strip().rstrip('.')}"
    problem = error.__cause__.errors()[0]
    return f"{expected.shown(problem['input'])} is refused: {expected.expected(problem)}"
