"""The trigger form of the DAG selective_backfill, and the request that a filled-in form makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Param

from highwater.backfill import options
from highwater.backfill.requests import Request
from highwater.model import moments, weekdays

LEFT_OUT, HOW, PROGRAMS = "What to leave out", "How", "For programs"


def params() -> dict[str, Param]:
    """The fields of the form, in their order."""
    return {
        "dataset": Param(
            type="string",
            title="Dataset",
            description="A dataset of control.datasets, except those that are loaded incrementally.",
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
        "which": _choice(options.WHICH),
        "reason": Param(
            type="string",
            # Never stricter than control.words: a backfill of the command line passes through this form too.
            minLength=1,
            title="Reason",
            description="Why you load them. Kept with your name.",
        ),
        "weekdays": Param(
            list(weekdays.NAMES),
            type="array",
            examples=list(weekdays.NAMES),
            title="Weekdays",
            description="Only these days of the week are loaded.",
            section=LEFT_OUT,
        ),
        "excluded_dates": Param(
            None,
            type=["null", "array"],
            items={"type": "string", "pattern": r"^\s*(\d{4}-\d{2}-\d{2})?\s*$"},
            title="Excluded dates",
            description="Days to leave out, one per line, such as 2026-10-24.",
            section=LEFT_OUT,
        ),
        "closed_days": _choice(options.CLOSED_DAYS, section=LEFT_OUT),
        "max_active": Param(
            options.MAX_ACTIVE.default,
            type="integer",
            minimum=options.MAX_ACTIVE.least,
            maximum=options.MAX_ACTIVE.most,
            title=options.MAX_ACTIVE.title,
            description=options.MAX_ACTIVE.help,
            section=HOW,
        ),
        "direction": _choice(options.DIRECTION, section=HOW),
        "on_failure": _choice(options.ON_FAILURE, section=HOW),
        "backfill_id": Param(
            None,
            type=["null", "integer"],
            title="Backfill number",
            description="Leave it empty. Programs put the number of a row of control.backfills here.",
            section=PROGRAMS,
        ),
    }


def _choice(option: options.Choice, **extra: Any) -> Param:
    return Param(
        option.default,
        type="string",
        enum=option.values,
        values_display=option.display,
        title=option.title,
        description=option.help,
        **extra,
    )


def request(filled: Mapping[str, Any], by: str) -> Request:
    """The request that a filled-in form makes, for the user ``by``.

    Raises:
        ConfigurationError: an invalid date or weekday; names the value and what was expected.
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
