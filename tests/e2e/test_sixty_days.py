"""Sixty days of three sources by a real scheduler: the clock is moved from midnight to midnight, the partner has its
outages, and what must have landed by its rule is worked out here a second time, by counting."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import channels
import pytest
from e2e import live
from e2e.live import Live

from highwater.airflow import api
from highwater.environment import files, settings
from highwater.store import warehouse
from simulation import channels as simulation_channels
from simulation import outages

pytestmark = pytest.mark.timeout(1800)
DAG = "multi_source_sync"
ANCHOR, DAYS, SALES = "2026-03-01", 60, 100
"""Whenever the test is run: the scheduler makes no runs by itself, they are triggered as the clock moves."""
PAST = 12
"""Days that lie behind at the first start: their runs are for past windows."""
GOLDEN = "2b515b6ae884c800"
"""Of the content of everything that landed, with seed 42: the same on every machine."""
DISTURBED = 30
"""The place of the day whose load is killed while its source goes away."""
HELD_UP = 6006
"""An advisory lock that the load of that day waits for."""
DAY = timedelta(days=1)


@dataclass
class Expected:
    """What the partner's rule makes of the days, one run after the other."""

    landed: set[datetime] = field(default_factory=set)
    rules: dict[datetime, str] = field(default_factory=dict)
    good: list[bool] = field(default_factory=list)
    flips: list[tuple[datetime, bool]] = field(default_factory=list)

    def run(self, day: datetime, now: datetime, *, away: bool) -> None:
        """A run for ``day`` when the clock says ``now``."""
        self.good.append(not away and complete(day, now))
        catches_up = len(self.good) >= 10 and sum(self.good[-10:]) >= 8
        if catches_up != (self.flips[-1][1] if self.flips else False):
            self.flips.append((day, catches_up))
        is_current = day + DAY <= now < day + 2 * DAY
        if not is_current and not catches_up:
            self._skip(day, "current window only")
        elif away:
            self._skip(day, "source away")
        else:
            earlier = [d for d in days() if d < day and d not in self.landed and d >= now - timedelta(days=30)]
            for wanted in [*(earlier if catches_up else []), day]:
                if complete(wanted, now):
                    self.landed.add(wanted)
                    self.rules.pop(wanted, None)
                else:
                    self._skip(wanted, "incomplete")

    def _skip(self, day: datetime, rule: str) -> None:
        if day not in self.landed:
            self.rules[day] = rule


def complete(day: datetime, now: datetime) -> bool:
    """Whether the partner has all orders of a day by then."""
    kind = simulation_channels.kind_of(day.date())
    return kind == "usual" or (kind == "late" and now >= day + DAY + timedelta(hours=54))


def first() -> datetime:
    return settings.get().days_before_anchor(DAYS)


def days() -> list[datetime]:
    return [first() + DAY * n for n in range(DAYS)]


class Clock:
    """The clock of the whole platform, and the runs."""

    def __init__(self, platform: Live, file: Path) -> None:
        self.platform, self.file = platform, file
        # asked several times a second: one connection, not one each time
        self.metadata = warehouse.connect("airflow", settings.get().metadata_database)
        self.metadata.autocommit = True
        self.api = api.log_in()

    def move(self, now: datetime) -> None:
        """It is ``now``; the sources move on to it."""
        files.replace(self.file, now.isoformat())
        simulation_channels.advance(now)

    def begin(self, day: datetime) -> str:
        """Trigger the run of a day."""
        run_id = f"day-{day:%Y-%m-%d}"
        self.api.post(
            f"/dags/{DAG}/dagRuns", json={"logical_date": day.isoformat(), "dag_run_id": run_id}
        ).raise_for_status()
        return run_id

    def end(self, run_id: str) -> str:
        """Wait for the end of a run; returns its state."""
        return str(self.platform.wait(f"the end of run {run_id}", lambda: self._ended(run_id)))

    def close(self) -> None:
        """Let go of the platform."""
        self.metadata.close()
        self.api.close()

    def _ended(self, run_id: str) -> str | None:
        with self.metadata.cursor() as cursor:
            cursor.execute("SELECT state FROM dag_run WHERE run_id = %s AND state IN ('success', 'failed')", (run_id,))
            row = cursor.fetchone()
        return str(row[0]) if row else None


class Played:
    """What sixty days came to."""

    def __init__(self, platform: Live) -> None:
        self.platform = platform
        self.expected = Expected()
        self.states: dict[datetime, str] = {}

    def rows(self, query: str) -> list[Any]:
        return self.platform.rows(query)


@pytest.fixture(scope="module")
def played(scratch: Callable[[str], Path]) -> Iterator[Played]:
    home = scratch("channels")
    file = home / "now"
    with pytest.MonkeyPatch.context() as patch:
        file.write_text("2025-12-31T00:00:00+00:00")
        environment = {
            "HIGHWATER_ANCHOR": ANCHOR,
            "HIGHWATER_CHANNEL_DAYS": str(DAYS),
            "HIGHWATER_NOW_FILE": str(file),
            "SIMULATION_CHANNEL_SALES": str(SALES),
            "SIMULATION_SHOP_ORDERS": "0",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.05",
            "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False",
        }
        patch.delenv("HIGHWATER_NOW", raising=False)
        with live.platform(home, dags=(DAG,), **environment) as platform:
            platform.airflow.wait_until_healthy()
            platform.wait("the DAG", lambda: _known(DAG))
            story, clock = Played(platform), Clock(platform, file)
            for place, day in enumerate(days(), start=1):
                now = max(day, first() + DAY * (PAST - 1)) + DAY + timedelta(seconds=30)
                if place == 1 or place > PAST:
                    clock.move(now)
                run_id = clock.begin(day)
                if place == DISTURBED:
                    disturb(platform, now)
                story.states[day] = clock.end(run_id)
                story.expected.run(day, now, away=_is_away(now))
            clock.close()
            yield story


