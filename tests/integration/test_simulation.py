"""The simulated till system: the same rows for the same seed, the defects that were promised, days that close."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor
from rows import one

from highwater.environment import settings
from highwater.model.errors import Busy, ConfigurationError
from highwater.store import warehouse
from simulation import sales as simulation_sales

DAY = date(2024, 2, 29)
NOON = datetime(2024, 3, 10, 12, tzinfo=UTC)

ROWS = "legacy.rows_of_day(%(day)s, %(rows)s, %(seed)s)"
CHECKSUM = (
    "SELECT sum(hash_record_extended(s, 0)) AS hashes,"
    f" md5(string_agg(s::text, '|' ORDER BY s::text COLLATE \"C\")) AS digest FROM {ROWS} AS s"
)
GOLDEN = (-1098317383484706622244, "b6e643dfc27f3a82cea9e9f2de395634")
"""Ten thousand rows of ``DAY`` with seed 7; the same on Postgres 17 and 18."""

KINDS = {
    "null key": "sale_id IS NULL",
    "negative quantity": "quantity < 0",
    "unknown currency": "upper(currency) NOT IN ('EUR', 'USD', 'GBP', 'CHF')",
    "sold in the future": "sold_at > business_date + 3660",
    "sold the day before": "sold_at::date = business_date - 1",
    "discount above amount": "quantity > 0 AND discount > quantity * unit_price",
    "untidy store": "store_code <> upper(trim(store_code))",
    "untidy currency": "currency <> upper(trim(currency))",
    "untidy payment": "payment_method <> lower(trim(payment_method))",
}
"""What each defect looks like to someone who only sees the rows; the two that need a second row are counted apart."""


@pytest.fixture
def world(platform: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A history of its own: five days before 2024-03-10, 60 rows each, the third closing after 90 seconds."""
    for name, value in {
        "HIGHWATER_ANCHOR": "2024-03-10",
        "HIGHWATER_HISTORY_DAYS": "5",
        "SIMULATION_ROWS_PER_DAY": "60",
        "SIMULATION_LATE_CLOSE_SECONDS": "90",
    }.items():
        monkeypatch.setenv(name, value)
    settings.get.cache_clear()
    yield platform
    with warehouse.session("simulator", "sources") as cursor:
        cursor.execute("DELETE FROM legacy.closed_days WHERE business_date < '2025-01-01' RETURNING business_date")
        for (day,) in cursor.fetchall():
            cursor.execute(f"DROP TABLE legacy.sales_{day:%Y%m%d}")
    monkeypatch.undo()
    settings.get.cache_clear()


def days(first: str, count: int) -> list[date]:
    return [date.fromisoformat(first) + timedelta(days=n) for n in range(count)]


def test_the_same_seed_gives_the_same_bytes(simulator: Cursor) -> None:
    simulator.execute(CHECKSUM, {"day": DAY, "rows": 10_000, "seed": 7})
    assert tuple(one(simulator)) == GOLDEN


@pytest.mark.parametrize("other", [{"seed": 8}, {"day": date(2024, 3, 1)}])
def test_another_seed_or_day_gives_other_sales(simulator: Cursor, other: dict[str, object]) -> None:
    here = {"day": DAY, "rows": 1000, "seed": 7}
    simulator.execute(f"SELECT store_code, product_code, sold_at::time AS clock FROM {ROWS} ORDER BY sale_id", here)
    sales = simulator.fetchall()
    simulator.execute(
        f"SELECT store_code, product_code, sold_at::time AS clock FROM {ROWS} ORDER BY sale_id", here | other
    )
    same = sum(a == b for a, b in zip(sales, simulator.fetchall(), strict=True))
    assert same == 0


def test_keys_are_unique_across_days(simulator: Cursor) -> None:
    simulator.execute(
        "SELECT count(DISTINCT sale_id) AS keys, count(*) AS rows"
        " FROM generate_series('2024-02-01'::timestamp, '2024-02-29', '1 day') AS d, legacy.rows_of_day(d::date, 3, 7)"
    )
    assert tuple(one(simulator)) == (87, 87)


