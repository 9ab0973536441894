"""The views: each as a page, and as JSON at the same path with ``.json``."""

from __future__ import annotations

import hashlib
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from psycopg2.extensions import cursor as Cursor

from highwater.backfill import requests
from highwater.model import clock
from highwater.page import backfills, calendar, db, now, params, rendering, window
from highwater.page.access import Visitor, VisitorDep
from highwater.page.params import DayRange, DayRangeDep
from highwater.page.problems import Problem
from highwater.store import warehouse

router = APIRouter()


@router.get("/")
def home(request: Request, visitor: VisitorDep, day_range: DayRangeDep, dag_id: str | None = None) -> Response:
    """The calendar and the current state."""
    with db.session() as cursor:
        datasets = params.datasets(cursor, visitor, dag_id)
        facts = _calendar(cursor, datasets, day_range) | _now(cursor, datasets, visitor)
    return rendering.page(request, "home.html", facts | {"dag_id": dag_id})


@router.get("/calendar")
def calendar_part(
    request: Request, visitor: VisitorDep, day_range: DayRangeDep, dag_id: str | None = None, seen: str = ""
) -> Response:
    """An update of the calendar; 204 if nothing has changed since the mark ``seen``."""
    with db.session() as cursor:
        datasets = params.datasets(cursor, visitor, dag_id)
        facts = _calendar(cursor, datasets, day_range)
    if facts["mark"] == seen:
        return Response(status_code=204)
    return rendering.page(request, "calendar.html", facts | {"dag_id": dag_id})


@router.get("/calendar.json")
def calendar_json(visitor: VisitorDep, day_range: DayRangeDep, dag_id: str | None = None) -> Response:
    """The cells of the calendar, and the number of due windows of each dataset by state."""
    with db.session() as cursor:
        facts = _calendar(cursor, params.datasets(cursor, visitor, dag_id), day_range)
    cells = {row.of.dataset: row.cells for row in facts["rows"]}
    counts = {row.of.dataset: row.counts for row in facts["rows"]}
    return rendering.as_json({"since": day_range.since, "until": day_range.until, "datasets": cells, "counts": counts})


@router.get("/now")
def now_part(request: Request, visitor: VisitorDep, dag_id: str | None = None) -> Response:
    """An update of the current state."""
    with db.session() as cursor:
        facts = _now(cursor, params.datasets(cursor, visitor, dag_id), visitor)
    return rendering.page(request, "now.html", facts | {"dag_id": dag_id})


@router.get("/now.json")
def now_json(visitor: VisitorDep, dag_id: str | None = None) -> Response:
    """The current state."""
    with db.session() as cursor:
        facts = now.read(cursor, params.datasets(cursor, visitor, dag_id))
    return rendering.as_json({"at": clock.now(), **facts})


@router.get("/days/{name}/{day}.json")
def day_json(visitor: VisitorDep, name: str, day: str) -> Response:
    """The windows that begin on one day."""
    facts = _day(visitor, name, day)
    return rendering.as_json({"dataset": facts["of"].dataset, "day": facts["day"].date(), "windows": facts["cells"]})


@router.get("/days/{name}/{day}")
def day(request: Request, visitor: VisitorDep, name: str, day: str) -> Response:
    """The windows that begin on one day."""
    return rendering.page(request, _partly(request, "day"), _day(visitor, name, day))


@router.get("/windows/{name}/{start}.json")
def window_json(visitor: VisitorDep, name: str, start: str) -> Response:
    """All facts of one window."""
    facts = _window(visitor, name, start)
    parts = ("window", "versions", "validations", "quarantine", "attempts", "links")
    return rendering.as_json({part: facts[part] for part in parts})


@router.get("/windows/{name}/{start}")
def window_page(request: Request, visitor: VisitorDep, name: str, start: str) -> Response:
    """All facts of one window."""
    return rendering.page(request, _partly(request, "window"), _window(visitor, name, start))


@router.get("/backfills/{number}.json")
def backfill_json(visitor: VisitorDep, number: int) -> Response:
    """The progress of a backfill, and its first windows."""
    with db.session() as cursor:
        facts = backfills.read(cursor, number, params.datasets(cursor, visitor))
    return rendering.as_json(facts)


@router.get("/backfills/{number}")
def backfill_page(request: Request, visitor: VisitorDep, number: int) -> Response:
    """The progress of a backfill, the result of each window, and the actions on it."""
    with db.session() as cursor:
        facts = backfills.read(cursor, number, params.datasets(cursor, visitor))
    dags = {facts["backfill"].dag_id, requests.DAG}
    facts |= {"may_change": visitor.changeable(dags) == dags, "token": visitor.form_token(), "dag": requests.DAG}
    return rendering.page(request, _partly(request, "backfill"), facts)


@router.get("/static/{name}")
def static(name: str) -> Response:
    """A static file of the page."""
    if name not in _STATIC:
        raise Problem(404, "file not found")
    return FileResponse(rendering.STATIC / name, headers={"Cache-Control": "private, max-age=604800"})


_STATIC = {path.name for path in rendering.STATIC.iterdir()}


def _partly(request: Request, name: str) -> str:
    """The template of the whole page, or of the part that htmx requests."""
    return f"{name}_part.html" if request.headers.get("hx-request") == "true" else f"{name}.html"


def _calendar(cursor: Cursor, datasets: list[Any], day_range: DayRange) -> dict[str, Any]:
    cells, totals = calendar.read(cursor, datasets, day_range), calendar.totals(cursor, datasets)
    cursor.execute(
        "SELECT count(*) FROM ops.incidents INNER JOIN control.incident_kinds USING (kind)"
        " WHERE closed_at IS NULL AND is_trouble AND datasets && %s::text[]",
        ([row.dataset for row in datasets],),
    )
    incidents = warehouse.fetch_value(cursor)
    return {
        "day_range": day_range,
        "rows": calendar.rows(datasets, cells, totals, day_range),
        "incidents_open": incidents,
        "mark": hashlib.blake2b(repr((cells, totals, incidents)).encode(), digest_size=8).hexdigest(),
    }


def _now(cursor: Cursor, datasets: list[Any], visitor: Visitor) -> dict[str, Any]:
    facts: dict[str, Any] = now.read(cursor, datasets)
    return facts | {
        "at": clock.now(),
        "acknowledgeable": now.acknowledgeable(facts["incidents"], datasets, visitor),
        "runnable": visitor.runnable({row.dag_id for row in datasets}),
        "token": visitor.form_token(),
    }


def _day(visitor: Visitor, name: str, text: str) -> dict[str, Any]:
    begins = params.day(text)
    with db.session() as cursor:
        of = params.dataset(params.datasets(cursor, visitor), name)
        whole_day = DayRange(begins, begins + calendar.DAY, folded=False)
        cells = calendar.read(cursor, [of], whole_day).get(name, [])
    return {"of": of, "day": begins, "cells": cells}


def _window(visitor: Visitor, name: str, key: str) -> dict[str, Any]:
    with db.session() as cursor:
        of = params.dataset(params.datasets(cursor, visitor), name)
        start = params.window_start(of, key)
        may_see_rows = bool(visitor.runnable({of.dag_id}))
        facts = window.read(cursor, of, start, may_see_rows=may_see_rows)
    found = facts["window"]
    return facts | {"links": window.links(found.dag_id, found.run_id, facts["attempts"])}
