"""The circuit breaker: one typo does not burn a month, one incident says why, and what was not tried comes back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from batches import window as batch
from loading import day, land
from psycopg2.extensions import cursor as Cursor
from typer.testing import CliRunner

from highwater.airflow import catchup_control
from highwater.backfill import lanes, requests
from highwater.backfill.requests import Request
from highwater.cli.main import app
from highwater.environment import settings
from highwater.incidents import alerts
from highwater.loading.stages import Pipeline
from highwater.model.errors import AuditFailed, ConfigurationError, DataRejected, HighwaterError, SourceUnavailable
from highwater.model.windows import Window
from highwater.sources import sources
from highwater.store import breakers, ledger, links, warehouse
from highwater.store.ledger import Run
from highwater.store.publish import Landed

pytestmark = pytest.mark.usefixtures("empty_warehouse")
SALES = Pipeline("daily_sales", "historical_sales_migration", "legacy", "daily_sales")
TYPO = "SQL file sql/historical_sales_migration/clean.sql is missing"


def rows(query: str) -> list[tuple[Any, ...]]:
    with warehouse.session("analyst") as cursor:
        cursor.execute(query)
        return [tuple(row) for row in cursor.fetchall()]


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of ``sql/`` that a test may change."""
    copy = Path(shutil.copytree(warehouse.SQL, tmp_path / "sql"))
    monkeypatch.setattr(warehouse, "SQL", copy)
    return copy / SALES.folder


@pytest.fixture(autouse=True)
def no_backfills(platform: Path) -> Iterator[None]:
    yield
    with warehouse.session("postgres") as cursor:
        cursor.execute("TRUNCATE control.backfills CASCADE")


def fail(number: int, error: HighwaterError, stage: str = "transform", dataset: str = "daily_sales") -> None:
    """A window of October fails for good."""
    window = day(f"2026-10-{number:02}")
    with pytest.raises(type(error)), ledger.attempt(dataset, window, stage, Run("dag", f"scheduled__{number}")):
        raise error


def test_a_dataset_is_stopped_after_three_windows_failed_in_a_row_for_one_reason(statements: Path) -> None:
    for number in (1, 2):
        fail(number, ConfigurationError(f"{TYPO} ({number} looked for it)"))
        assert breakers.stopped("daily_sales") is None
    fail(3, ConfigurationError(f"{TYPO} (3 looked for it)"))
    assert breakers.stopped("daily_sales") == (
        "daily_sales is stopped since 2026-10-31 12:00 UTC: 3 windows failed in a row, configuration in transform:"
        f" {TYPO} (3 looked for it); it resumes automatically once that is fixed"
    )
    assert breakers.stopped("payments") is None


@pytest.mark.parametrize(
    "errors",
    [
        pytest.param([ConfigurationError(TYPO), DataRejected("x"), ConfigurationError(TYPO)], id="two reasons"),
        pytest.param([SourceUnavailable("away", "legacy")] * 3, id="trying again may help"),
        pytest.param([DataRejected("stale attempt: x")] * 3, id="another session was faster"),
        pytest.param([ConfigurationError(TYPO)] * 2, id="two are no row"),
    ],
)
def test_what_does_not_stop_it(errors: list[HighwaterError]) -> None:
    for number, error in enumerate(errors, 1):
        fail(number, error)
    assert breakers.stopped("daily_sales") is None


def test_one_window_that_fails_again_and_again_is_one_and_a_load_between_restarts_the_count() -> None:
    for _ in range(4):
        fail(1, ConfigurationError(TYPO))
    fail(2, ConfigurationError(TYPO))
    with ledger.attempt("daily_sales", day("2026-10-09"), "load", Run("dag", "scheduled__9")):
        land(day("2026-10-09"))
    fail(3, ConfigurationError(TYPO))
    assert breakers.stopped("daily_sales") is None


def stop(error: HighwaterError | None = None, dataset: str = "daily_sales") -> None:
    for number in (1, 2, 3):
        fail(number, error or ConfigurationError(TYPO), dataset=dataset)
    assert breakers.stopped(dataset) is not None


