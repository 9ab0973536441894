"""A window is in one state, the same for everybody who shows or counts it; and what runs is what lives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import loading
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg2.extensions import cursor as Cursor
from test_policy_properties import BEGIN, DATASET, World, set_up, worlds

from highwater.model import clock
from highwater.model.windows import Window
from highwater.store import ledger, warehouse
from highwater.store import status as statuses
from highwater.store.ledger import as_range
from simulation import drills

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Try:
    """An attempt at a stage: its state, how long ago it began and ended, whether its process lives."""

    state: str
    stage: str
    ago: timedelta
    lives: bool


@dataclass(frozen=True)
class Past:
    """What has happened beside what landed, each by the places of its windows; ``skipped``: how long ago."""

    tries: dict[int, list[Try]]
    lanes: dict[int, bool]
    skipped: dict[int, timedelta]
    rolled_back: set[int]


@st.composite
def pasts(draw: st.DrawFn) -> Past:
    places = st.integers(0, 40)
    ago = st.sampled_from([0, 30, 59, 61, 3600]).map(lambda seconds: timedelta(seconds=seconds))
    attempt = st.builds(
        Try,
        st.sampled_from(["running", "succeeded", "retrying", "failed", "lost"]),
        st.sampled_from(["extract", "load", "summarise"]),
        ago,
        st.booleans(),
    )
    return Past(
        draw(st.dictionaries(places, st.lists(attempt, min_size=1, max_size=2), max_size=12)),
        draw(st.dictionaries(places, st.booleans(), max_size=4)),
        draw(st.dictionaries(places, ago, max_size=8)),
        draw(st.sets(places, max_size=8)),
    )


@pytest.fixture
def living(platform: object) -> Iterator[tuple[int, int]]:
    """A claim that lives, and the process on the server of the session of the loader that holds it."""
    with warehouse.autocommitting("loader") as cursor, warehouse.session("postgres") as admin:
        cursor.execute("SELECT ops.take_lease('outbox')")
        admin.execute("SELECT claim, backend_pid FROM ops.leases")
        ((claim, process),) = admin.fetchall()
        yield claim, process


@pytest.fixture
def tables(airflow: object, living: tuple[int, int]) -> Iterator[Cursor]:
    """A transaction in which each example sets up its world; nothing of it stays."""
    with warehouse.session("postgres") as cursor:
        cursor.execute("SET LOCAL ROLE publisher")
        cursor.execute(
            "INSERT INTO control.datasets (dataset, dag_id, published_table, first_window, step)"
            " VALUES (%s, 'trying', 'sales.tried', %s, '1 hour')",
            (DATASET, BEGIN),
        )
        cursor.execute("ALTER TABLE control.backfills DISABLE TRIGGER USER")
        cursor.execute(
            "INSERT INTO control.backfills (dataset, from_time, to_time, reason) VALUES (%s, %s, %s, 'a test')",
            (DATASET, BEGIN, BEGIN),
        )
        yield cursor
        cursor.connection.rollback()


def happen(cursor: Cursor, world: World, past: Past, living: tuple[int, int]) -> None:
    """Put the past into the tables, beside what landed of the world."""
    windows = dict(enumerate(world.expected()))
    for table in ("ops.skipped_windows", "ops.attempts", "ops.rollbacks"):
        cursor.execute(f"DELETE FROM {table} WHERE dataset = %s", (DATASET,))
    cursor.execute("DELETE FROM control.backfill_windows")
    for n, tries in past.tries.items():
        for one in tries if n in windows else ():
            lives = living if one.lives else (None, None)
            cursor.execute(
                "INSERT INTO ops.attempts (dataset, window_range, stage, dag_id, run_id, try_number, host, pid, state,"
                " started_at, ended_at, claim, backend_pid)"
                " VALUES (%s, %s, %s, 'trying', 'r', 1, 'here', 1, %s, %s, %s, %s, %s)",
                (DATASET, as_range(windows[n]), one.stage, one.state, world.now - one.ago, world.now - one.ago, *lives),
            )
    for n, lane_lives in past.lanes.items():
        if n in windows:
            cursor.execute(
                "INSERT INTO control.backfill_windows (backfill_id, place, window_range, action, reason, state, claim,"
                " backend_pid) SELECT backfill_id, %s, %s, 'load', 'x', 'running', %s, %s FROM control.backfills"
                " WHERE dataset = %s",
                (n + 1, as_range(windows[n]), living[0], living[1] if lane_lives else -1, DATASET),
            )
    for n, ago in past.skipped.items():
        if n in windows:
            cursor.execute(
                "INSERT INTO ops.skipped_windows (dataset, window_range, rule, reason, skipped_at)"
                " VALUES (%s, %s, 'a rule', 'a reason', %s)",
                (DATASET, as_range(windows[n]), world.now - ago),
            )
    for n in past.rolled_back & world.landed:
        cursor.execute(
            "INSERT INTO ops.rollbacks (dataset, window_range, from_version, from_run_id, from_content_hash,"
            " to_version, to_run_id, content_hash, as_version, rolled_back_by, reason)"
            " VALUES (%s, %s, 2, 'r', 'x', 1, 'r', 'x', 3, 'ada', 'why') RETURNING rollback_id",
            (DATASET, as_range(windows[n])),
        )
        made = (warehouse.fetch_value(cursor), DATASET, as_range(windows[n]))
        cursor.execute(
            "UPDATE ops.window_ledger SET staged_as = 'rollback ' || %s WHERE dataset = %s AND window_range = %s", made
        )
        cursor.execute(
            "INSERT INTO ops.holds (rollback_id, dataset, window_range, held_by, reason)"
            " VALUES (%s, %s, %s, 'ada', 'why')",
            made,
        )


def expected(world: World, past: Past, n: int, *, unwanted: bool, due: bool) -> str:
    """The state of a window by the words of highwater/sql/warehouse/59_states.sql, one after the other."""
    tries = past.tries.get(n, [])
    latest = tries[-1] if tries else None
    was_skipped = n in past.skipped and (latest is None or past.skipped[n] <= latest.ago)
    if n in world.landed:
        return "held" if n in past.rolled_back else "landed"
    if past.lanes.get(n) or any(one.state == "running" and one.lives for one in tries):
        return "running"
    follows = latest is not None and (
        latest.state == "retrying" or (latest.state, latest.stage) == ("succeeded", "extract")
    )
    if latest is not None and follows and not was_skipped and latest.ago <= MINUTE:
        return "running"
    if unwanted:
        return "skipped"
    if latest is not None and not was_skipped and latest.state != "succeeded":
        return "failed"
    if n in past.skipped:
        return "skipped"
    return "missing" if due else "not due"


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    world=worlds(),
    past=pasts(),
    days=st.integers(1, 60),
    ahead=st.integers(-5, 45),
    folded=st.booleans(),
)
def test_a_window_is_in_one_state_and_every_view_counts_the_same(
    tables: Cursor, living: tuple[int, int], world: World, past: Past, days: int, ahead: int, folded: bool
) -> None:
    known = set_up(tables, world)
    happen(tables, world, past, living)
    tables.execute(
        "SELECT window_range, state, reason, is_due FROM ops.windows_between(%s, '-infinity', 'infinity') ORDER BY 1",
        (DATASET,),
    )
    seen = warehouse.fetch_all(tables)
    assert [row.state for row in seen] == [
        expected(world, past, n, unwanted=known.verdict(window, world.now) is not None, due=seen[n].is_due)
        for n, window in enumerate(world.expected())
    ]
    assert all(row.reason for row in seen), "each says why"

    from highwater.page import calendar, formatting, now, params

    states = Counter(row.state for row in seen if row.is_due)
    (status,) = [one for one in statuses.read(tables) if one.dataset == DATASET]
    counted = {state: getattr(status, f"windows_{state}") for state in statuses.STATES}
    assert counted == {state: states[state] for state in statuses.STATES}
    assert status.windows_due == sum(counted.values())
    assert status.is_whole == (states["running"] + states["failed"] + states["missing"] == 0)

    (mine,) = [row for row in asked_datasets(tables) if row.dataset == DATASET]
    since = BEGIN + timedelta(days=ahead)
    shown = params.DayRange(since, since + timedelta(days=days), folded)
    cells = calendar.read(tables, [mine], shown)
    (row,) = calendar.rows([mine], cells, calendar.totals(tables, [mine]), shown)
    assert {state: row.counts[state] for state in statuses.STATES} == counted
    assert row.counts["due"] == status.windows_due
    within = Counter(one.state for one in seen if one.is_due and since <= one.window_range.lower < shown.until)
    for state in statuses.STATES:
        assert sum(getattr(cell, state) for cell in row.cells) == within[state]
    for cell in row.cells:
        assert cell.due == sum(getattr(cell, state) for state in statuses.STATES)
    assert row.counts["elsewhere"] == status.windows_due - within.total()
    assert formatting.sums([row, row])["landed"] == 2 * states["landed"]

    (fresh,) = [one for one in now.read(tables, [mine])["datasets"] if one.dataset == DATASET]
    assert [fresh.windows_running, fresh.windows_failed, fresh.windows_missing] == [
        states[state] for state in ("running", "failed", "missing")
    ]
    tables.execute("SELECT coalesce(sum(windows), 0) FROM ops.gaps WHERE dataset = %s", (DATASET,))
    assert warehouse.fetch_value(tables) == states["running"] + states["failed"] + states["missing"]
    tables.execute(
        "SELECT sum(windows) = sum(landed + running + failed + skipped + held + missing)"
        " AND sum(windows) = %s FROM ops.coverage WHERE dataset = %s",
        (status.windows_due, DATASET),
    )
    assert warehouse.fetch_value(tables) is not False


def asked_datasets(cursor: Cursor) -> list[Any]:
    """The rows of highwater/sql/page/datasets.sql."""
    warehouse.run_file(cursor, "page/datasets.sql")
    return warehouse.fetch_all(cursor)


def shown(dataset: str, start: datetime) -> tuple[str, str]:
    """State and reason of the window that begins then, by a session that has the clock of now."""
    with warehouse.session("analyst") as cursor:
        cursor.execute(
            "SELECT state, reason FROM ops.windows_between(%s, %s, %s)",
            (dataset, start, start + timedelta(microseconds=1)),
        )
        ((state, reason),) = cursor.fetchall()
    return state, reason


@pytest.mark.parametrize(
    ("stages", "attempts"),
    [
        ("check extract load summarise", 1),
        ("check check extract load", 2),
        ("check check extract extract load summarise", 3),
        ("check extract extract load summarise check extract load summarise", 3),
        ("check extract load summarise load summarise", 2),
    ],
)
def test_an_attempt_is_a_way_through_the_stages_and_no_stage(tables: Cursor, stages: str, attempts: int) -> None:
    """Whatever of it is repeated begins another attempt: a stage that failed, a run that was cleared."""
    window = as_range(Window(BEGIN, BEGIN + timedelta(hours=1)))
    for run in ("r", "s"):
        for stage in stages.split():
            tables.execute(
                "INSERT INTO ops.attempts (dataset, window_range, stage, dag_id, run_id, try_number, host, pid, state,"
                " started_at) VALUES (%s, %s, %s, 'trying', %s, 1, 'here', 1, 'succeeded', ops.clock())",
                (DATASET, window, stage, run),
            )
    tables.execute("SELECT count(*) FILTER (WHERE begins_attempt) FROM ops.stage_tries WHERE dataset = %s", (DATASET,))
    assert warehouse.fetch_value(tables) == 2 * attempts


@pytest.mark.usefixtures("empty_warehouse")
class TestWhatIsGone:
    def test_a_run_that_is_gone_leaves_its_window_missing_within_a_minute(
        self, later: Callable[[timedelta], None]
    ) -> None:
        window = loading.day("2026-10-05")
        with ledger.attempt("daily_sales", window, "extract", loading.run("a")):
            assert shown("daily_sales", window.start) == ("running", "extract is running")
        assert shown("daily_sales", window.start) == ("running", "extract is done, the next stage follows")
        later(timedelta(seconds=61))
        said = "extract is done, and nothing has followed: its run no longer exists, or waits"
        assert shown("daily_sales", window.start) == ("missing", said)

    def test_one_that_waits_for_its_next_try_has_failed_within_a_minute(
        self, later: Callable[[timedelta], None]
    ) -> None:
        window = loading.day("2026-10-05")
        run = ledger.Run("historical_sales_migration", "a", last_try=False)
        with pytest.raises(ZeroDivisionError), ledger.attempt("daily_sales", window, "extract", run):
            raise ZeroDivisionError("no")
        assert shown("daily_sales", window.start) == ("running", "extract is retried: ZeroDivisionError: no")
        later(timedelta(seconds=61))
        said = "extract, to be retried while its run exists: ZeroDivisionError: no"
        assert shown("daily_sales", window.start) == ("failed", said)

    def test_what_is_taken_out_of_the_record_is_missing_at_once_and_everybody_says_so(self, analyst: Cursor) -> None:
        window = loading.day("2026-10-05")
        loading.land(window)
        with ledger.attempt("daily_sales", window, "summarise", loading.run()):
            pass
        with warehouse.session("postgres") as cursor:
            for row in drills.landed(cursor, "daily_sales", window.start):
                drills.forget_window(cursor, "daily_sales", row)
        assert shown("daily_sales", window.start) == (
            "missing",
            "it had landed, and is no longer in the ledger: it is loaded again",
        )
        (status,) = [one for one in statuses.read(analyst) if one.dataset == "daily_sales"]
        assert (status.windows_landed, status.windows_running, status.windows_missing) == (0, 0, 30)

    def test_a_dataset_that_runs_by_watermark_is_not_at_work_after_its_run(self) -> None:
        """A full run that a person requests is about the hour under way, which no change set covers yet."""
        start = clock.now().replace(minute=0, second=0, microsecond=0)
        hour = Window(start, start + timedelta(hours=1))
        run = ledger.Run("incremental_data_processing", "manual__full")
        for stage in ("determine_mode", "update_checkpoint", "validate_consistency"):
            with ledger.attempt("orders", hour, stage, run):
                assert shown("orders", start)[0] == "running"
        assert shown("orders", start)[0] == "not due"

    def test_a_window_that_landed_before_its_time_is_counted_when_it_is_due(self, analyst: Cursor) -> None:
        with warehouse.session("postgres") as cursor:
            cursor.execute(
                "INSERT INTO ops.window_ledger VALUES ('payments', '[2026-10-31 06:00+00, 2026-10-31 12:00+00)', 1, 0,"
                " 0, 0, 0, 'x', NULL, 's', 'd', 'r', ops.clock())"
            )
        assert shown("payments", datetime.fromisoformat("2026-10-31T06:00+00:00"))[0] == "landed"
        (status,) = [one for one in statuses.read(analyst) if one.dataset == "payments"]
        assert status.windows_landed == 0
        assert status.windows_due == status.windows_missing
