"""Usage errors as one sentence, like every other error: the thing, the value, what was expected, the way out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

# Typer vendors its own Click, whose exceptions are the only ones it raises.
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
    """A usage error as one sentence that ends with the way out.

    Args:
        error: raised by the parser of the command line.
        root: the root command.
        typed: the arguments, without the program.

    Raises:
        ConfigurationError: the commands of the project cannot be read.
    """
    path, command = commands.PROGRAM, root
    for word in typed:
        below = command.get_command(None, word) if hasattr(command, "get_command") else None
        if below is None:
            break
        path, command = f"{path} {word}", below
    known = sorted(name for name in _subcommands(command) if not command.get_command(None, name).hidden)
    return f"{_problem(error, path, known)}; see {path} --help"


def _subcommands(command: Any) -> Sequence[str]:
    """The names of a group's commands, those of the project included; empty for a single command."""
    return list(command.list_commands(None)) if hasattr(command, "list_commands") else []


def _problem(error: ClickException, path: str, known: Sequence[str]) -> str:
    match error:
        case NoSuchOption():
            near = get_close_matches(error.option_name, error.possibilities or [], n=1)
            return f"unknown option {error.option_name} of {path}" + (f": did you mean {near[0]}?" if near else "")
        case BadOptionUsage():
            takes_none = "does not take" in error.message
            return f"invalid option {error.option_name}: expected {'no value' if takes_none else 'a value after it'}"
        case MissingParameter():
            return f"{_named(error)} is missing"
        case BadParameter():
            return f"invalid {_named(error)}{_value(error)}"
    return _unclassified(error.message.strip().rstrip("."), path, known)


def _unclassified(message: str, path: str, known: Sequence[str]) -> str:
    """The sentence for an error that Click has no class for."""
    if unknown := re.search(r"No such command '(.*?)'", message):
        near = get_close_matches(unknown[1], known, n=1)
        way = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
        return f"unknown command {unknown[1]!r} of {path}: {way}"
    if extra := re.search(r"unexpected extra arguments?(?:\(s\))? \((.*)\)", message):
        return f"unexpected argument {extra[1]!r} for {path}"
    if message == "Missing command":
        return f"{path} needs a command: expected one of {', '.join(known)}"
    return message[:1].lower() + message[1:]


def _named(error: BadParameter) -> str:
    """The option as typed, or the argument as the help calls it."""
    parameter = error.param
    if parameter is None:
        return "the value"
    if parameter.param_type_name == "option":
        return f"option {max(parameter.opts, key=len)}"
    return f"argument {(parameter.name or '').upper()}"


def _value(error: BadParameter) -> str:
    """The invalid value, if known, and what was expected of it."""
    if not isinstance(error.__cause__, ValidationError):
        return f": {error.message.strip().rstrip('.')}"
    problem = error.__cause__.errors()[0]
    return f" {expected.shown(problem['input'])}: {expected.expected(problem)}"
