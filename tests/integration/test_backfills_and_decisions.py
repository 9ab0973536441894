"""What people decide while a backfill runs holds: rules, holds, rollbacks, pauses, cancels, other backfills."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from loading import OTHER_QUANTITY, day, land, stage
from test_backfill_lanes import SALES, Lane, ask, begin, change, now, rows, states, verb
from typer.testing import CliRunner

from highwater.airflow import catchup_control
from highwater.backfill import lanes, requests
from highwater.cli.main import app
from highwater.incidents import alerts
from highwater.model.errors import ConfigurationError
from highwater.store import ledger, publish, rollback, warehouse
from highwater.store.ledger import Run

pytestmark = pytest.mark.usefixtures("empty_warehouse")
Change = Callable[[str], int]
Later = Callable[[timedelta], None]
NAME = "2026-10-05"


@pytest.fixture(autouse=True)
def none_left(platform: Any) -> Iterator[None]:
    yield
    change("TRUNCATE control.backfills CASCADE")


@pytest.fixture
def rules(platform: Any) -> Iterator[None]:
    """What a test rules out is wanted again at its end."""
    yield
    change("DELETE FROM control.closed_days")
    change("UPDATE control.catchup_policies SET max_age = NULL, skip_weekdays = '{}' WHERE dataset = 'daily_sales'")


def became(number: int) -> list[tuple[int, str, str | None, str]]:
    found = rows(
        "SELECT extract(DAY FROM lower(window_range))::int, state, rule, reason FROM control.backfill_windows"
        " WHERE backfill_id = %s ORDER BY place",
        number,
    )
    return list(found)


def landing(monkeypatch: pytest.MonkeyPatch, after: Callable[[], object] = lambda: None) -> None:
    """A lane loads a window without its source being asked; then something else happens."""

    def load(_pipeline: Any, window: Any, run: Run) -> Any:
        landed = publish.publish_window("daily_sales", window, stage(window), run)
        after()
        return landed

    monkeypatch.setattr(lanes, "load", load)


class TestWhatIsRuledOutMeanwhile:
    def test_is_not_loaded_and_says_by_which_rule(self, rules: None, monkeypatch: pytest.MonkeyPatch) -> None:
        landing(monkeypatch)
        number = ask(1, 8)
        run = begin(number)
        change("INSERT INTO control.closed_days (day, dataset, reason) VALUES ('2026-10-05', 'daily_sales', 'purged')")
        change(
            "UPDATE control.catchup_policies SET max_age = '29 days', skip_weekdays = '{6}'"
            " WHERE dataset = 'daily_sales'"
        )
        with warehouse.session("loader") as cursor:
            cursor.execute("SELECT ops.skip_window('daily_sales', '[2026-10-07,2026-10-08)', 'lost', 'gone', 'd', 'r')")
        lanes.work(number, SALES, run)
        left_out = [(found[0], *found[2:]) for found in became(number) if found[1] == "skipped"]
        assert left_out == [
            (1, "max_age", "it ended more than 29 days ago"),
            (3, "skip_weekdays", "the policy skips Saturdays"),
            (5, "skip_closed_days", "2026-10-05 is closed: purged"),
            (7, "lost", "gone"),
        ]
        assert [found[0] for found in became(number) if found[1] == "landed"] == [2, 4, 6, 8]

    def test_is_loaded_where_the_request_named_it(self, rules: None, monkeypatch: pytest.MonkeyPatch) -> None:
        landing(monkeypatch)
        number = ask(5, 6, which="all", closed_days="load")
        run = begin(number)
        change("INSERT INTO control.closed_days (day, reason) VALUES ('2026-10-05', 'purged')")
        with warehouse.session("loader") as cursor:
            cursor.execute("SELECT ops.skip_window('daily_sales', '[2026-10-06,2026-10-07)', 'lost', 'gone', 'd', 'r')")
        lanes.work(number, SALES, run)
        assert states(number) == ["landed", "landed"]

    @pytest.mark.parametrize("asked", [{}, {"which": "all"}, {"closed_days": "load"}, {"which": "failed"}])
    def test_is_what_a_plan_made_now_would_leave_out(self, rules: None, asked: dict[str, str]) -> None:
        """The rules are asked in two places; they must not differ."""
        change("INSERT INTO control.closed_days (day, reason) VALUES ('2026-10-05', 'a'), ('2026-10-06', 'b')")
        change(
            "UPDATE control.catchup_policies SET max_age = '28 days', skip_weekdays = '{1,6}'"
            " WHERE dataset = 'daily_sales'"
        )
        with warehouse.session("loader") as cursor:
            cursor.execute("SELECT ops.skip_window('daily_sales', '[2026-10-07,2026-10-08)', 'lost', 'gone', 'd', 'r')")
        number = ask(1, 12, **asked)
        with warehouse.session("postgres") as cursor:
            cursor.execute(
                "SELECT extract(DAY FROM lower(w.window_range))::int, u.rule, u.reason"
                " FROM control.backfill_windows AS w"
                " INNER JOIN control.backfills AS b USING (backfill_id)"
                " CROSS JOIN LATERAL control.not_wanted_any_more(b, w.window_range) AS u"
                " WHERE b.backfill_id = %s AND u.rule IS NOT NULL ORDER BY w.place",
                (number,),
            )
            again = [tuple(row) for row in cursor.fetchall()]
        assert again == [
            (found[0], *found[2:]) for found in became(number) if found[1] == "skipped" and found[2] != "not failed"
        ]


class TestARollback:
    def test_of_a_window_that_is_on_its_way_is_no_failure(
        self, monkeypatch: pytest.MonkeyPatch, source_day: Change
    ) -> None:
        land(day(NAME), by="good")
        source_day(OTHER_QUANTITY)
        land(day(NAME), by="bad")
        number = ask(5, 5, which="all", on_failure="stop")

        def load(_pipeline: Any, window: Any, run: Run) -> Any:
            staged = stage(window)
            rollback.carry_out(rollback.plan("daily_sales", NAME), "ada", "it is worse")
            with ledger.attempt("daily_sales", window, "load", run):
                return publish.publish_window("daily_sales", window, staged, run)

        monkeypatch.setattr(lanes, "load", load)
        run = begin(number)
        lanes.work(number, SALES, run)
        ((_, state, rule, reason),) = became(number)
        assert (state, rule) == ("skipped", "held")
        assert "is held, rolled back to version 3 by ada" in reason and "scripts/highwater release" in reason
        alerts.look()
        assert rows("SELECT kind FROM ops.incidents WHERE kind IN ('load failed', 'backfill stopped')") == []

    def test_of_one_that_has_just_landed_leaves_the_lane_to_the_others(
        self, monkeypatch: pytest.MonkeyPatch, source_day: Change
    ) -> None:
        land(day(NAME), by="good")
        source_day(OTHER_QUANTITY)
        number = ask(5, 6, which="all")
        undone: list[rollback.Done] = []

        def once() -> None:
            if not undone:
                undone.append(rollback.carry_out(rollback.plan("daily_sales", NAME), "ada", "it is worse"))

        landing(monkeypatch, once)
        assert lanes.work(number, SALES, begin(number))
        assert states(number) == ["landed", "landed"]
        assert rows("SELECT version FROM control.backfill_windows ORDER BY place") == [(2,), (1,)]

    def test_one_that_was_taken_out_of_the_ledger_again_has_failed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        number = ask(5, 6)
        landing(
            monkeypatch,
            lambda: change(
                "DELETE FROM quarantine.rejected_rows;"
                " DELETE FROM ops.window_ledger WHERE window_range @> '2026-10-05'::timestamptz"
            ),
        )
        assert lanes.work(number, SALES, begin(number))
        assert states(number) == ["failed", "landed"]
        ((error,),) = rows("SELECT error FROM control.backfill_windows WHERE state = 'failed'")
        assert "has not landed at version 1: the ledger says otherwise" in error


def fail(number: int) -> None:
    window = day(f"2026-10-{number:02}")
    with (
        pytest.raises(ConfigurationError),
        ledger.attempt("daily_sales", window, "transform", Run("dag", f"s{number}")),
    ):
        raise ConfigurationError("a typo in clean.sql")


@pytest.fixture
def fixed(platform: Any, later: Later) -> Iterator[Callable[[], None]]:
    """Something of the dataset changes; what was stopped goes on."""

    def fix() -> None:
        change("UPDATE control.datasets SET max_lag = max_lag + '1 second' WHERE dataset = 'daily_sales'")
        later(timedelta(minutes=5))
        catchup_control.close_changed_breakers()

    before = rows("SELECT max_lag FROM control.datasets WHERE dataset = 'daily_sales'")[0][0]
    yield fix
    change("UPDATE control.datasets SET max_lag = %s WHERE dataset = 'daily_sales'", before)


class TestAStoppedDataset:
    def test_one_that_the_policy_paused_a_person_may_keep_paused(self, fixed: Callable[[], None]) -> None:
        number = ask(10, 12)
        lane = Lane(number, begin(number))
        for failed in (1, 2, 3):
            fail(failed)
        assert lane.take() == ("end", None)
        lane.die()
        assert rows("SELECT state, held_by FROM control.backfills") == [("paused", "policy")]
        done = CliRunner().invoke(app, ["backfill", "pause", str(number), "--by", "ada"])
        assert done.exit_code == 0, done.output
        fixed()
        with warehouse.session("loader") as cursor:
            assert requests.waiting(cursor) == []
        assert (now(number)["state"], now(number)["note"]) == ("paused", "paused by ada")
        with pytest.raises(ConfigurationError, match="only one that is requested or running can be paused"):
            verb("pause", number)

    def test_windows_that_another_backfill_has_by_then_are_left_to_it(self, fixed: Callable[[], None]) -> None:
        number = ask(1, 6)
        lane = Lane(number, begin(number))
        for failed in (1, 2, 3):
            lane.take()
            fail(failed)
            lane.say("failed", "a typo in clean.sql")
        assert lane.take() == ("end", None)
        lane.die()
        other = ask(1, 2)
        fixed()
        assert states(number) == ["failed", "failed", *["planned"] * 4]
        assert states(other) == ["planned"] * 2

    def test_what_a_person_cancelled_of_the_policys_is_not_asked_for_again(self, fixed: Callable[[], None]) -> None:
        number = ask(10, 19, via="policy")
        verb("cancel", number)
        for failed in (1, 2, 3):
            fail(failed)
        fixed()
        (resumed,) = catchup_control.close_changed_breakers()
        with warehouse.session("loader") as cursor:
            again = catchup_control.resume(cursor, resumed)
        assert again is not None
        found = became(again)
        assert [each[0] for each in found if each[1] == "planned"] == [*range(1, 10), *range(20, 31)]
        assert {each[1:] for each in found if each[1] == "skipped"} == {
            ("skipped", "cancelled", f"backfill {number} was cancelled by someone")
        }
        # A person may.
        verb("cancel", again)
        assert states(ask(10, 10)) == ["planned"]