@pytest.mark.parametrize("rows", [0, 1, 16, 17, 50, 3012, 3013, 20_000])
def test_a_day_holds_exactly_the_defects_that_arithmetic_says(simulator: Cursor, rows: int) -> None:
    counts = ", ".join(f"count(*) FILTER (WHERE {condition})" for condition in KINDS.values())
    simulator.execute(f"SELECT ARRAY[{counts}] FROM {ROWS}", {"day": DAY, "rows": rows, "seed": 7})
    seen = dict(zip(KINDS, one(simulator)[0], strict=True))
    simulator.execute(
        f"WITH sales AS (SELECT s, s.sale_id FROM {ROWS} AS s),"
        " claims AS (SELECT count(*) AS copies, count(DISTINCT s) AS contents FROM sales WHERE sale_id IS NOT NULL"
        " GROUP BY sale_id HAVING count(*) > 1)"
        " SELECT count(*) FILTER (WHERE contents = 1 AND copies = 2) AS copied,"
        " count(*) FILTER (WHERE contents = 2 AND copies = 2) AS contested, count(*) AS claimed_twice FROM claims",
        {"day": DAY, "rows": rows, "seed": 7},
    )
    copied, contested, claimed_twice = one(simulator)
    assert claimed_twice == copied + contested
    assert seen | {"duplicate": copied, "conflicting duplicate": contested} == simulation_sales.planted(rows)


def test_no_row_has_two_defects(simulator: Cursor) -> None:
    faults = " + ".join(f"coalesce({condition}, false)::integer" for condition in KINDS.values())
    simulator.execute(f"SELECT max({faults}) FROM {ROWS}", {"day": DAY, "rows": 20_000, "seed": 7})
    assert one(simulator)[0] == 1
    assert len(set(simulation_sales.SLOTS.values())) == len(simulation_sales.SLOTS)


def test_a_quarter_percent_must_be_refused() -> None:
    assert 0.002 < simulation_sales.refused(20_000) / 20_000 < 0.003
    assert simulation_sales.refused(17) == 4


def test_sales_look_like_those_of_a_till_system(simulator: Cursor) -> None:
    simulator.execute(
        "SELECT count(DISTINCT upper(trim(store_code))) AS stores, count(DISTINCT product_code) AS products,"
        " count(DISTINCT (product_code, unit_price)) AS prices,"
        " count(DISTINCT lower(trim(payment_method))) AS payments,"
        " min(till_no) AS first_till, max(till_no) AS last_till,"
        " avg((customer_id IS NULL)::integer) AS anonymous, avg((discount > 0)::integer) AS reduced,"
        f" avg((currency = 'EUR')::integer) AS euros FROM {ROWS}",
        {"day": DAY, "rows": 20_000, "seed": 7},
    )
    seen = one(simulator)
    assert (seen.stores, seen.products, seen.prices, seen.payments) == (40, 500, 500, 4)
    assert (seen.first_till, seen.last_till) == (1, 8)
    assert 0.23 < seen.anonymous < 0.27
    assert 0.1 < seen.reduced < 0.2
    assert 0.7 < seen.euros < 0.85


@pytest.mark.parametrize(("day", "after_work"), [(DAY, True), (date(2024, 3, 2), False)])
def test_weekdays_are_busy_after_work_and_weekends_are_not(simulator: Cursor, day: date, after_work: bool) -> None:
    simulator.execute(
        "SELECT avg((extract(hour FROM sold_at) BETWEEN 17 AND 18)::integer) AS after_work,"
        f" min(sold_at::time) AS opening, max(sold_at::time) AS closing FROM {ROWS}",
        {"day": day, "rows": 20_000, "seed": 7},
    )
    seen = one(simulator)
    assert (seen.after_work > 0.2) is after_work
    assert (seen.opening.hour, seen.closing.hour) == (8, 19)