CHANGES: dict[str, str] = {
    "its row": "UPDATE control.datasets SET max_lag = max_lag + '1 second' WHERE dataset = 'daily_sales'",
    "its table": "ALTER TABLE sales.daily_sales ADD COLUMN note text",
    "what a person accepted": (
        "INSERT INTO control.accepted_reloads (dataset, window_range, accepted_by, reason, accepted_at)"
        " VALUES ('daily_sales', '[2026-10-05, 2026-10-06)', 'ada', 'why', now())"
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_goes_on_once_something_in_the_warehouse_changed(admin: Cursor, change: str) -> None:
    stop()
    admin.execute(CHANGES[change])
    admin.connection.commit()
    try:
        assert breakers.stopped("daily_sales") is None
    finally:
        admin.execute(
            "ALTER TABLE sales.daily_sales DROP COLUMN IF EXISTS note; TRUNCATE control.accepted_reloads;"
            " UPDATE control.datasets SET max_lag = max_lag - '1 second'"
            f" WHERE dataset = 'daily_sales' AND {change == 'its row'}"
        )
        admin.connection.commit()


def test_it_goes_on_once_a_setting_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    stop()
    for name, goes_on in {"HIGHWATER_UI_PORT": False, "HIGHWATER_RECOVERY_BATCH": True}.items():
        monkeypatch.setenv(name, "77")
        settings.get.cache_clear()
        try:
            assert (breakers.stopped("daily_sales") is None) == goes_on, name
        finally:
            monkeypatch.undo()
            settings.get.cache_clear()


def test_it_goes_on_once_a_connection_changed_of_which_no_secret_is_kept(
    airflow: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"host": "till", "password": "old"}
    monkeypatch.setattr(links, "of_airflow", lambda source: links.of_fields(source, fields))
    stop(ConfigurationError("connection 'legacy' is refused: invalid sslmode", "legacy"))
    fields["password"] = "new"
    assert breakers.stopped("daily_sales") is not None
    fields["host"] = "other"
    assert breakers.stopped("daily_sales") is None


def test_what_failed_as_a_source_was_asked_may_be_fixed_there(
    monkeypatch: pytest.MonkeyPatch, later: Callable[[timedelta], None]
) -> None:
    monkeypatch.setattr(links, "of_airflow", lambda source: links.of_fields(source, {}))
    monkeypatch.setattr(links.Known, "open", lambda _known: warehouse.connect("analyst"))
    with pytest.raises(ConfigurationError) as raised, sources.snapshot("legacy") as source:
        source.execute("SELECT nothing FROM pg_class")
    assert (raised.value.source, "does not fit source 'legacy'" in str(raised.value)) == ("legacy", True)
    stop(ConfigurationError("a statement does not fit source 'legacy': no column", "legacy"))
    later(timedelta(minutes=59))
    assert breakers.stopped("daily_sales") is not None
    later(timedelta(hours=1))
    assert breakers.stopped("daily_sales") is None


def test_it_goes_on_once_a_file_changed_and_what_was_not_tried_and_what_failed_comes_back(statements: Path) -> None:
    stop()
    alerts.look()
    assert ("dataset stopped", "daily_sales") in rows("SELECT kind, subject FROM ops.incidents WHERE closed_at IS NULL")
    assert catchup_control.close_changed_breakers() == []
    (statements / "clean.sql").write_text((statements / "clean.sql").read_text() + "-- fixed\n")
    (resumed,) = catchup_control.close_changed_breakers()
    assert (resumed.dataset, resumed.from_time, resumed.to_time) == (
        "daily_sales",
        datetime(2026, 10, 1, tzinfo=UTC),
        datetime(2026, 10, 31, tzinfo=UTC),
    )
    with warehouse.session("loader") as cursor:
        assert catchup_control.resume(cursor, resumed) is not None
    assert catchup_control.close_changed_breakers() == []
    assert rows("SELECT count(*) FROM control.backfill_windows WHERE action = 'load'") == [(30,)]
    alerts.look()
    assert ("dataset stopped",) not in rows("SELECT kind FROM ops.incidents WHERE closed_at IS NULL")


def test_what_stopped_it_and_what_failed_is_said_with_the_incident_and_not_to_addresses(statements: Path) -> None:
    def reasons() -> dict[str, str | None]:
        alerts.look()
        with warehouse.session("analyst") as cursor:
            return {each.kind: each.reason for each in alerts.open_incidents(cursor)}

    fail(1, ConfigurationError(TYPO))
    assert reasons()["load failed"] == f"{TYPO}"
    stop()
    assert "load failed" not in reasons()
    assert str(reasons()["dataset stopped"]).endswith(f"configuration in transform: {TYPO}")
    shown = CliRunner().invoke(app, ["incidents", "list"], env={"COLUMNS": "240"}).output
    assert f"3 windows failed in a row, configuration in transform: {TYPO}" in shown
    assert rows(f"SELECT count(*) FROM ops.alerts WHERE title || body LIKE '%{TYPO}%'") == [(0,)]


def test_nothing_is_asked_for_where_all_has_landed_and_else_no_more_than_is_to_come_back(statements: Path) -> None:
    stop()
    (statements / "clean.sql").write_text((statements / "clean.sql").read_text() + "-- fixed\n")
    (resumed,) = catchup_control.close_changed_breakers()
    for number in range(3, 31):
        land(day(f"2026-10-{number:02}"))
    with warehouse.session("loader") as cursor:
        assert catchup_control.resume(cursor, resumed) is not None
    assert rows("SELECT upper(window_range) FROM control.backfill_windows ORDER BY 1") == [
        (datetime(2026, 10, 2, tzinfo=UTC),),
        (datetime(2026, 10, 3, tzinfo=UTC),),
    ]
    with warehouse.session("postgres") as cursor:
        cursor.execute("TRUNCATE control.backfills CASCADE")
        cursor.execute("UPDATE ops.breakers SET resumed_at = NULL")
    for number in (1, 2):
        land(day(f"2026-10-{number:02}"))
    with warehouse.session("loader") as cursor:
        assert catchup_control.resume(cursor, resumed) is None
    assert rows("SELECT count(*) FROM control.backfills") == [(0,)]
    assert catchup_control.close_changed_breakers() == []


def test_it_goes_on_once_a_window_was_loaded_by_hand() -> None:
    stop()
    with ledger.attempt("daily_sales", day("2026-10-09"), "load", Run("dag", "manual__9")):
        land(day("2026-10-09"))
    assert breakers.stopped("daily_sales") is None


@pytest.mark.parametrize("error", [AuditFailed("it is not published: 1 failed"), ConfigurationError("no column qty")])
def test_one_window_is_let_through_an_hour_for_what_is_fixed_where_nobody_sees_it(
    statements: Path, later: Callable[[timedelta], None], error: HighwaterError
) -> None:
    stop(error)
    for hour in (0, 1):
        later(timedelta(hours=hour, minutes=59))
        assert breakers.stopped("daily_sales") is not None
        later(timedelta(hours=hour + 1))
        assert breakers.stopped("daily_sales") is None
        assert breakers.stopped("daily_sales") is not None
    later(timedelta(minutes=-5))
    assert breakers.stopped("daily_sales") is None, "a clock that was put back holds up none"


def look_after(later: Callable[[timedelta], None], minute: int) -> None:
    """What catchup_control, incident_watch and a lane of a backfill do in five minutes."""
    later(timedelta(minutes=minute))
    for resumed in catchup_control.close_changed_breakers():
        with warehouse.session("loader") as cursor:
            catchup_control.resume(cursor, resumed)
    with warehouse.session("loader") as cursor:
        for wanted in catchup_control.windows_to_try(cursor):
            requests.request(cursor, wanted)
    alerts.look()
    with warehouse.session("loader") as cursor:
        waiting = requests.waiting(cursor)
    for run_id, conf in waiting:
        number = conf["backfill_id"]
        with warehouse.session("loader") as cursor:
            cursor.execute("SELECT control.begin_backfill(%s, %s)", (number, run_id))
        lanes.work(number, SALES, Run("selective_backfill", run_id))
        with warehouse.session("loader") as cursor:
            cursor.execute("SELECT control.end_backfill(%s, %s)", (number, run_id))
    alerts.look()


@pytest.mark.slow
def test_while_the_tries_fail_one_incident_stays_open_and_one_that_lands_ends_it(
    airflow: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, later: Callable[[timedelta], None]
) -> None:
    load, fixed = lanes.load, False

    def load_unless(pipeline: Pipeline, window: Window, run: Run) -> Landed:
        if fixed:
            return load(pipeline, window, run)
        with ledger.attempt("daily_sales", window, "audit", run):
            raise AuditFailed("it is not published: 1 of 19 failed")

    monkeypatch.setattr(lanes, "load", load_unless)
    stop(AuditFailed("it is not published: 1 of 19 failed"))
    for minute in range(5, 4 * 60, 5):
        look_after(later, minute)
    assert rows("SELECT count(*) FROM ops.incidents WHERE kind = 'dataset stopped'") == [(1,)]
    events = "SELECT event FROM ops.alerts INNER JOIN ops.incidents USING (incident_id) WHERE kind = 'dataset stopped'"
    assert rows(f"{events} ORDER BY alert_no") == [("opened",), ("escalated",)]
    assert rows("SELECT count(*) FROM ops.attempts WHERE stage = 'audit'") == [(3,)], "one an hour"
    assert rows("SELECT count(*) FROM control.backfills") == [(1,)]
    fixed = True
    for minute in range(4 * 60, 5 * 60, 5):
        look_after(later, minute)
    assert rows("SELECT event FROM ops.alerts WHERE event = 'closed' AND title LIKE '%dataset stopped%'") == [
        ("closed",)
    ]
    assert rows("SELECT count(*) FROM ops.window_ledger") == [(30,)]


def test_what_is_fixed_while_the_last_try_is_under_way_has_changed_since(statements: Path) -> None:
    clean = statements / "clean.sql"
    good = clean.read_text()
    clean.write_text(good + "-- a typo")
    for number in (1, 2):
        fail(number, ConfigurationError(TYPO))
    with (
        pytest.raises(ConfigurationError),
        ledger.attempt("daily_sales", day("2026-10-03"), "transform", Run("dag", "scheduled__3")),
    ):
        clean.write_text(good)
        raise ConfigurationError(TYPO)
    assert breakers.stopped("daily_sales") is None


def test_an_editors_file_and_one_that_cannot_be_read_change_nothing(statements: Path) -> None:
    (statements / "aside.sql").symlink_to(statements / "nowhere.sql")
    stop()
    (statements / ".#clean.sql").symlink_to("ada@host.4711:1")
    assert breakers.stopped("daily_sales") is not None


def test_runs_that_landed_changes_between_end_a_row_too(later: Callable[[timedelta], None]) -> None:
    def run(stage: str, hour: int, error: HighwaterError | None = None) -> None:
        start = datetime(2026, 10, 1, tzinfo=UTC) + timedelta(hours=hour)
        window = Window(start, start + timedelta(hours=1))
        try:
            with ledger.attempt("orders", window, stage, Run("incremental_data_processing", f"scheduled__{hour}")):
                if error:
                    raise error
        except HighwaterError as raised:
            assert raised is error

    for hour in (1, 200, 400):
        run("identify_changes", hour, ConfigurationError("column x is missing at the source"))
        for stage in ("identify_changes", "process_changes", "update_checkpoint", "validate_consistency"):
            run(stage, hour + 1)
    assert breakers.stopped("orders") is None
    later(timedelta(minutes=1))
    for hour in (402, 403, 404):
        run("identify_changes", hour, ConfigurationError("column x is missing at the source"))
    assert breakers.stopped("orders") is not None
    run("update_checkpoint", 405)
    assert breakers.stopped("orders") is None


@pytest.fixture
def few_payments(platform: Path, admin: Cursor) -> Iterator[None]:
    """The recovery has four windows to load, not twelve."""

    def begin(moment: str) -> None:
        admin.execute(
            "TRUNCATE ops.window_ledger CASCADE;"
            " UPDATE control.datasets SET first_window = %s WHERE dag_id = 'system_recovery_processing'",
            (moment,),
        )
        admin.connection.commit()

    begin("2026-10-30 12:00+00")
    yield
    begin("2026-10-28 00:00+00")


def test_a_recovery_that_a_person_starts_tries_its_windows_whatever_is_stopped(
    airflow: Callable[..., Any], few_payments: None
) -> None:
    for number in (10, 11, 12):
        with (
            pytest.raises(ConfigurationError),
            ledger.attempt(
                "payments", batch(number), "transform", Run("system_recovery_processing", f"scheduled__{number}")
            ),
        ):
            raise ConfigurationError("no column qty")
    assert breakers.stopped("payments") is not None
    airflow("system_recovery_processing", batch(11).start + timedelta(minutes=15))
    ((tried,),) = rows("SELECT count(*) FROM ops.attempts WHERE dataset = 'payments' AND run_id !~ '^scheduled'")
    assert tried > 0


def test_a_backfill_is_paused_when_its_dataset_is_stopped_and_goes_on_with_it(
    airflow: Callable[..., Any], statements: Path
) -> None:
    clean = (statements / "clean.sql").read_text()
    with warehouse.session("operator") as cursor:
        wanted = Request(
            "daily_sales", day("2026-10-01").start, day("2026-10-08").end, reason="why", requested_by="ada"
        )
        number = requests.request(cursor, wanted)
    with warehouse.session("loader") as cursor:
        cursor.execute("SELECT control.begin_backfill(%s, 'a run')", (number,))
    (statements / "clean.sql").write_text(clean.replace("FROM copies AS c;", "FROM nowhere AS c;"))
    lanes.work(number, SALES, Run("selective_backfill", "a run"))
    assert rows("SELECT state, count(*) FROM control.backfill_windows GROUP BY 1 ORDER BY 1") == [
        ("failed", 3),
        ("planned", 5),
    ]
    ((state, note),) = rows("SELECT state, note FROM control.backfills")
    assert (state, note.startswith("paused: daily_sales is stopped since")) == ("paused", True)
    with warehouse.session("loader") as cursor:
        assert requests.waiting(cursor) == []
    (statements / "clean.sql").write_text(clean)
    catchup_control.close_changed_breakers()
    assert rows("SELECT state, count(*) FROM control.backfill_windows GROUP BY 1") == [("planned", 8)]
    with warehouse.session("loader") as cursor:
        assert len(requests.waiting(cursor)) == 1
        cursor.execute("SELECT control.begin_backfill(%s, 'another run')", (number,))
    lanes.work(number, SALES, Run("selective_backfill", "another run"))
    assert rows("SELECT state, count(*) FROM control.backfill_windows GROUP BY 1") == [("landed", 8)]


@pytest.fixture
def nobody_asked(airflow: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of this test are as the schedule makes them."""
    from highwater.airflow import tasks

    monkeypatch.setattr(tasks, "AUTOMATIC", {"scheduled", "manual"})


def test_a_scheduled_run_of_a_stopped_dataset_ends_at_once_and_leaves_its_window_to_come(
    airflow: Callable[..., Any], nobody_asked: None
) -> None:
    stop()
    done = airflow("historical_sales_migration", datetime(2026, 10, 5, 2, tzinfo=UTC))
    assert str(done.state) == "success"
    assert rows("SELECT count(*) FROM ops.attempts WHERE lower(window_range) = '2026-10-05'") == [(0,)]
    assert rows("SELECT state FROM ops.window_status WHERE window_start = '2026-10-05'") == [("missing",)]


def test_a_stopped_dataset_that_is_loaded_by_its_changes_ends_its_runs_at_once(
    airflow: Callable[..., Any], nobody_asked: None, small_shop: object, later: Callable[[timedelta], None]
) -> None:
    """And a merge between two failures restarts the count, as a load does."""
    hour = datetime(2026, 10, 31, 10, tzinfo=UTC)
    for number in (1, 2):
        fail(number, ConfigurationError(TYPO), dataset="orders")
    assert str(airflow("incremental_data_processing", hour).state) == "success"
    fail(3, ConfigurationError(TYPO), dataset="orders")
    assert breakers.stopped("orders") is None
    later(timedelta(minutes=1))
    stop(dataset="orders")
    before = rows("SELECT count(*) FROM ops.attempts")
    done = airflow("incremental_data_processing", hour + timedelta(hours=1))
    assert {str(ti.state) for ti in done.get_task_instances() if ti.task_id != "determine_mode"} == {"skipped"}
    assert rows("SELECT count(*) FROM ops.attempts") == before


def test_of_a_stopped_dataset_that_is_brought_together_no_day_is_made(
    airflow: Callable[..., Any], nobody_asked: None, three_sources: None, later: Callable[[timedelta], None]
) -> None:
    """But for one run an hour, to see whether it is fixed."""
    stop(dataset="channel_sales")
    airflow("multi_source_sync", datetime(2026, 10, 30, tzinfo=UTC))
    assert rows("SELECT DISTINCT dataset FROM ops.window_ledger ORDER BY 1") == [
        ("partner_sales",),
        ("store_sales",),
        ("supplier_settlements",),
    ]
    later(timedelta(hours=1))
    airflow("multi_source_sync", datetime(2026, 10, 30, tzinfo=UTC))
    assert ("channel_sales",) in rows("SELECT DISTINCT dataset FROM ops.window_ledger")


def test_a_dag_that_is_there_before_its_dataset_waits_visibly_and_its_windows_come_once_it_is(
    airflow: Callable[..., Any], nobody_asked: None, admin: Cursor
) -> None:
    admin.execute("CREATE TEMPORARY TABLE kept AS SELECT * FROM control.datasets WHERE dataset = 'daily_sales'")
    admin.execute(
        "CREATE TEMPORARY TABLE wanted AS SELECT * FROM control.catchup_policies WHERE dataset = 'daily_sales'"
    )
    admin.execute("DELETE FROM control.datasets WHERE dataset = 'daily_sales'")
    admin.connection.commit()
    try:
        for number in (6, 5):
            done = airflow("historical_sales_migration", datetime(2026, 10, number, 2, tzinfo=UTC))
            assert str(done.state) == "success"
        alerts.look()
        assert rows("SELECT kind, subject FROM ops.incidents WHERE subject = 'daily_sales'") == [
            ("dataset stopped", "daily_sales")
        ]
        assert catchup_control.close_changed_breakers() == []
    finally:
        admin.execute("INSERT INTO control.datasets SELECT * FROM kept")
        admin.execute("DELETE FROM control.catchup_policies WHERE dataset = 'daily_sales'")
        admin.execute("INSERT INTO control.catchup_policies SELECT * FROM wanted")
        admin.connection.commit()
    (resumed,) = catchup_control.close_changed_breakers()
    assert (resumed.dataset, resumed.from_time) == ("daily_sales", datetime(2026, 10, 5, tzinfo=UTC))
    with warehouse.session("loader") as cursor:
        assert catchup_control.resume(cursor, resumed) is not None
    alerts.look()
    assert rows("SELECT closed_at IS NULL FROM ops.incidents WHERE subject = 'daily_sales'") == [(False,)]


def test_a_wrong_name_is_over_once_a_person_says_so_until_another_run_waits_for_it(
    later: Callable[[timedelta], None],
) -> None:
    def waits(day_of_run: int) -> None:
        with warehouse.session("loader") as cursor:
            breakers.wait_for_registration(
                cursor, "dayly_sales", "historical_sales_migration", datetime(2026, 10, day_of_run, 2, tzinfo=UTC)
            )
        alerts.look()

    open_ones = "SELECT subject FROM ops.incidents WHERE kind = 'dataset stopped' AND closed_at IS NULL"
    waits(5)
    assert rows(open_ones) == [("dayly_sales",)]
    later(timedelta(minutes=1))
    with warehouse.session("operator") as cursor:
        cursor.execute("SELECT ops.acknowledge_incident(max(incident_id), 'ada', 'fixed') FROM ops.incidents")
    alerts.look()
    assert rows(open_ones) == []
    later(timedelta(minutes=2))
    waits(6)
    assert rows(open_ones) == [("dayly_sales",)]


@pytest.mark.parametrize("name", ["Flights", "a_dataset_with_a_name_of_more_than_thirty"])
def test_a_name_that_no_dataset_can_have_is_final(name: str) -> None:
    with (
        pytest.raises(ConfigurationError, match=f"invalid dataset '{name}' of flights: expected"),
        warehouse.session("loader") as cursor,
    ):
        breakers.wait_for_registration(cursor, name, "flights", datetime(2026, 10, 5, tzinfo=UTC))
    assert rows("SELECT dataset FROM ops.breakers") == []


def test_a_dag_by_watermark_waits_for_its_row_too(
    airflow: Callable[..., Any], nobody_asked: None, admin: Cursor
) -> None:
    admin.execute(
        "CREATE TEMPORARY TABLE rules AS SELECT * FROM control.sources WHERE dataset = 'orders';"
        "CREATE TEMPORARY TABLE wanted AS SELECT * FROM control.catchup_policies WHERE dataset = 'orders';"
        "CREATE TEMPORARY TABLE kept AS SELECT * FROM control.datasets WHERE dataset = 'orders';"
        " DELETE FROM control.sources WHERE dataset = 'orders'; DELETE FROM control.datasets WHERE dataset = 'orders'"
    )
    admin.connection.commit()
    try:
        done = airflow("incremental_data_processing", datetime(2026, 10, 31, 10, tzinfo=UTC))
        assert str(done.state) == "success"
        assert rows("SELECT dataset, error_kind FROM ops.breakers") == [("orders", "not registered")]
    finally:
        admin.execute(
            "INSERT INTO control.datasets SELECT * FROM kept;"
            " DELETE FROM control.catchup_policies WHERE dataset = 'orders';"
            " INSERT INTO control.catchup_policies SELECT * FROM wanted;"
            " INSERT INTO control.sources SELECT * FROM rules"
        )
        admin.connection.commit()