def disturb(platform: Live, now: datetime) -> None:
    """Kill the load of the store while it waits, and let the store go away until the next try has seen it."""
    with warehouse.session("postgres", settings.get().sources_database) as cursor:
        cursor.execute(
            "GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint), pg_advisory_lock_shared(bigint)"
            " TO simulator, store_reader"
        )
    with (
        channels.instead("store.sales", f"*, pg_advisory_lock_shared({HELD_UP})::text AS waited"),
        closing(warehouse.connect("simulator", settings.get().sources_database)) as link,
        link.cursor() as cursor,
    ):
        cursor.execute("SELECT pg_advisory_lock(%s)", (HELD_UP,))
        link.commit()
        platform.wait("the load of the store to stand still", _store_waits)
        ((pid,),) = platform.rows(
            "SELECT pid FROM ops.attempts JOIN ops.live_attempts USING (attempt_id) WHERE dataset = 'store_sales'"
        )
        os.kill(pid, signal.SIGKILL)
        outages.start("store", now, None, "in the middle of the load", "a test")
    platform.wait(
        "the next try to find the store away",
        lambda: platform.rows(
            "SELECT FROM ops.source_checks WHERE source = 'store' AND NOT reachable AND try_number > 1"
        ),
    )
    outages.stop("store", now, "a test")


def _store_waits() -> bool:
    with warehouse.session("postgres") as cursor:
        cursor.execute("SELECT FROM pg_stat_activity WHERE usename = 'store_reader' AND wait_event = 'advisory'")
        return cursor.fetchone() is not None


def _known(dag: str) -> bool:
    with warehouse.session("airflow", settings.get().metadata_database) as cursor:
        cursor.execute("SELECT FROM serialized_dag WHERE dag_id = %s", (dag,))
        return cursor.fetchone() is not None


def _is_away(now: datetime) -> bool:
    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        cursor.execute("SELECT FROM partner.outages WHERE started_at <= %s AND %s < ended_at", (now, now))
        return cursor.fetchone() is not None


def test_every_day_of_the_store_and_every_synchronised_day_lands(played: Played) -> None:
    counts = dict(played.rows("SELECT dataset, count(*) FROM ops.window_ledger GROUP BY dataset"))
    assert (counts["store_sales"], counts["channel_sales"]) == (DAYS, DAYS)
    assert (
        played.rows("SELECT dataset, window_range FROM ops.gaps WHERE dataset IN ('store_sales', 'channel_sales')")
        == []
    )


def test_every_complete_week_of_the_supplier_lands_as_it_was_delivered_last(played: Played) -> None:
    end = first() + DAY * DAYS
    last = {d.week: d.number for d in simulation_channels.deliveries(end)}
    landed = played.rows(
        "SELECT lower(window_range)::date, source_snapshot FROM ops.window_ledger"
        " WHERE dataset = 'supplier_settlements' ORDER BY 1"
    )
    assert [tuple(row) for row in landed] == [(week, f"delivery {number}") for week, number in sorted(last.items())]
    assert 2 in last.values()


def test_the_partner_has_exactly_the_windows_its_rule_allows_and_a_reason_for_every_other(played: Played) -> None:
    landed = played.rows("SELECT lower(window_range) FROM ops.window_ledger WHERE dataset = 'partner_sales'")
    assert {row[0] for row in landed} == played.expected.landed
    skipped = played.rows(
        "SELECT lower(window_range), rule, reason FROM ops.skipped_windows WHERE dataset = 'partner_sales'"
    )
    assert {row[0]: row.rule for row in skipped} == played.expected.rules
    assert all(row.reason for row in skipped)
    assert len(landed) + len(skipped) == DAYS
    assert {"incomplete"} <= set(played.expected.rules.values())


def test_reliability_switches_the_catch_up_on_and_off_and_says_so_once_each_time(played: Played) -> None:
    found = played.rows(
        "SELECT run_id, catches_up FROM ops.catch_up_changes WHERE source = 'partner' ORDER BY change_id"
    )
    assert [tuple(row) for row in found] == [(f"day-{day:%Y-%m-%d}", on) for day, on in played.expected.flips]
    assert {on for _, on in played.expected.flips} == {True, False}


def test_a_day_is_held_back_only_while_the_delivery_of_its_week_is_wrong(played: Played) -> None:
    monday = first() + timedelta(days=-first().weekday() % 7 + 7 * (simulation_channels.WRONG_WEEK - 1))
    wrong = [monday + timedelta(days=10 + n) for n in range(3)]
    assert [day for day, state in played.states.items() if state == "failed"] == wrong
    held = played.rows(
        "SELECT DISTINCT lower(window_range) AS day FROM ops.validation_results WHERE verdict = 'failed'"
        " AND column_name = 'settled_amount, sold_amount'"
    )
    assert {row.day for row in held} <= {monday + DAY * n for n in range(7)}
    assert held


def test_one_source_away_in_the_middle_of_its_load_and_a_kill_on_top_leave_no_trace(played: Played) -> None:
    lost = played.rows("SELECT lower(window_range) AS day FROM ops.attempts WHERE state = 'lost'")
    assert [row.day for row in lost] == [days()[DISTURBED - 1]]
    assert played.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'staging'") == []


def test_the_same_seed_gives_the_same_content(played: Played) -> None:
    found = played.rows(
        "SELECT dataset, lower(window_range)::date::text, content_hash FROM ops.window_ledger ORDER BY 1, 2"
    )
    assert hashlib.sha256(repr([tuple(row) for row in found]).encode()).hexdigest()[:16] == GOLDEN