def test_advance_makes_the_missing_days_and_counts_them(world: Path, legacy_reader: Cursor) -> None:
    progress: dict[date, int] = {}
    assert simulation_sales.advance(NOON, progress.__setitem__) == days("2024-03-05", 5)
    assert progress == dict.fromkeys(days("2024-03-05", 5), 60)
    assert simulation_sales.advance(NOON) == []
    assert simulation_sales.advance(NOON + timedelta(days=2)) == days("2024-03-10", 2)
    legacy_reader.execute(
        "SELECT business_date, row_count, count(receipt_no) AS held"
        " FROM legacy.closed_days LEFT JOIN legacy.sales USING (business_date)"
        " WHERE business_date < '2025-01-01' GROUP BY business_date, row_count ORDER BY business_date"
    )
    assert [tuple(row) for row in legacy_reader.fetchall()] == [(day, 60, 60) for day in days("2024-03-05", 7)]


def test_a_day_that_is_there_is_left_alone(world: Path, simulator: Cursor) -> None:
    simulation_sales.advance(NOON)
    simulator.execute("DELETE FROM legacy.sales WHERE business_date = '2024-03-06'")
    simulator.connection.commit()
    assert simulation_sales.advance(NOON) == []
    simulator.execute("SELECT count(*) FROM legacy.sales WHERE business_date = '2024-03-06'")
    assert one(simulator)[0] == 0


def test_days_close_at_one_in_the_night_but_the_third_later(world: Path, simulator: Cursor) -> None:
    simulation_sales.advance(NOON)
    simulator.execute("SELECT business_date, closed_at FROM legacy.closed_days WHERE business_date < '2025-01-01'")
    closed = dict(simulator.fetchall())
    assert simulation_sales.late_day() == date(2024, 3, 7)
    assert closed.pop(date(2024, 3, 7)) == NOON + timedelta(seconds=90)
    assert closed == {day: datetime(day.year, day.month, day.day + 1, 1, tzinfo=UTC) for day in closed}


def test_a_short_history_has_no_late_day(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIGHWATER_HISTORY_DAYS", "2")
    settings.get.cache_clear()
    assert simulation_sales.late_day() is None


def test_two_at_once_make_each_day_once(world: Path) -> None:
    made: list[list[date]] = []
    both = [threading.Thread(target=lambda: made.append(simulation_sales.advance(NOON))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert sorted(made[0] + made[1]) == days("2024-03-05", 5)


def test_waiting_too_long_names_the_day(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIGHWATER_HISTORY_DAYS", "1")
    settings.get.cache_clear()
    plain: Callable[..., object] = psycopg2.connect

    def impatient(options: str, **rest: object) -> object:
        return plain(options=f"{options} -c lock_timeout=50ms", **rest)

    with ExitStack() as stack:
        cursor = stack.enter_context(warehouse.session("simulator", "sources"))
        cursor.execute("SELECT legacy.generate_day('2024-03-09', 5, 7, now())")
        monkeypatch.setattr(psycopg2, "connect", impatient)
        with pytest.raises(Busy, match="2024-03-09"):
            simulation_sales.advance(NOON)


def test_a_moment_without_time_zone_is_refused(world: Path) -> None:
    with pytest.raises(ConfigurationError, match="time zone"):
        simulation_sales.advance(datetime(2024, 3, 10, 12))  # noqa: DTZ001


def test_the_reader_reads_and_writes_nothing(legacy_reader: Cursor) -> None:
    legacy_reader.execute("SELECT count(*) FROM legacy.sales")
    for statement in (
        "DELETE FROM legacy.sales",
        "UPDATE legacy.closed_days SET row_count = 0",
        "SELECT legacy.generate_day('2024-01-01', 1, 1, now())",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            legacy_reader.execute(statement)
        legacy_reader.connection.rollback()


def test_the_file_may_run_again(world: Path, simulator: Cursor) -> None:
    simulation_sales.advance(NOON)
    warehouse.run_file(simulator, "sources/10_legacy.sql")
    simulator.execute(
        "SELECT count(*) FROM legacy.sales JOIN legacy.closed_days USING (business_date)"
        " WHERE business_date < '2025-01-01'"
    )
    assert one(simulator)[0] == 300
