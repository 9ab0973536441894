"""One seed: move the clock on, strike while the stretch is worked on, heal, wait until all is explained, check."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from chaos import backup, faults, invariants
from chaos.datasets import DAGS, ORDERS, ORDERS_DAG
from chaos.felt import Felt
from chaos.invariants import Finding, Stretch
from chaos.platform import Platform, Stuck
from chaos.reader import Reader
from chaos.schedule import RESTORE, Schedule
from highwater.incidents import alerts
from highwater.loading import stages
from highwater.store import warehouse

MOST_NUDGES = 3
"""So often the next run of a DAG is started early, which would come hours later by the clock."""


@dataclass(frozen=True)
class Struck:
    """A fault, and what came of it."""

    kind: str
    target: str
    at: int
    outcome: str


@dataclass
class Result:
    """What a seed came to."""

    seed: int
    schedule: str
    fault: str | None
    strikes: list[Struck]
    windows: int
    attempts: int
    lost: int
    seconds: float
    next_runs: int
    fell: list[str]
    findings: list[Finding]
    error: str | None = None
    home: str | None = None

    @property
    def passed(self) -> bool:
        """Whether all that must hold does."""
        return self.error is None and bool(self.findings) and all(finding.holds for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return asdict(self) | {"passed": self.passed}


def play(platform: Platform, schedule: Schedule) -> Result:
    """Play the schedule of a seed on a platform whose clock says its begin."""
    began = time.monotonic()
    marks = Stretch(
        platform.last_attempt(),
        int(platform.value("SELECT coalesce(max(incident_id), 0) FROM ops.incidents")),
        taken_before=len(platform.hook.ids),
    )
    result = Result(schedule.seed, str(schedule), schedule.fault, [], 0, 0, 0, 0.0, 0, [], [])
    felt, fell = Felt(), len(platform.airflow.fell)
    try:
        if any(wanted.kind == RESTORE for wanted in schedule.strikes):
            felt.backup = backup.take(platform.home)
        with Reader(schedule.begin) as marks.reads:
            platform.move(schedule.end)
            _begin_bystanders(platform, schedule)
            try:
                for wanted in schedule.strikes:
                    platform.until(partial(_have_begun, platform, marks.attempt, wanted.at))
                    outcome = faults.strike(platform, wanted, felt)
                    result.strikes.append(Struck(wanted.kind, wanted.target, wanted.at, outcome))
                result.next_runs = settle(platform, schedule)
            finally:
                felt.heal()
            platform.airflow.end_remains()
            settle(platform, schedule)
        # What incident_watch does every five minutes.
        stages.finish_cut_short()
        alerts.look()
        marks.taken, marks.strikes, marks.senders_killed = (
            platform.hook.ids,
            len(schedule.strikes),
            felt.senders_killed,
        )
        marks.restored_to = platform.restored.since if platform.restored else None
        result.findings = invariants.check(marks)
        with warehouse.session("postgres") as cursor:
            result.windows = len(invariants.worked_on(cursor, marks))
    except (Stuck, *faults.ERRORS) as error:
        result.error = f"{type(error).__name__}: {error}"
    result.fell = platform.airflow.fell[fell:]
    if result.error is None:
        result.attempts = platform.attempts_since(marks.attempt)
        result.lost = int(
            platform.value(
                "SELECT count(*) FROM ops.attempts WHERE attempt_id > %s AND state = 'lost'", (marks.attempt,)
            )
        )
    result.seconds = round(time.monotonic() - began, 1)
    return result


def _have_begun(platform: Platform, mark: int, number: int) -> bool:
    return platform.attempts_since(mark) >= number


def settle(platform: Platform, schedule: Schedule) -> int:
    """Wait until all that is due has landed or is explained; returns how many next runs had to be started for that.

    A window that its run could not land is the next run's to land, which by the clock would come hours later: it is
    started now.
    """
    for nudge in range(MOST_NUDGES + 1):
        platform.wait("all runs to end", platform.is_quiet)
        gaps = {row.dataset for row in platform.rows("SELECT DISTINCT dataset FROM ops.gaps")}
        behind = platform.rows(
            "SELECT FROM control.sources WHERE dataset = %s AND full_run_wanted IS NOT NULL", (ORDERS,)
        )
        follows = _follows_restore(platform)
        late = [
            dag for dag, loaded in DAGS.items() if gaps & set(loaded) or (dag == ORDERS_DAG and (behind or not follows))
        ]
        if not late:
            return nudge
        if nudge == MOST_NUDGES:
            break
        for dag in late:
            _next_run(platform, schedule, dag, sorted(gaps & set(DAGS[dag])), nudge)
    return MOST_NUDGES


def _next_run(platform: Platform, schedule: Schedule, dag: str, missing: list[str], number: int) -> None:
    """What comes next for windows that are missing: the next run of their DAG, or a backfill that a person asks for."""
    if dag == "multi_source_sync":
        day = schedule.end.replace(hour=0, minute=0) - timedelta(days=1)
        platform.trigger(dag, day + timedelta(minutes=number + 1))
    elif dag == "historical_sales_migration":
        _reload(platform, schedule, missing[0], "missing", days=7)
    elif dag == ORDERS_DAG and number and not _follows_restore(platform):
        # More than half of the orders may be gone with a restore: who made it says that they are.
        platform.trigger(dag, conf={"accept": True})
    else:
        platform.trigger(dag)


def _follows_restore(platform: Platform) -> bool:
    """Whether a run that loads orders has begun since the latest restore of a source, and has landed."""
    landed = (
        "SELECT FROM ops.attempts AS d INNER JOIN ops.attempts AS u USING (dataset, run_id) WHERE d.dataset = %s"
        " AND d.stage = 'determine_mode' AND d.attempt_id > %s AND u.stage = 'update_checkpoint'"
        " AND u.state = 'succeeded' AND u.attempt_id > d.attempt_id"
    )
    return platform.restored is None or bool(platform.rows(landed, (ORDERS, platform.restored.attempt)))


def _begin_bystanders(platform: Platform, schedule: Schedule) -> None:
    for dag in schedule.bystanders:
        if dag == "selective_backfill":
            _reload(platform, schedule, schedule.reloaded, "all", days=1)
        else:
            platform.trigger(dag)


def _reload(platform: Platform, schedule: Schedule, dataset: str, which: str, days: int) -> None:
    """Ask for a backfill of the days before the last one, as a person does in the form."""
    last = schedule.begin.date() - timedelta(days=1) if which == "all" else schedule.end.date() - timedelta(days=1)
    first = platform.value("SELECT first_window::date FROM control.datasets WHERE dataset = %s", (dataset,))
    conf = {
        "dataset": dataset,
        "first_day": max(first, last - timedelta(days=days - 1)).isoformat(),
        "last_day": last.isoformat(),
        "which": which,
        "reason": f"chaos, {schedule}"[:200],
    }
    platform.trigger("selective_backfill", conf=conf)
