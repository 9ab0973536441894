"""The page as an app that Airflow mounts: every route needs Airflow's login, and nothing is loaded from other hosts."""

from __future__ import annotations

import logging
from typing import Any

from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from highwater.model import expected
from highwater.page import actions, views
from highwater.page.problems import Problem
from highwater.page.rendering import problem_response

log = logging.getLogger(__name__)

LARGEST_FORM = 64 * 1024
"""Maximum size of a request body in bytes."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every response, including errors."""


def make_app() -> FastAPI:
    """The app, to be mounted by Airflow's API server."""
    # The API documentation would need no login, so it is off.
    app = FastAPI(title="Highwater", dependencies=[Depends(get_user)], docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(actions.router)
    app.include_router(views.router)
    app.add_api_route("/{path:path}", _nowhere, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
    app.add_middleware(Guard)

    @app.exception_handler(Problem)
    def _problem(request: Request, problem: Problem) -> Response:
        return problem_response(request, problem.status, problem.sentence)

    @app.exception_handler(HTTPException)
    def _refused(request: Request, error: HTTPException) -> Response:
        return problem_response(request, error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> Response:
        return problem_response(request, 400, "; ".join(_sentence(problem) for problem in error.errors()[:5]))

    return app


def _sentence(problem: Any) -> str:
    name = str(problem["loc"][-1])
    if problem["type"] == "missing":
        return f"{name} is missing"
    return f"invalid {name} {expected.shown(problem['input'])}: {expected.expected(problem)}"


def _nowhere(path: str) -> None:
    raise Problem(404, "page not found")


class Guard:
    """Adds the headers to every response, refuses large requests, and never exposes a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        try:
            if int(request.headers.get("content-length") or 0) > LARGEST_FORM or (
                "transfer-encoding" in request.headers
            ):
                answer = problem_response(
                    request, 413, f"the request is too large: expected at most {LARGEST_FORM} bytes"
                )
                await answer(scope, receive, guarded)
            else:
                await self.app(scope, receive, guarded)
        except Exception:
            log.exception("the page failed at %s", scope["path"])
            if begun:
                raise
            answer = problem_response(request, 500, "internal error: see the log of Airflow's API server")
            await answer(scope, receive, guarded)
