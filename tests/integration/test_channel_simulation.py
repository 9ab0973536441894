"""Store, partner and supplier: the same rows for the same seed, what was promised is planted, outages are real."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor

from highwater.environment import settings
from highwater.model import clock
from highwater.store import warehouse
from simulation import channels

SALES = 600
END = datetime(2024, 3, 10, 12, tzinfo=UTC)
TABLES = {
    "store.sales": "sale_id",
    "partner.orders": "order_id, received_at",
    "partner.outages": "started_at",
    "supplier.settlements": "week, delivery_no, settlement_id",
    "supplier.deliveries": "week, delivery_no",
}
GOLDEN = {
    "store.sales": "b61e1e8c00f8dd954b775dea52c17e0d",
    "partner.orders": "cf19ba53bbb9fbe6e0619a7cc9d6fe15",
    "partner.outages": "1ae745b28faae5a98666d52c2e0aa475",
    "supplier.settlements": "20f5788caa4da42be71d954bb6b16304",
    "supplier.deliveries": "adb03fce8b595626a1ee7d31c5fb5fc2",
}
"""Sixty days before 2024-03-10 with 600 sales a day and seed 10; the same on Postgres 15 and 18."""

Ask = Callable[..., list[Any]]


def empty(cursor: Cursor) -> None:
    cursor.execute(
        "TRUNCATE store.sales, store.closed_days, partner.orders, partner.closed_days, partner.made_days,"
        " partner.resends, partner.outages, supplier.deliveries, supplier.settlements, simulation.outages"
    )


@pytest.fixture(scope="module")
def sixty_days(platform: Path) -> Iterator[list[date]]:
    """The channels with sixty days before ``END``; as bootstrap made them again in the end."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "HIGHWATER_ANCHOR": "2024-03-10",
            "HIGHWATER_CHANNEL_DAYS": "60",
            "SIMULATION_CHANNEL_SALES": str(SALES),
            "SIMULATION_SEED": "10",
        }.items():
            patch.setenv(name, value)
        settings.get.cache_clear()
        start_again()
        yield channels.advance(END)
        start_again()
    settings.get.cache_clear()
    channels.advance(clock.now())


@pytest.fixture
def ask(sixty_days: list[date], simulator: Cursor) -> Ask:
    """The rows a query of the simulator gives, as tuples."""

    def rows(query: str, parameters: Any = None) -> list[Any]:
        simulator.execute(query, parameters)
        found = [tuple(row) for row in simulator.fetchall()]
        simulator.connection.rollback()
        return found

    return rows


def start_again() -> None:
    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        empty(cursor)


def digests(ask: Ask) -> dict[str, str]:
    return {
        table: ask(f"SELECT md5(string_agg(t::text, '|' ORDER BY {key})) AS digest FROM {table} AS t")[0][0]
        for table, key in TABLES.items()
    }


def test_the_same_seed_gives_the_same_bytes(ask: Ask, sixty_days: list[date]) -> None:
    assert len(sixty_days) == 60
    assert digests(ask) == GOLDEN


def test_made_bit_by_bit_they_are_the_same(ask: Ask) -> None:
    start_again()
    moment = END - timedelta(days=60)
    while moment < END:
        channels.advance(moment)
        moment += timedelta(hours=41, minutes=17)
    channels.advance(END)
    assert digests(ask) == GOLDEN


def test_what_is_there_is_not_made_again(ask: Ask) -> None:
    assert channels.advance(END) == []
    assert digests(ask) == GOLDEN


def test_two_at_once_make_each_day_once(ask: Ask) -> None:
    start_again()
    made: list[list[date]] = []
    both = [threading.Thread(target=lambda: made.append(channels.advance(END))) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert sorted(map(len, made)) == [0, 60]
    assert digests(ask) == GOLDEN


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("2024-03-08T23:00", id="the stores have just closed"),
        pytest.param("2024-03-02T12:00", id="the day before is late"),
        pytest.param("2024-02-24T21:00", id="before an outage, hours after a delivery"),
    ],
)
def test_nothing_lies_in_the_future(ask: Ask, moment: str) -> None:
    now = datetime.fromisoformat(f"{moment}+00:00")
    start_again()
    channels.advance(now)
    assert ask(
        "SELECT (SELECT max(sold_at) FROM store.sales) <= %(now)s AND (SELECT max(received_at) FROM partner.orders)"
        " <= %(now)s AND (SELECT max(delivered_at) FROM supplier.deliveries) <= %(now)s"
        " AND (SELECT max(started_at) FROM partner.outages) <= %(now)s AS holds",
        {"now": now},
    ) == [(True,)]
    channels.advance(END)


