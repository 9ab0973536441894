"""The comparison of the sources with each other: what goes astray in one of them is caught, with both numbers."""

from __future__ import annotations

import json

import channels
import pytest
from channels import PARTNER, STORE, SUPPLIER, change, day, rows, rule
from psycopg2.extensions import cursor as Cursor

from highwater.environment import settings
from highwater.loading import derived_table
from highwater.model.errors import DataRejected
from highwater.model.windows import Window
from highwater.quality import audits
from highwater.store import holds, ledger, rollback, warehouse

pytestmark = pytest.mark.usefixtures("three_sources")
TODAY, SETTLED = day("2026-10-30"), day("2026-10-25")
SUITE = json.loads((settings.ROOT / "expectations/cross_source.json").read_text())["expectations"]
ONE_SALE = "WHERE sale_id = (SELECT min(sale_id) FROM {} WHERE partner_order_id IS NULL AND sold_at >= '2026-10-25')"
HANDED = "WHERE partner_order_id IS NOT NULL AND sold_at >= '2026-10-25' AND sold_at < '2026-10-26'"


@pytest.fixture(autouse=True)
def settled_day(three_sources: None) -> None:
    """A day for which all three sources have landed: the last one of the settled week."""
    with warehouse.session("postgres") as cursor:
        cursor.execute(
            "UPDATE control.datasets SET first_window = '2026-10-25 00:00+00'"
            " WHERE dataset IN ('store_sales', 'partner_sales', 'channel_sales')"
        )
    rule("partner", "reliability_checks = 1")
    channels.check(PARTNER, SETTLED)


def load_all() -> None:
    for pipeline in (STORE, PARTNER):
        channels.load(pipeline, SETTLED)
    channels.load(SUPPLIER, TODAY)


def broken(report: audits.AuditReport) -> dict[str, dict[str, object]]:
    """What does not hold, by the column of one side: the verdict and the numbers of both sides."""
    return {
        str(finding.column_name): {"verdict": finding.verdict, **finding.observed}
        for finding in report.results
        if finding.verdict != "passed"
    }


def test_what_belongs_together_passes_with_the_numbers_of_both_sides() -> None:
    load_all()
    report = channels.bring_together(SETTLED, publish=True)
    assert broken(report) == {}
    seen = {name: number for finding in report.results for name, number in finding.observed.items()}
    assert None not in seen.values()
    assert (seen["store_sales"], seen["store_sales_found"]) == (400, 400)
    assert seen["settled_amount"] == seen["sold_amount"] > 1000
    assert (seen["handovers"], seen["partner_orders"]) == (40, 80)
    assert seen["handed_difference"] == 0.5, "one deviation is planted, and within the tolerance"


def test_the_numbers_are_kept_in_the_results_of_the_day() -> None:
    load_all()
    report = channels.bring_together(SETTLED)
    with ledger.attempt("channel_sales", SETTLED, "audit", channels.run()), warehouse.session("loader") as cursor:
        audits.store(cursor, report, dataset="channel_sales", window=SETTLED, run=channels.run())
    kept = rows("SELECT observed FROM ops.validation_results WHERE suite = 'cross_source' ORDER BY rule_number")
    assert kept[0].observed == {"store_sales": 400, "store_sales_found": 400}


def test_a_sale_that_the_store_lost_is_missed_by_the_supplier() -> None:
    change(f"DELETE FROM store.sales {ONE_SALE.format('store.sales')}")
    change("UPDATE store.closed_days SET sales = sales - 1 WHERE day = '2026-10-25'")
    load_all()
    found = broken(channels.bring_together(SETTLED))
    numbers = found["settled_amount, sold_amount"]
    assert numbers["verdict"] == "failed"
    assert 0 < numbers["settled_amount"] - numbers["sold_amount"] < 500  # type: ignore[operator]


