"""Responses: the facts of a view as a page, as a part of one, or as JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from airflow.api_fastapi.app import API_ROOT_PATH, get_auth_manager
from fastapi import Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from highwater.page import formatting
from highwater.page.address import address

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"


def page(request: Request, template: str, facts: Mapping[str, Any], status: int = 200) -> Response:
    """The template rendered with these facts; every value is escaped."""
    text = _templates().get_template(template).render(facts, request=request)
    return HTMLResponse(text, status)


def as_json(facts: Mapping[str, Any], status: int = 200) -> Response:
    """The facts as JSON: moments in ISO 8601, spans of time in seconds."""
    return JSONResponse(_plain(facts), status)


def wants_json(request: Request) -> bool:
    """Whether the request expects JSON."""
    return request.url.path.endswith(".json")


def problem_response(request: Request, status: int, sentence: str) -> Response:
    """An error as a sentence; for a visitor who is not logged in, with a link to the login."""
    if wants_json(request):
        return JSONResponse({"error": sentence}, status)
    facts = {"status": status, "sentence": sentence, "login": None}
    if status == 401:
        facts["login"] = get_auth_manager().get_url_login(next_url=str(request.url))
    partly = request.headers.get("hx-request") == "true"
    return page(request, "problem_part.html" if partly else "problem.html", facts, status)


def up(*parts: str, **query: str) -> str:
    """An address in Airflow's UI, from the parts of its path."""
    path = "/".join(quote(part, safe="") for part in parts)
    return f"{API_ROOT_PATH or '/'}{path}{'?' + urlencode(query) if query else ''}"


def here(path: str = "", **query: Any) -> str:
    """An address in the page."""
    given = {name: value for name, value in query.items() if value is not None}
    return address(f"/{quote(path)}{'?' + urlencode(given, doseq=True) if given else ''}")


@cache
def static(name: str) -> str:
    """The address of a static file; it changes with its content, so that a browser can cache it."""
    return here(f"static/{name}", v=hashlib.blake2b((STATIC / name).read_bytes(), digest_size=6).hexdigest())


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"up": up, "here": here, "static": static, "formatting": formatting}
    environment.filters |= {
        "moment": formatting.moment,
        "span": formatting.span,
        "count": formatting.count,
        "window": formatting.window,
    }
    return environment


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    for kind, say in _SAY:
        if isinstance(value, kind):
            return say(value)
    return value


_SAY: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    ((datetime, date), lambda value: value.isoformat()),
    (timedelta, timedelta.total_seconds),
    (Decimal, float),
)