def test_a_midnight_finds_store_and_partner_closed(ask: Ask) -> None:
    for source in ("store", "partner"):
        query = f"SELECT bool_and(closed_at < day + 1 AND closed_at > day) AS holds FROM {source}.closed_days"
        assert ask(query) == [(True,)]


def test_every_day_of_the_stores_has_its_sales(ask: Ask, sixty_days: list[date]) -> None:
    found = ask("SELECT sold_at::date AS day, count(*) AS n FROM store.sales GROUP BY 1 ORDER BY 1")
    assert found == [(day, SALES) for day in sixty_days]
    assert ask("SELECT day, sales FROM store.closed_days ORDER BY day") == found


def test_the_partners_days_are_what_their_kind_says(ask: Ask, sixty_days: list[date]) -> None:
    """Sixty days hold each kind; a late day has got its rest by the end."""
    found = {
        day: (count, orders)
        for day, count, orders in ask(
            "SELECT o.ordered_at::date AS day, count(DISTINCT o.order_id) AS n, min(c.orders) AS orders"
            " FROM partner.orders AS o INNER JOIN partner.closed_days AS c ON o.ordered_at::date = c.day GROUP BY 1"
        )
    }
    whole = channels.partner_orders(SALES)
    short = (whole - channels.held_back(SALES), whole)
    expected = {"usual": (whole, whole), "late": (whole, whole), "short": short, "missing": None}
    kinds = [channels.kind_of(day) for day in sixty_days]
    assert [found.get(day) for day in sixty_days] == [expected[kind] for kind in kinds]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"usual": 47, "missing": 5, "short": 4, "late": 4}
    assert ask("SELECT count(*) AS n FROM partner.closed_days") == [(55,)]


def test_a_late_day_is_short_until_its_rest_arrives(ask: Ask, sixty_days: list[date]) -> None:
    for day in (day for day in sixty_days if channels.kind_of(day) == "late"):
        arrives = datetime(day.year, day.month, day.day, tzinfo=UTC) + channels.REST_AFTER
        assert ask(
            "SELECT count(DISTINCT order_id) FILTER (WHERE received_at < %s) AS before,"
            " count(*) FILTER (WHERE received_at = %s) AS rest FROM partner.orders WHERE ordered_at::date = %s",
            (arrives, arrives, day),
        ) == [(channels.partner_orders(SALES) - channels.held_back(SALES), channels.held_back(SALES))]


def test_duplicates_come_some_days_later_and_after_each_outage_with_the_same_values(ask: Ask) -> None:
    days = "SELECT count(*) AS n FROM partner.closed_days WHERE day + %s <= %s"
    ((due,),) = ask(days, (channels.RESENT_AFTER, END))
    ((again,),) = ask("SELECT sum(orders) AS n FROM partner.resends WHERE reason = 'again'")
    assert again == due * channels.resent(SALES) > 0
    ((flooded,),) = ask(
        "SELECT count(*) AS n FROM partner.outages AS o INNER JOIN partner.closed_days AS c"
        " ON c.day BETWEEN o.started_at::date - 2 AND o.started_at::date - 1 WHERE o.ended_at <= %s",
        (END,),
    )
    ((flood,),) = ask("SELECT sum(orders) AS n FROM partner.resends WHERE reason = 'after an outage'")
    assert flood == flooded * channels.flooded(SALES) > 0
    assert ask("SELECT count(*) - count(DISTINCT order_id) AS copies FROM partner.orders") == [(again + flood,)]
    assert ask(
        "SELECT count(DISTINCT (order_id, ordered_at, product_code, quantity, amount)) = count(DISTINCT order_id)"
        " AS same FROM partner.orders"
    ) == [(True,)]


