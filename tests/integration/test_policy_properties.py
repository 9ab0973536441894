"""Whatever policy, grid, clock and ledger are: the timetable, the plan of a backfill, `Policy.verdict` and
ops.window_status want the same windows; none overlaps another, and none is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg2.extensions import cursor as Cursor

from highwater.model import clock, policy
from highwater.model.policy import Policy
from highwater.model.windows import Grid, Window
from highwater.policy import reader
from highwater.recovery import backlog
from highwater.store import status as statuses
from highwater.store import warehouse
from highwater.store.ledger import as_range

DATASET = "tried"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CRONS = {1: "0 * * * *", 6: "0 */6 * * *", 24: "0 0 * * *", 168: "0 0 * * 2"}
"""Each step in hours with the schedule whose ticks begin its windows."""
BEGIN = datetime(2026, 2, 24, tzinfo=UTC)
"""A Tuesday."""


@dataclass(frozen=True)
class World:
    """One case: a grid, a policy on it, a moment, and which of the windows so far have landed."""

    step: int
    windows: int
    into: timedelta
    due_after: timedelta
    enabled: bool
    max_age: timedelta | None
    max_windows: int | None
    skip_weekdays: list[int]
    skip_closed_days: bool
    closed: set[date]
    landed: set[int]

    @property
    def grid(self) -> Grid:
        return Grid(BEGIN, HOUR * self.step)

    @property
    def now(self) -> datetime:
        return BEGIN + self.windows * self.grid.step + self.into

    def expected(self) -> list[Window]:
        """Every window that has begun."""
        return [Window(BEGIN + n * self.grid.step, BEGIN + (n + 1) * self.grid.step) for n in range(self.windows + 1)]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    step = draw(st.sampled_from(list(CRONS)))
    windows = draw(st.integers(0, 40))
    span = windows * step
    return World(
        step,
        windows,
        draw(st.sampled_from([timedelta(0), timedelta(minutes=1), HOUR * step - timedelta(minutes=1)])),
        draw(st.sampled_from([timedelta(0), HOUR * step / 2, HOUR * 3 * step])),
        draw(st.booleans()),
        draw(st.none() | st.integers(1, span + 2 * step).map(lambda n: HOUR * n)),
        draw(st.none() | st.integers(1, windows + 2)),
        draw(st.lists(st.integers(1, 7), unique=True, max_size=6)),
        draw(st.booleans()),
        draw(st.sets(st.integers(-1, span // 24 + 2).map(lambda n: (BEGIN + n * DAY).date()), max_size=6)),
        draw(st.sets(st.integers(0, max(0, windows - 1)), max_size=windows)),
    )


@pytest.fixture(scope="module")
def tables(airflow: Any) -> Iterator[Cursor]:
    """A transaction in which each example sets up its world; nothing of it stays."""
    with warehouse.session("postgres") as cursor:
        cursor.execute("SET LOCAL ROLE publisher")
        cursor.execute(
            "INSERT INTO control.datasets (dataset, dag_id, published_table, first_window, step)"
            " VALUES (%s, 'trying', 'sales.tried', %s, '1 hour')",
            (DATASET, BEGIN),
        )
        yield cursor
        cursor.connection.rollback()


def set_up(cursor: Cursor, world: World) -> Policy:
    """Put the world into the tables; returns the policy as the scheduler would read it."""
    cursor.execute("SELECT set_config('highwater.now', %s, true)", (world.now.isoformat(),))
    cursor.execute("DELETE FROM ops.window_ledger WHERE dataset = %s", (DATASET,))
    cursor.execute(
        "UPDATE control.datasets SET step = %s, due_after = %s WHERE dataset = %s",
        (world.grid.step, world.due_after, DATASET),
    )
    cursor.execute(
        "UPDATE control.catchup_policies SET enabled = %s, max_age = %s, max_windows = %s,"
        " skip_weekdays = %s::smallint[], skip_closed_days = %s WHERE dataset = %s",
        (
            world.enabled,
            world.max_age,
            world.max_windows,
            sorted(world.skip_weekdays),
            world.skip_closed_days,
            DATASET,
        ),
    )
    cursor.execute("DELETE FROM control.closed_days")
    for n, day in enumerate(sorted(world.closed)):
        cursor.execute(
            "INSERT INTO control.closed_days VALUES (%s, %s, %s)", (day, DATASET if n % 2 else None, f"reason {n}")
        )
    for n in world.landed:
        cursor.execute(
            "INSERT INTO ops.window_ledger VALUES (%s, %s, 1, 0, 0, 0, 0, 'x', NULL, 's', 'trying', 'r', %s)",
            (DATASET, as_range(world.expected()[n]), world.now),
        )
    warehouse.run_file(cursor, "ops/policies.sql")
    return policy.read(warehouse.fetch_value(cursor))[DATASET]


def status(cursor: Cursor) -> dict[Window, tuple[str, str]]:
    """State and reason of every window in ops.window_status, oldest first."""
    cursor.execute(
        "SELECT window_start, window_end, state, reason FROM ops.window_status WHERE dataset = %s ORDER BY 1",
        (DATASET,),
    )
    return {Window(row[0], row[1]): (row[2], row[3]) for row in cursor.fetchall()}


def runs(world: World, known: Policy, latest: datetime | None) -> list[Window]:
    """The windows of the runs that Airflow would make from the first on, one after the other, due now."""
    from airflow.timetables.base import TimeRestriction
    from pendulum import instance

    from highwater.airflow.timetable import PolicyTimetable

    timetable = PolicyTimetable(CRONS[world.step], DATASET)
    last: Any = None
    found = []
    restriction = TimeRestriction(instance(BEGIN), None if latest is None else instance(latest), catchup=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(clock.SETTING, world.now.isoformat())
        patch.setattr(reader, "of", lambda _dataset: known)
        while info := timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction):
            last = info.data_interval
            if last.end > world.now:
                break
            start, end = (datetime.fromtimestamp(moment.timestamp(), UTC) for moment in (last.start, last.end))
            found.append(Window(start, end))
    return found


def planned(cursor: Cursor, world: World) -> list[Window]:
    """The windows that a backfill of all that is due would load; it has its own say on closed days."""
    cursor.execute(
        "SELECT lower(window_range), upper(window_range)"
        " FROM control.plan_backfill(%s, %s, %s, 'all', p_closed_days => %s) WHERE action = 'load' ORDER BY 1",
        (DATASET, BEGIN, world.now, "skip" if world.skip_closed_days else "load"),
    )
    return [Window(*row) for row in cursor.fetchall()]


WEEKS = World(
    168, 4, timedelta(0), timedelta(0), True, None, None, [1, 2, 3, 4, 5, 6], True, {date(2026, 3, 8)}, {0}
)  # fmt: skip
"""Every day of the second week is left out: one because it is closed, the others by their names."""


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(world=WEEKS)
@given(world=worlds())
def test_all_agree_on_what_is_wanted(tables: Cursor, world: World) -> None:
    known = set_up(tables, world)
    seen = status(tables)
    expected = world.expected()
    assert list(seen) == expected, "none is lost, none overlaps another"
    verdicts = {window: known.verdict(window, world.now) for window in expected}
    wanted = [window for window in expected if verdicts[window] is None]
    for n, window in enumerate(expected):
        verdict = verdicts[window]
        state, reason = seen[window]
        assert (state == "landed") == (n in world.landed)
        if n not in world.landed:
            assert (state == "skipped") == (verdict is not None)
            if verdict is not None:
                assert reason == f"{verdict.rule}: {verdict.reason}"

    due = [window for window in wanted if window.end + world.due_after <= world.now]
    tables.execute("SELECT window_range FROM ops.gaps WHERE dataset = %s", (DATASET,))
    gaps = [row[0] for row in tables.fetchall()]
    missing = [w for w in due if any(gap.lower <= w.start and w.end <= gap.upper for gap in gaps)]
    assert missing == [w for w in due if seen[w][0] == "missing"]
    assert sum((gap.upper - gap.lower for gap in gaps), timedelta(0)) == len(missing) * world.grid.step

    ended = [window for window in wanted if window.end <= world.now]
    assert runs(world, known, latest=world.now) == ended, "a native backfill"
    newest = [window for window in ended if window == [w for w in expected if w.end <= world.now][-1]]
    assert runs(world, known, latest=None) == (ended if world.enabled else newest), "the schedule"
    if due or any(window.end + world.due_after <= world.now for window in expected):
        assert planned(tables, world) == due


@dataclass(frozen=True)
class Past:
    """What else has happened, each by the places of its windows.

    ``twice_as_long`` landed when the grid was another; ``deleted`` and ``reloaded`` were landed before; ``tried`` are
    the states of the latest attempts.
    """

    twice_as_long: set[int]
    deleted: set[int]
    reloaded: set[int]
    skipped: set[int]
    unskipped: set[int]
    tried: dict[int, str]


@st.composite
def pasts(draw: st.DrawFn) -> Past:
    places = st.integers(0, 40)
    some = st.sets(places, max_size=12)
    states = st.sampled_from(["running", "succeeded", "retrying", "failed", "lost"])
    return Past(
        draw(some), draw(some), draw(some), draw(some), draw(some), draw(st.dictionaries(places, states, max_size=12))
    )


def happen(cursor: Cursor, world: World, past: Past) -> None:
    """Put the past into the tables, beside what landed of the world."""
    windows = dict(enumerate(world.expected()))
    for table in ("ops.skipped_windows", "ops.attempts"):
        cursor.execute(f"DELETE FROM {table} WHERE dataset = %s", (DATASET,))

    def ranges(places: set[int]) -> tuple[str, list[Any]]:
        return DATASET, [as_range(windows[n]) for n in sorted(places) if n in windows]

    known = "WHERE dataset = %s AND window_range = ANY(%s::tstzrange[])"
    cursor.execute(f"DELETE FROM ops.window_ledger {known}", ranges(past.deleted))
    cursor.execute(
        f"UPDATE ops.window_ledger SET version = version + 1, rows_extracted = 7, rows_published = 7 {known}",
        ranges(past.reloaded),
    )
    long = [
        Window(windows[n].start, windows[n].end + world.grid.step) for n in sorted(past.twice_as_long) if n in windows
    ]
    cursor.execute(
        "INSERT INTO ops.window_ledger"
        " SELECT %s, w, 1, 5, 5, 0, 0, 'x', NULL, 's', 'trying', 'r', %s FROM unnest(%s::tstzrange[]) AS w"
        " ON CONFLICT DO NOTHING",
        (DATASET, world.now, [as_range(window) for window in long]),
    )
    cursor.execute(
        "INSERT INTO ops.skipped_windows (dataset, window_range, rule, reason)"
        " SELECT %s, w, 'a rule', 'a reason' FROM unnest(%s::tstzrange[]) AS w",
        ranges(past.skipped),
    )
    cursor.execute(f"DELETE FROM ops.skipped_windows {known}", ranges(past.unskipped))
    for n, state in past.tried.items():
        if n in windows:
            cursor.execute(
                "INSERT INTO ops.attempts (dataset, window_range, stage, dag_id, run_id, try_number, host, pid, state,"
                " error, started_at) VALUES (%s, %s, 'load', 'trying', 'r', 1, 'here', 1, %s, %s, %s)",
                (DATASET, as_range(windows[n]), state, f"error {n % 2}", world.now),
            )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(world=worlds(), past=pasts(), begin=st.integers(-2, 42), length=st.integers(0, 42))
def test_what_is_summed_up_or_bounded_says_what_every_window_says(
    tables: Cursor, world: World, past: Past, begin: int, length: int
) -> None:
    set_up(tables, world)
    happen(tables, world, past)
    every = (
        "SELECT window_start, window_end, state, reason, is_due FROM ops.window_status WHERE dataset = %s ORDER BY 1"
    )
    tables.execute(every, (DATASET,))
    seen = warehouse.fetch_all(tables)

    tables.execute(
        "(SELECT * FROM ops.counted_months EXCEPT SELECT * FROM ops.ledger_months) UNION ALL"
        " (SELECT * FROM ops.ledger_months WHERE landed <> '{}' OR skipped <> '{}'"
        " EXCEPT SELECT * FROM ops.counted_months)"
    )
    assert tables.fetchall() == [], "the triggers keep what counting gives"

    found = {status.dataset: status for status in statuses.read(tables)}
    totals, states = found[DATASET], Counter(row.state for row in seen if row.is_due)
    assert totals.windows_due == sum(states.values())
    counted = {state: getattr(totals, f"windows_{state}") for state in statuses.STATES}
    assert +Counter(counted) == states
    assert totals.windows_begun == len(seen)
    tables.execute("SELECT coalesce(sum(rows_published), 0) FROM ops.window_ledger WHERE dataset = %s", (DATASET,))
    assert totals.rows_published == warehouse.fetch_value(tables)

    since = BEGIN + begin * world.grid.step
    until = since + length * world.grid.step
    tables.execute(
        "SELECT lower(window_range), state, reason FROM ops.windows_between(%s, %s, %s) ORDER BY 1",
        (DATASET, since, until),
    )
    assert [tuple(row) for row in tables.fetchall()] == [
        (row.window_start, row.state, row.reason) for row in seen if since <= row.window_start < until
    ]

    stretches = []
    for (is_open, state, reason), rows in groupby(
        seen, lambda row: (row.is_due and row.state in ("failed", "missing"), row.state, row.reason)
    ):
        if is_open:
            joined = list(rows)
            stretches.append(statuses.Trouble(DATASET, joined[0].window_start, joined[-1].window_end, state, reason))
    assert statuses.troubles(tables, [totals]) == stretches[: statuses.TROUBLES]

    for newest in (False, True):
        to_load = [
            Window(row.window_start, row.window_end)
            for row in seen
            if row.is_due and row.state not in ("landed", "skipped")
        ]
        expected = to_load[::-1] if newest else to_load
        if not world.enabled:
            due = [row for row in seen if row.is_due]
            expected = [window for window in to_load if window.end == due[-1].window_end]
        assert backlog.backlog(tables, DATASET, 3, newest=newest) == expected[:3]
