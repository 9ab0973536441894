"""Backfills whose run of Airflow will not end them: marked as failed, deleted, lost with the metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from loading import day
from test_backfill_lanes import Lane, ask, begin, change, now, rows, states, verb

from highwater.backfill import requests
from highwater.incidents import alerts
from highwater.store import warehouse

pytestmark = pytest.mark.usefixtures("empty_warehouse")
Later = Callable[[timedelta], None]
RUN = "run_1"


@pytest.fixture(autouse=True)
def none_left(platform: Any) -> Iterator[None]:
    yield
    change("TRUNCATE control.backfills CASCADE")


@pytest.fixture
def of_airflow(airflow: Callable[..., Any]) -> Iterator[Callable[[str, str], None]]:
    """Puts a run of selective_backfill into Airflow's metadata, by its id and state."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType

    def put(run_id: str, state: str) -> None:
        with create_session() as session:
            session.add(
                DagRun(
                    dag_id=requests.DAG,
                    run_id=run_id,
                    logical_date=None,
                    run_type="manual",
                    state=DagRunState(state),
                    run_after=datetime(2026, 10, 31, tzinfo=UTC),
                    triggered_by=DagRunTriggeredByType.TEST,
                )
            )

    yield put
    with create_session() as session:
        session.query(DagRun).filter(DagRun.dag_id == requests.DAG).delete()


def left_by_a_lane(number: int, run_id: str = RUN) -> None:
    """A run takes the backfill on, a lane of it a window; then both are gone."""
    lane = Lane(number, begin(number, run_id))
    lane.take()
    lane.die()


def looked(airflow: Callable[..., Any], minutes: int) -> None:
    """catchup_control runs this long after noon."""
    done = airflow("catchup_control", datetime(2026, 10, 31, 12, minutes, tzinfo=UTC))
    states = {ti.task_id: str(ti.state) for ti in done.get_task_instances()}
    assert states["end_without_run"] == "success", states


def troubles() -> list[tuple[Any, ...]]:
    alerts.look()
    of_backfills = "SELECT kind, subject FROM ops.incidents WHERE closed_at IS NULL AND kind ~ 'backfill' ORDER BY 1"
    return list(rows(of_backfills))


def test_one_whose_run_airflow_knows_no_more_is_begun_by_another(airflow: Callable[..., Any], later: Later) -> None:
    number = ask(3, 5)
    left_by_a_lane(number)
    looked(airflow, 5)
    assert now(number)["state"] == "running", "its lanes may wait for slots"
    later(timedelta(minutes=15))
    with warehouse.session("loader") as cursor:
        assert requests.silent(cursor) == [(number, RUN)]
    looked(airflow, 15)
    assert (now(number)["state"], states(number)) == ("requested", ["planned"] * 3)
    assert "its run run_1 no longer exists in Airflow" in now(number)["note"]
    with warehouse.session("loader") as cursor:
        assert [run_id for run_id, _ in requests.waiting(cursor)] == [f"backfill_{number}_2"]


def test_one_whose_run_has_ended_is_stopped_and_reported(
    airflow: Callable[..., Any], of_airflow: Callable[[str, str], None], later: Later
) -> None:
    number = ask(3, 5, via="policy")
    left_by_a_lane(number)
    of_airflow(RUN, "failed")
    later(timedelta(minutes=15))
    looked(airflow, 15)
    assert (now(number)["state"], states(number)) == ("stopped", ["planned"] * 3)
    assert troubles() == [("backfill stopped", f"backfill {number} of daily_sales")]
    verb("resume", number)
    assert troubles() == []


def test_one_whose_run_still_exists_waits_for_it(
    airflow: Callable[..., Any], of_airflow: Callable[[str, str], None], later: Later
) -> None:
    number = ask(3, 5)
    left_by_a_lane(number)
    of_airflow(RUN, "running")
    later(timedelta(minutes=15))
    looked(airflow, 15)
    assert now(number)["state"] == "running"


def test_a_lane_that_lives_or_another_run_keeps_it(later: Later) -> None:
    number = ask(3, 5)
    left_by_a_lane(number)
    lane = Lane(number, begin(number, "run 2"))
    lane.take()
    later(timedelta(hours=3))
    with warehouse.session("loader") as cursor:
        assert requests.silent(cursor) == []
        requests.end_without_run(cursor, number, "run 2", is_known=False)
    lane.die()
    with warehouse.session("loader") as cursor:
        requests.end_without_run(cursor, number, RUN, is_known=False)
    assert now(number)["state"] == "running"


def test_a_cancelled_one_whose_lane_died_later_holds_no_window(later: Later) -> None:
    number = ask(5, 6)
    lane = Lane(number, begin(number, RUN))
    lane.take()
    verb("cancel", number)
    with pytest.raises(Exception, match=f"backfill {number} .cancelled. is to load 1 of these windows"):
        ask(5, 5)
    lane.die()
    assert (states(number), now(number)["planned"]) == (["cancelled"] * 2, 0)
    assert states(ask(5, 5)) == ["planned"]
    later(timedelta(minutes=15))
    with warehouse.session("loader") as cursor:
        requests.end_without_run(cursor, number, RUN, is_known=True)
    assert rows("SELECT DISTINCT state FROM control.backfill_windows WHERE backfill_id = %s", number) == [
        ("cancelled",)
    ]


def test_what_a_stopped_one_is_to_load_holds_up_no_other_window_of_a_gap(later: Later) -> None:
    from loading import land

    from highwater.airflow import catchup_control
    from highwater.store import ledger
    from highwater.store.ledger import Run

    for each in ("2026-10-01", "2026-10-02", "2026-10-30"):
        with ledger.attempt("daily_sales", day(each), "load", Run("historical_sales_migration", f"scheduled__{each}")):
            land(day(each))
    number = ask(3, 5)
    left_by_a_lane(number)
    later(timedelta(minutes=15))
    with warehouse.session("loader") as cursor:
        requests.end_without_run(cursor, number, RUN, is_known=True)
        (gap,) = catchup_control.gaps_to_fill(cursor)
        assert (gap.from_time.day, gap.to_time.day) == (6, 30)
        assert catchup_control.fill(cursor, gap)