def test_every_other_order_is_handed_over_in_a_store_as_it_was_ordered_but_for_a_few(
    ask: Ask, sixty_days: list[date]
) -> None:
    assert ask(
        "SELECT count(*) AS n, count(DISTINCT partner_order_id) AS orders FROM store.sales"
        " WHERE partner_order_id IS NOT NULL"
    ) == [(60 * channels.fulfilled(SALES), 60 * channels.fulfilled(SALES))]
    matched = (
        "SELECT count(*) AS n, count(*) FILTER (WHERE s.amount = o.amount + 0.50) AS deviating FROM store.sales AS s"
        " INNER JOIN (SELECT DISTINCT ON (order_id) * FROM partner.orders ORDER BY order_id, received_at) AS o"
        " ON s.partner_order_id = o.order_id WHERE s.product_code = o.product_code AND s.quantity = o.quantity"
        " AND s.sold_at > o.ordered_at AND s.sold_at::date = o.ordered_at::date"
        " AND s.amount IN (o.amount, o.amount + 0.50)"
    )
    ((n, deviating),) = ask(matched)
    kinds = [channels.kind_of(day) for day in sixty_days]
    lost = kinds.count("missing") * channels.fulfilled(SALES) + kinds.count("short") * channels.held_back(SALES)
    assert n == 60 * channels.fulfilled(SALES) - lost
    assert deviating == (60 - kinds.count("missing")) * channels.deviating(SALES) > 0


WEEKS = """
SELECT
    d.week, d.delivery_no, count(*) AS settled, count(*) FILTER (WHERE s.amount = t.amount) AS right_ones,
    count(*) FILTER (WHERE t.amount = s.amount + 0.03) AS cents_off, min(d.settlements) AS said
FROM supplier.deliveries AS d
INNER JOIN supplier.settlements AS t USING (week, delivery_no)
INNER JOIN (
    SELECT sold_at::date AS day, product_code, sum(quantity) AS quantity, sum(amount) AS amount
    FROM store.sales GROUP BY 1, 2
) AS s ON t.settled_on = s.day AND t.product_code = s.product_code AND t.quantity = s.quantity
GROUP BY 1, 2 ORDER BY 1, 2
"""


def test_the_supplier_settles_each_week_to_the_cent_and_the_wrong_one_at_the_second_time(ask: Ask) -> None:
    ((groups,),) = ask("SELECT count(DISTINCT (sold_at::date, product_code)) AS n FROM store.sales")
    weeks = ask(WEEKS)
    assert [(week, number) for week, number, *_ in weeks] == [(d.week, d.number) for d in channels.deliveries(END)]
    assert len(weeks) == 8
    for week, number, settled, right, off, said in weeks:
        wrong = settled // channels.WRONG_ONE_IN if (week, number) == (date(2024, 1, 22), 1) else 0
        assert (settled, right, off) == (said, said - wrong, wrong), week
    delivered = sum(settled for _, number, settled, *_ in weeks if number == 1)
    assert 0 < delivered < groups


def test_each_reader_reads_its_own_source_and_writes_nothing(sixty_days: list[date]) -> None:
    readable = {
        "store": ("store.sales", "store.closed_days"),
        "partner": ("partner.orders", "partner.closed_days"),
        "supplier": ("supplier.deliveries", "supplier.settlements"),
    }
    for source, tables in readable.items():
        others = [table for other, theirs in readable.items() if other != source for table in theirs]
        hidden = ["partner.outages", "partner.made_days", "simulation.outages", "gate.readers"]
        link = warehouse.connect(f"{source}_reader", settings.get().sources_database)
        with link.cursor() as cursor:
            for table in tables:
                cursor.execute(f"SELECT count(*) AS n FROM {table}")
                assert warehouse.fetch_value(cursor) > 0
            link.commit()
            refused = [f"SELECT FROM {table}" for table in (*others, *hidden)] + [f"DELETE FROM {t}" for t in tables]
            for statement in (*refused, f"CREATE TABLE {source}.mine ()", "SELECT gate.end_sessions('store')"):
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    cursor.execute(statement)
                link.rollback()
        link.close()


def test_the_schedule_has_outages_over_midnights_that_do_not_touch(ask: Ask, sixty_days: list[date]) -> None:
    schedule = "SELECT * FROM partner.scheduled_outages('2024-01-01', '2026-12-31', %s) ORDER BY started_at"
    outages = ask(schedule, (10,))
    assert {(ended - began) / timedelta(hours=1) for began, ended, _ in outages} == {6, 12, 30, 54}
    assert all(ended < began for (_, ended, _), (began, _, _) in pairwise(outages))
    assert all(began.date() < ended.date() for began, ended, _ in outages)
    spells = (date(2026, 12, 31) - date(2024, 1, 1)).days / 6
    assert 0.65 < len(outages) / spells < 0.85
    assert ask(schedule, (11,)) != outages
    assert ask("SELECT started_at, ended_at, reason FROM partner.outages ORDER BY 1") == [
        outage for outage in outages if sixty_days[0] <= outage[0].date() and outage[0] <= END
    ]
