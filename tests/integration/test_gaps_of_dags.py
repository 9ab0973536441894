"""catchup_control beside runs of Airflow: a gap waits for those that may land its windows, and for no others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from loading import day
from loading import land as land_day

from highwater.airflow import catchup_control
from highwater.airflow.catchup_control import Gap
from highwater.model.windows import Grid, Window
from highwater.store import ledger, warehouse
from highwater.store.ledger import Run

pytestmark = pytest.mark.usefixtures("empty_warehouse")
SALES = "historical_sales_migration"


@pytest.fixture
def short(platform: Path) -> Iterator[None]:
    """The grid begins on the 24th, and the schedule has landed the 24th and the 28th: three days lie between."""
    begin = "UPDATE control.datasets SET first_window = %s WHERE dataset = 'daily_sales'"
    with warehouse.session("postgres") as cursor:
        cursor.execute(begin, ("2026-10-24 00:00+00",))
    for each in ("2026-10-24", "2026-10-28"):
        with ledger.attempt("daily_sales", day(each), "load", Run(SALES, f"scheduled__{each}")):
            land_day(day(each))
    yield
    with warehouse.session("postgres") as cursor:
        cursor.execute("TRUNCATE control.backfills CASCADE")
        cursor.execute(begin, ("2026-10-01 00:00+00",))


@pytest.fixture
def runs(airflow: Callable[..., Any]) -> Iterator[Callable[..., None]]:
    """Puts runs of the sales' DAG into Airflow's metadata; they go behind the test."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType

    def put(state: str, *logical_dates: str | None) -> None:
        with create_session() as session:
            for number, text in enumerate(logical_dates):
                moment = None if text is None else datetime.fromisoformat(text).replace(tzinfo=UTC)
                session.add(
                    DagRun(
                        dag_id=SALES,
                        run_id=f"manual__{state}_{number}_{text}",
                        logical_date=moment,
                        run_after=moment or datetime(2026, 10, 31, tzinfo=UTC),
                        run_type="manual",
                        # As one from before such were refused.
                        triggered_by=DagRunTriggeredByType.TEST,
                        state=DagRunState(state),
                    )
                )

    yield put
    with create_session() as session:
        session.query(DagRun).filter(DagRun.dag_id == SALES).delete()


def filled(airflow: Callable[..., Any]) -> list[str]:
    """The days that a run of catchup_control asks a backfill for."""
    done = airflow("catchup_control", datetime(2026, 10, 31, 11, 55, tzinfo=UTC))
    states = {ti.task_id: str(ti.state) for ti in done.get_task_instances()}
    assert states["fill_gaps"] == "success", states
    with warehouse.session("analyst") as cursor:
        cursor.execute(
            "SELECT lower(w.window_range)::date::text FROM control.backfill_windows AS w"
            " INNER JOIN control.backfills AS b USING (backfill_id)"
            " WHERE b.dataset = 'daily_sales' AND b.via = 'policy' AND w.action = 'load' ORDER BY 1"
        )
        return [row[0] for row in cursor.fetchall()]


GAP = ["2026-10-25", "2026-10-26", "2026-10-27"]


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_run_of_another_window_holds_nothing_up(
    airflow: Callable[..., Any], short: None, runs: Callable[..., None], state: str
) -> None:
    runs(state, "2027-06-01", "2026-10-29", "2026-10-28", "2026-10-24T23:59", "2026-10-02", None)
    assert filled(airflow) == GAP


@pytest.mark.parametrize("state", ["queued", "running"])
def test_the_window_that_a_run_may_land_waits_for_it_and_the_others_do_not(
    airflow: Callable[..., Any], short: None, runs: Callable[..., None], state: str
) -> None:
    runs(state, "2026-10-26T13:17", "2027-06-01")
    assert filled(airflow) == ["2026-10-25", "2026-10-27"]


def test_a_run_that_has_ended_is_waited_for_by_nobody(
    airflow: Callable[..., Any], short: None, runs: Callable[..., None]
) -> None:
    runs("failed", "2026-10-25")
    runs("success", "2026-10-26")
    assert filled(airflow) == GAP


def test_each_window_of_a_gap_is_looked_for_once() -> None:
    start = datetime(2026, 10, 1, tzinfo=UTC)
    grid = Grid(start, timedelta(days=1))
    gap = Gap("daily_sales", SALES, start, start + timedelta(days=2), start + timedelta(days=9), 7)
    dates = [start + timedelta(hours=hours) for hours in (10, 47, 48, 60, 71, 100, 216, 5000)]
    asked: list[datetime] = []

    def newest_before(moment: datetime) -> datetime | None:
        asked.append(moment)
        return max((each for each in dates if each < moment), default=None)

    found = catchup_control.windows_of_live_runs(gap, grid, newest_before)
    days = {start + timedelta(days=2), start + timedelta(days=4)}
    assert found == {Window(each, each + timedelta(days=1)) for each in days}
    assert len(asked) == 3