def test_a_cent_off_in_a_settlement_is_named_with_both_totals() -> None:
    assert (
        change(
            "UPDATE supplier.settlements SET amount = amount + 0.01 WHERE settlement_id ="
            " (SELECT max(settlement_id) FROM supplier.settlements WHERE settled_on = '2026-10-25')"
        )
        == 1
    )
    load_all()
    report = channels.bring_together(SETTLED)
    found = broken(report)
    assert set(found) == {"settled_amount, sold_amount", "products, products_that_agree"}
    numbers = found["settled_amount, sold_amount"]
    assert round(numbers["settled_amount"] - numbers["sold_amount"], 2) == 0.01  # type: ignore[operator]
    assert not report.success
    assert f'saw {{"settled_amount": {numbers["settled_amount"]}, "sold_amount": {numbers["sold_amount"]}}}' in (
        report.sentence()
    )


def test_cents_that_cancel_out_in_the_total_are_seen_by_the_product() -> None:
    for sign, which in (("+", "max"), ("-", "min")):
        change(
            f"UPDATE supplier.settlements SET amount = amount {sign} 0.01 WHERE settlement_id ="
            f" (SELECT {which}(settlement_id) FROM supplier.settlements WHERE settled_on = '2026-10-25')"
        )
    load_all()
    ((name, numbers),) = broken(channels.bring_together(SETTLED)).items()
    assert name == "products, products_that_agree"
    assert numbers["products"] - numbers["products_that_agree"] == 2  # type: ignore[operator]


def test_an_order_handed_over_twice_is_caught() -> None:
    change(
        "INSERT INTO store.sales SELECT sale_id + 100000, sold_at, store_code, product_code, quantity, amount,"
        f" partner_order_id FROM store.sales {HANDED} LIMIT 1"
    )
    change("UPDATE store.closed_days SET sales = sales + 1 WHERE day = '2026-10-25'")
    load_all()
    found = broken(channels.bring_together(SETTLED))
    assert found["handovers, orders_handed_over"] == {"verdict": "failed", "handovers": 41, "orders_handed_over": 40}


def test_an_order_that_the_partner_does_not_know_is_caught() -> None:
    change(
        f"UPDATE store.sales SET partner_order_id = -1 WHERE sale_id = (SELECT max(sale_id) FROM store.sales {HANDED})"
    )
    load_all()
    found = broken(channels.bring_together(SETTLED))
    assert found == {"handovers, handovers_known": {"verdict": "failed", "handovers": 40, "handovers_known": 39}}


def test_an_order_doubled_by_the_partner_never_gets_as_far() -> None:
    change(
        "INSERT INTO partner.orders SELECT order_id + 100000, ordered_at, product_code, quantity, amount, received_at"
        " FROM partner.orders WHERE ordered_at >= '2026-10-25' AND ordered_at < '2026-10-26' LIMIT 1"
    )
    with pytest.raises(DataRejected, match=r"partner_sales 2026-10-25 is not published.*saw 81"):
        channels.load(PARTNER, SETTLED)


