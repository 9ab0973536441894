"""What is done from the page. Each act asks Airflow for the right that the same act needs there, takes only a form that
this page served to the same user, and leaves in the warehouse who did it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from highwater.backfill import options, requests
from highwater.page import backfills, dag_trigger, db, params, rendering
from highwater.page.access import Visitor, VisitorDep
from highwater.page.backfills import Choice, Order, Wish
from highwater.page.problems import Problem

router = APIRouter()

NoteForm = Annotated[str, Form()]
TokenForm = Annotated[str, Form(max_length=500)]
SureForm = Annotated[str, Form(max_length=10)]

WRITER = "operator"
"""The role that may change what is wanted; it writes by the warehouse's functions and checks alone."""


@router.get("/backfills/new")
def new_backfill(request: Request, visitor: VisitorDep, choice: Annotated[Choice, Query()]) -> Response:
    """The form of a backfill, filled in for the cells that were chosen, and the plan of what it says."""
    return _form(request, visitor, choice)


@router.post("/backfills")
def ask_for_backfill(request: Request, visitor: VisitorDep, order: Annotated[Order, Form()]) -> Response:
    """Add the backfill and start it."""
    visitor.require_own_form(request, order.token)
    with db.session() as cursor:
        of = params.dataset(params.datasets(cursor, visitor), order.dataset)
    visitor.require_run({of.dag_id, requests.DAG})
    try:
        with db.session(WRITER) as cursor:
            number = backfills.ask(cursor, order, visitor.name)
    except Problem as refusal:
        if refusal.status >= 500:
            raise
        return _form(request, visitor, order, refusal)
    dag_trigger.start(request, number)
    return _see(f"backfills/{number}")


@router.get("/backfills/{number}/cancel")
def ask_to_cancel(request: Request, visitor: VisitorDep, number: int) -> Response:
    """What cancelling a backfill does and does not undo, and the form that does it: there is no way back."""
    with db.session() as cursor:
        found = backfills.read(cursor, number, params.datasets(cursor, visitor))["backfill"]
    visitor.require_change({found.dag_id, requests.DAG})
    with db.session() as cursor:
        facts = {"backfill": found, "meant": requests.cancelling(cursor, number), "token": visitor.form_token()}
    return rendering.page(request, "backfill_cancel.html", facts)


@router.post("/backfills/{number}/{act}")
def change_backfill(  # noqa: PLR0917 - as the form gives them
    request: Request, visitor: VisitorDep, number: int, act: str, token: TokenForm = "", sure: SureForm = ""
) -> Response:
    """Pause, resume or cancel a backfill. Who has not said to be sure of cancelling is asked."""
    if act not in ("pause", "resume", "cancel"):
        raise Problem(404, f"a backfill can be paused, resumed or cancelled, not {act[:40]!r}")
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
    """Say that a person has seen an incident, and what is being done."""
    visitor.require_own_form(request, token)
    if not 0 < number < 2**63:
        raise Problem(404, f"there is no incident {number}")
    with db.session() as cursor:
        datasets = params.datasets(cursor, visitor)
        cursor.execute("SELECT datasets FROM ops.incidents WHERE incident_id = %s", (number,))
        about = cursor.fetchone()
    dag_of = {row.dataset: row.dag_id for row in datasets}
    if about is None or not dag_of.keys() & set(about[0]):
        raise Problem(404, f"there is no incident {number}")
    visitor.require_change({dag_of.get(dataset, dataset) for dataset in about[0]})
    with db.session(WRITER) as cursor:
        cursor.execute("SELECT ops.acknowledge_incident(%s, %s, %s)", (number, visitor.name, note))
    return _see("", "now")


def _form(request: Request, visitor: Visitor, wish: Wish, refusal: Problem | None = None) -> Response:
    facts: dict[str, Any] = {"said": None, "plan": [], "wish": wish, "refusal": refusal and refusal.sentence}
    facts["options"] = options
    with db.session() as cursor:
        known = params.datasets(cursor, visitor)
        runnable = visitor.runnable({row.dag_id for row in known} | {requests.DAG})
        facts["datasets"] = [row for row in known if row.dag_id in runnable and row.grid == "fixed"]
        if isinstance(wish, Choice) and wish.chosen:
            facts["wish"], facts["said"] = backfills.for_cells(wish, params.dataset(known, wish.dataset))
    if refusal is None and facts["wish"].since and facts["wish"].until:
        visitor.require_run({params.dataset(known, wish.dataset).dag_id, requests.DAG})
        try:
            with db.session() as cursor:
                facts["plan"] = backfills.plan(cursor, facts["wish"])
            facts["refusal"] = facts["plan"][0].refusal if facts["plan"] else None
        except Problem as problem:
            refusal = problem
            facts["refusal"] = problem.sentence
    facts["why"] = getattr(wish, "why", "")
    facts["token"] = visitor.form_token()
    return rendering.page(request, "backfill_new.html", facts, 200 if refusal is None else refusal.status)


def _see(path: str, part: str = "") -> Response:
    """After an act, the page that shows what came of it: loading that again does nothing twice."""
    return RedirectResponse(rendering.here(path) + (f"#{part}" if part else ""), status_code=303)
