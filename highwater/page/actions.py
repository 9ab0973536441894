"""The actions of the page. Each requires the permission that the same action needs in Airflow, accepts only a form that
this page served to the same user, and records the user in the warehouse."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from highwater.backfill import options, requests
from highwater.page import backfills, dag_trigger, db, params, rendering
from highwater.page.access import Visitor, VisitorDep
from highwater.page.backfills import BackfillForm, Choice, Order
from highwater.page.problems import Problem
from highwater.store import warehouse

router = APIRouter()

NoteForm = Annotated[str, Form()]
TokenForm = Annotated[str, Form(max_length=500)]
SureForm = Annotated[str, Form(max_length=10)]

WRITER = "operator"
"""The role that may change policies; it writes only through the warehouse's functions and checks."""


@router.get("/backfills/new")
def new_backfill(request: Request, visitor: VisitorDep, choice: Annotated[Choice, Query()]) -> Response:
    """The form of a backfill, filled in for the chosen cells, with its plan."""
    return _form(request, visitor, choice)


@router.post("/backfills")
def request_backfill(request: Request, visitor: VisitorDep, order: Annotated[Order, Form()]) -> Response:
    """Request the backfill and start it."""
    visitor.require_own_form(request, order.token)
    with db.session() as cursor:
        of = params.dataset(params.datasets(cursor, visitor), order.dataset)
    visitor.require_run({of.dag_id, requests.DAG})
    try:
        with db.session(WRITER) as cursor:
            number = backfills.request(cursor, order, visitor.name)
    except Problem as refusal:
        if refusal.status >= 500:
            raise
        return _form(request, visitor, order, refusal)
    dag_trigger.start(request, number)
    return _see(f"backfills/{number}")


@router.get("/backfills/{number}/cancel")
def confirm_cancel(request: Request, visitor: VisitorDep, number: int) -> Response:
    """The page that explains what cancelling does, with the form that confirms it: a cancel cannot be undone."""
    with db.session() as cursor:
        found = backfills.read(cursor, number, params.datasets(cursor, visitor))["backfill"]
    visitor.require_change({found.dag_id, requests.DAG})
    with db.session() as cursor:
        facts = {"backfill": found, "effect": requests.cancelling(cursor, number), "token": visitor.form_token()}
    return rendering.page(request, "backfill_cancel.html", facts)


@router.post("/backfills/{number}/{act}")
def change_backfill(  # noqa: PLR0917 - the fields of the form
    request: Request, visitor: VisitorDep, number: int, act: str, token: TokenForm = "", sure: SureForm = ""
) -> Response:
    """Pause, resume or cancel a backfill; an unconfirmed cancel redirects to the confirmation."""
    if act not in ("pause", "resume", "cancel"):
        raise Problem(404, f"unknown action {act[:40]!r}: expected pause, resume or cancel")
    visitor.require_own_form(request, token)
    with db.session() as cursor:
        found = backfills.read(cursor, number, params.datasets(cursor, visitor))["backfill"]
    visitor.require_change({found.dag_id, requests.DAG})
    if act == "cancel" and sure != "yes":
        return _see(f"backfills/{number}/cancel")
    with db.session(WRITER) as cursor:
        requests.change(cursor, act, number, visitor.name)
    if act == "resume":
        dag_trigger.start(request, number)
    return _see(f"backfills/{number}")


@router.post("/incidents/{number}/acknowledge")
def acknowledge(
    request: Request, visitor: VisitorDep, number: int, note: NoteForm = "", token: TokenForm = ""
) -> Response:
    """Acknowledge an incident, with a note on what is being done."""
    visitor.require_own_form(request, token)
    if not 0 < number < 2**63:
        raise Problem(404, f"unknown incident {number}")
    with db.session() as cursor:
        datasets = params.datasets(cursor, visitor)
        cursor.execute("SELECT datasets FROM ops.incidents WHERE incident_id = %s", (number,))
        incident = warehouse.fetch(cursor)
    dag_of = {row.dataset: row.dag_id for row in datasets}
    if incident is None or not dag_of.keys() & set(incident.datasets):
        raise Problem(404, f"unknown incident {number}")
    visitor.require_change({dag_of.get(dataset, dataset) for dataset in incident.datasets})
    with db.session(WRITER) as cursor:
        cursor.execute("SELECT ops.acknowledge_incident(%s, %s, %s)", (number, visitor.name, note))
    return _see("", "now")


def _form(request: Request, visitor: Visitor, form: BackfillForm, refusal: Problem | None = None) -> Response:
    facts: dict[str, Any] = {"notice": None, "plan": [], "form": form, "refusal": refusal and refusal.sentence}
    facts["options"] = options
    with db.session() as cursor:
        known = params.datasets(cursor, visitor)
        runnable = visitor.runnable({row.dag_id for row in known} | {requests.DAG})
        facts["datasets"] = [row for row in known if row.dag_id in runnable and row.grid == "fixed"]
        if isinstance(form, Choice) and form.chosen:
            facts["form"], facts["notice"] = backfills.for_cells(form, params.dataset(known, form.dataset))
    if refusal is None and facts["form"].since and facts["form"].until:
        visitor.require_run({params.dataset(known, form.dataset).dag_id, requests.DAG})
        try:
            with db.session() as cursor:
                facts["plan"] = backfills.plan(cursor, facts["form"])
            facts["refusal"] = facts["plan"][0].refusal if facts["plan"] else None
        except Problem as problem:
            refusal = problem
            facts["refusal"] = problem.sentence
    facts["why"] = getattr(form, "why", "")
    facts["token"] = visitor.form_token()
    return rendering.page(request, "backfill_new.html", facts, 200 if refusal is None else refusal.status)


def _see(path: str, part: str = "") -> Response:
    """Redirect after an action to the page that shows its result, so that a reload does not repeat it."""
    return RedirectResponse(rendering.here(path) + (f"#{part}" if part else ""), status_code=303)
