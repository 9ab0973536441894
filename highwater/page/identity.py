"""The route on which this platform proves its identity to its own command line: the only one without a login."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse

from highwater.environment import identity
from highwater.page.app import Guard


def make_app() -> FastAPI:
    """The app, to be mounted by Airflow's API server."""
    app = FastAPI(title="Highwater identity", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route("/proof", _prove, methods=["GET"])
    app.add_middleware(Guard)
    return app


def _prove(request: Request, nonce: Annotated[str, Query(pattern=identity.NONCE)]) -> JSONResponse:
    """Prove that this platform knows the secret; the answer reveals nothing to others."""
    port = int(request.scope["server"][1])
    return JSONResponse({"port": port, "proof": identity.proof(nonce, port)})
