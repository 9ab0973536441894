"""What is looked at: each view as a page and, at the same path with ``.json``, for a program."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from highwater.page import asked, calendar, reading, rendering
from highwater.page.access import Visitor, VisitorDep
from highwater.page.asked import Stretch, StretchDep
from highwater.page.problems import Problem

router = APIRouter()


@router.get("/")
def home(
    request: Request,
    visitor: VisitorDep,
    stretch: StretchDep,
    dag_id: str | None = None,
) -> Response:
    """All at a glance."""
    facts = _calendar(visitor, dag_id, stretch)
    return rendering.page(request, "home.html", facts | {"dag_id": dag_id})


@router.get("/calendar.json")
def calendar_json(visitor: VisitorDep, stretch: StretchDep, dag_id: str | None = None) -> Response:
    """The cells of the calendar."""
    facts = _calendar(visitor, dag_id, stretch)
    return rendering.as_json(
        {
            "since": facts["stretch"].since,
            "until": facts["stretch"].until,
            "datasets": {row.of.dataset: row.cells for row in facts["rows"]},
        }
    )


@router.get("/static/{name}")
def static(name: str) -> Response:
    """A file of the page itself."""
    if name not in _STATIC:
        raise Problem(404, "there is no such file")
    return FileResponse(rendering.STATIC / name, headers={"Cache-Control": "private, max-age=604800"})


_STATIC = {path.name for path in rendering.STATIC.iterdir()}


def _calendar(visitor: Visitor, dag_id: str | None, stretch: Stretch) -> dict[str, Any]:
    with reading.session() as cursor:
        datasets = asked.datasets(cursor, visitor, dag_id)
        cells = calendar.read(cursor, datasets, stretch)
    return {"stretch": stretch, "rows": calendar.rows(datasets, cells, stretch)}