@pytest.mark.parametrize(
    ("statement", "name", "one_side", "other_side"),
    [
        (f"DELETE FROM sales.store_sales {ONE_SALE.format('sales.store_sales')}", "store_sales", 399, 400),
        (
            "DELETE FROM sales.partner_sales WHERE order_id ="
            " (SELECT min(order_id) FROM sales.partner_sales WHERE ordered_at >= '2026-10-25')",
            "partner_orders", 79, 80,
        ),
        (
            "INSERT INTO sales.partner_sales SELECT partner_order_id, '2026-10-24 12:00+00', product_code, quantity,"
            f" amount FROM sales.store_sales {HANDED} LIMIT 1",
            "orders", 441, 440,
        ),
    ],
)  # fmt: skip
def test_what_goes_astray_after_it_was_published_is_caught(
    admin: Cursor, statement: str, name: str, one_side: int, other_side: int
) -> None:
    """The synchronised day was made before; what it was made from changes under it."""
    load_all()
    from highwater.loading import derived_table

    with derived_table.snapshot() as published:
        staged = derived_table.build(published, channels.CHANNELS, SETTLED, "a basis", channels.run())
    if name == "orders":  # the order now counts on the day before as well, so the sale is made the store's
        admin.execute("CREATE TABLE sales.partner_sales_20261024 PARTITION OF sales.partner_sales"
                      " FOR VALUES FROM ('2026-10-24 00:00+00') TO ('2026-10-25 00:00+00')")  # fmt: skip
    admin.execute(statement)
    assert admin.rowcount == 1
    if name == "orders":
        admin.execute(
            "DELETE FROM sales.partner_sales AS p USING sales.partner_sales AS twice"
            " WHERE p.order_id = twice.order_id AND p.ordered_at > twice.ordered_at"
        )
        admin.connection.commit()
        with derived_table.snapshot() as published:
            staged = derived_table.build(published, channels.CHANNELS, SETTLED, "a basis", channels.run())
        one_side, other_side = 440, 439
    admin.connection.commit()
    report = derived_table.compare(channels.CHANNELS, {SETTLED: staged})[SETTLED]
    (numbers,) = [n for column, n in broken(report).items() if column.split(", ")[0] == name]
    assert list(numbers.values())[1:] == [one_side, other_side]


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        (f"UPDATE store.sales SET amount = amount + 5 {HANDED}", "handed_tolerance, handed_difference"),
        (
            "UPDATE partner.orders SET product_code = 'P99999' WHERE order_id & 1 = 1 AND ordered_at >= '2026-10-25'"
            " AND ordered_at < '2026-10-26'",
            "partner_products, partner_products_known",
        ),
    ],
)
def test_a_lesser_difference_is_a_warning_that_holds_nothing_back(statement: str, name: str) -> None:
    change(statement)
    if "store.sales" in statement:
        change("DELETE FROM supplier.settlements")
        change("DELETE FROM supplier.deliveries")
    load_all()
    report = channels.bring_together(SETTLED, publish=True)
    assert broken(report)[name]["verdict"] == "warning"


def test_every_expectation_has_a_test_that_breaks_it() -> None:
    """Those of one side alone hold by construction, and are broken by what goes astray after it was published."""
    columns = {f"{e['kwargs']['column_A']}, {e['kwargs']['column_B']}" for e in SUITE}
    assert columns == {
        "store_sales, store_sales_found",
        "store_amount, store_amount_found",
        "partner_orders, partner_orders_found",
        "partner_amount, partner_amount_found",
        "orders, orders_counted_once",
        "handovers, orders_handed_over",
        "handovers, handovers_known",
        "settled_amount, sold_amount",
        "products, products_that_agree",
        "settled_products, settled_products_sold",
        "partner_products, partner_products_known",
        "handed_tolerance, handed_difference",
    }


def test_a_day_that_was_rolled_back_is_made_again_once_it_is_released_and_of_something_new_alone() -> None:
    channels.load(STORE, SETTLED)
    channels.bring_together(SETTLED, publish=True)
    of_the_store = rows("SELECT * FROM sales.channel_sales ORDER BY channel, id")
    channels.load(PARTNER, SETTLED)
    channels.bring_together(SETTLED, publish=True)
    assert rows("SELECT * FROM sales.channel_sales ORDER BY channel, id") != of_the_store
    rollback.carry_out(rollback.plan("channel_sales", "2026-10-25"), "ada", "the partner doubts it")
    assert rows("SELECT * FROM sales.channel_sales ORDER BY channel, id") == of_the_store

    def to_be_made() -> list[Window]:
        with warehouse.session("loader") as cursor:
            return list(derived_table.days(cursor, channels.CHANNELS, TODAY))

    channels.load(SUPPLIER, TODAY)
    assert to_be_made() == []
    assert holds.release(holds.plan("channel_sales", SETTLED.start, SETTLED.end), "bob", "no doubt any more") == 1
    assert to_be_made() == [SETTLED]
