"""The form of the DAG selective_backfill, and what a person filled in as a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Param

from highwater.backfill import requests
from highwater.backfill.requests import Request
from highwater.model import moments, weekdays

LEFT_OUT, HOW, PROGRAMS = "What to leave out", "How", "For programs"
DATASETS = (
    "daily_sales",
    "payments",
    "page_views",
    "store_sales",
    "partner_sales",
    "supplier_settlements",
    "channel_sales",
)
"""Those that come with Highwater, as proposals: the form takes the name of any other too."""


def params() -> dict[str, Param]:
    """The fields of the form, in their order."""
    return {
        "dataset": Param(
            type="string",
            title="Dataset",
            description=f"Whose windows to load: {', '.join(DATASETS)}, or one of your own. "
            "Not orders, which are loaded by their changes.",
            examples=list(DATASETS),
        ),
        "first_day": Param(
            type="string",
            format="date",
            title="First day",
            description="The first day to load (UTC), not before the dataset begins.",
        ),
        "last_day": Param(
            type="string",
            format="date",
            title="Last day",
            description="The last day to load: this day is included. It must be over.",
        ),
        "which": Param(
            "missing",
            type="string",
            enum=list(requests.WHICH),
            values_display={
                "missing": "Missing: what has not landed",
                "failed": "Failed: of that, only what was tried and failed",
                "all": "All: what has landed is loaded again too",
            },
            title="Which windows",
            description="A reload leaves the former rows readable until the new ones are in place.",
        ),
        "reason": Param(
            type="string",
            # Never more than control.words asks: a backfill of the command line comes through this form too.
            minLength=1,
            title="Reason",
            description="Why, for those who read it later. Kept with your name.",
        ),
        "weekdays": Param(
            list(weekdays.NAMES),
            type="array",
            examples=list(weekdays.NAMES),
            title="Weekdays",
            description="Only these days of the week; take out those you do not want.",
            section=LEFT_OUT,
        ),
        "excluded_dates": Param(
            None,
            type=["null", "array"],
            items={"type": "string", "pattern": r"^\s*(\d{4}-\d{2}-\d{2})?\s*$"},
            title="Excluded dates",
            description="Days to leave out: one a line, as 2026-10-24.",
            section=LEFT_OUT,
        ),
        "closed_days": Param(
            "skip",
            type="string",
            enum=list(requests.CLOSED_DAYS),
            values_display={"skip": "Leave them out", "load": "Load them as any other day"},
            title="Closed days",
            description="What to do with the days of control.closed_days.",
            section=LEFT_OUT,
        ),
        "max_active": Param(
            3,
            type="integer",
            minimum=1,
            maximum=requests.MOST_ACTIVE,
            title="Windows at once",
            description="At most so many are in work; scheduled runs keep slots of their own.",
            section=HOW,
        ),
        "direction": Param(
            "oldest",
            type="string",
            enum=list(requests.DIRECTIONS),
            values_display={"oldest": "Oldest window first", "newest": "Newest window first"},
            title="Order",
            description="Newest first brings what people look at most back soonest.",
            section=HOW,
        ),
        "on_failure": Param(
            "continue",
            type="string",
            enum=list(requests.ON_FAILURE),
            values_display={
                "continue": "Go on with the others",
                "stop": "Stop; resume goes on at the window that failed",
            },
            title="When a window fails",
            description="Either way nothing of it is published, and the former version stays.",
            section=HOW,
        ),
        "backfill_id": Param(
            None,
            type=["null", "integer"],
            title="Backfill number",
            description="Leave it empty. A program gives the number of a row of control.backfills here.",
            section=PROGRAMS,
        ),
    }


def request(filled: Mapping[str, Any], by: str) -> Request:
    """What the form asks for.

    Raises:
        ConfigurationError: a date or a weekday is none; names it and what it may be.
    """
    days = [moments.day(text, "excluded date") for text in filled["excluded_dates"] or [] if text.strip()]
    return Request(
        dataset=filled["dataset"].strip(),
        from_time=moments.moment(filled["first_day"], "first day"),
        to_time=moments.moment(filled["last_day"], "last day", end=True),
        which=filled["which"],
        excluded_dates=days,
        weekdays=weekdays.weekdays_of(filled["weekdays"]),
        closed_days=filled["closed_days"],
        direction=filled["direction"],
        via="form",
        reason=filled["reason"],
        requested_by=by,
        max_active=filled["max_active"],
        on_failure=filled["on_failure"],
    )
