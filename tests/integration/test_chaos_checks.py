"""The checks of scripts/chaos bite: each is shown data that is broken by hand, and names what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta

import batches
import loading
import pytest
import shopping
from psycopg2.extensions import cursor as Cursor

from chaos import invariants, reader
from chaos.datasets import DATASETS
from chaos.invariants import Finding, Stretch
from chaos.reader import Reads
from highwater.incidents import alerts
from highwater.loading import staging
from highwater.loading.changes import increments
from highwater.model.errors import SourceUnavailable
from highwater.store import ledger, warehouse

pytestmark = pytest.mark.usefixtures("empty_warehouse")
FIRST, SECOND = batches.window(0), batches.window(1)
TABLE = "{the partition}"
"""Placeholder of the first window's table, which is known once it has landed."""


@pytest.fixture
def landed(empty_warehouse: None) -> None:
    """Two windows of payments, and nothing left behind by them."""
    for window in (FIRST, SECOND):
        batches.land("payments", window)


@pytest.fixture
def orders(empty_warehouse: None) -> None:
    """The orders, by a full run."""
    changes = shopping.prepare()
    with ledger.attempt("orders", shopping.HOUR, "update_checkpoint", shopping.run()):
        increments.land(shopping.ORDERS, changes, shopping.run(), shopping.HOUR)


def look(
    check: Callable[[Cursor, Stretch], Finding], stretch: Stretch | None = None, about: str = "payments"
) -> list[str]:
    """What a check finds wrong, as far as it is about a dataset: others are not loaded here."""
    with warehouse.session("postgres") as cursor:
        return [each for each in check(cursor, stretch or Stretch()).wrong if about in each]


def change(statement: str) -> None:
    """Break something."""
    if TABLE in statement:
        statement = statement.replace(TABLE, loading.partition("payments", FIRST))
    with warehouse.session("postgres") as cursor:
        cursor.execute(statement)


@pytest.mark.usefixtures("landed")
def test_a_window_that_is_gone_from_the_ledger_is_a_gap() -> None:
    gone = f"payments [{FIRST.start:%Y-%m-%d %H:%M:%S}"
    assert not [each for each in look(invariants.no_gap) if gone in each.replace("DateTimeTZRange", "")]
    change(
        "DELETE FROM quarantine.rejected_rows;"
        " DELETE FROM ops.window_ledger WHERE window_range @> '2026-10-28'::timestamptz"
    )
    found = look(invariants.no_gap)
    assert any(gone in each for each in found), found
    assert any(each.startswith("ops.gaps") for each in found)


@pytest.mark.usefixtures("landed")
def test_a_window_that_a_rule_skips_is_explained_and_one_without_a_reason_is_not() -> None:
    third = batches.window(2)
    missing = f"payments [{third.start:%Y-%m-%d %H:%M:%S}"
    assert any(each.startswith(missing) for each in look(invariants.no_gap))
    change(
        "INSERT INTO ops.skipped_windows (dataset, window_range, rule, reason)"
        f" VALUES ('payments', '[{third.start},{third.end})', 'lost', 'the source keeps nothing so old')"
    )
    assert not any(each.startswith(missing) for each in look(invariants.no_gap))


@pytest.mark.usefixtures("landed")
def test_two_windows_that_overlap(admin: Cursor) -> None:
    assert invariants.no_overlap(admin, Stretch()).holds
    admin.execute("ALTER TABLE ops.window_ledger DROP CONSTRAINT windows_do_not_overlap")
    admin.execute(
        "INSERT INTO ops.window_ledger SELECT (l).* FROM (SELECT jsonb_populate_record(w, jsonb_build_object("
        "'window_range', tstzrange(lower(window_range) + '1 hour', upper(window_range)))) AS l"
        " FROM ops.window_ledger AS w LIMIT 1) AS copied"
    )
    assert len(invariants.no_overlap(admin, Stretch()).wrong) == 1


@pytest.mark.usefixtures("landed")
@pytest.mark.parametrize(
    "broken",
    [
        f"DELETE FROM {TABLE} WHERE payment_id = (SELECT min(payment_id) FROM {TABLE})",
        f"UPDATE {TABLE} SET amount = amount + 1 WHERE payment_id = (SELECT min(payment_id) FROM {TABLE})",
        f"UPDATE ops.window_ledger SET content_hash = 'tampered' WHERE lower(window_range) = '{FIRST.start}'",
    ],
    ids=["a row is gone", "a row has changed", "the hash is another"],
)
def test_content_that_is_not_what_an_undisturbed_run_makes(broken: str) -> None:
    assert look(invariants.same_content) == []
    change(broken)
    assert [each.split(":")[0] for each in look(invariants.same_content)] == [f"payments {FIRST}"[:24].split(":")[0]]


@pytest.mark.usefixtures("orders")
def test_an_order_that_differs_from_the_shop() -> None:
    assert look(invariants.same_content, about="orders differ") == []
    change("UPDATE sales.orders SET amount = amount + 1 WHERE order_id = 17")
    (found,) = look(invariants.same_content, about="orders differ")
    assert found.startswith("1 of ")


@pytest.mark.usefixtures("landed")
@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (f"DELETE FROM {TABLE}", "0 published"),
        (f"DROP TABLE {TABLE}", "partitions"),
        ("DELETE FROM quarantine.rejected_rows WHERE dataset = 'payments'", "in quarantine, but 0 are"),
    ],
    ids=["rows are gone", "a partition is gone", "quarantine is empty"],
)
def test_a_ledger_that_does_not_account_for_the_data(broken: str, said: str) -> None:
    assert look(invariants.ledger_agrees) == []
    change(broken)
    found = look(invariants.ledger_agrees)
    assert any(said in each for each in found), found


@pytest.mark.usefixtures("orders")
def test_a_checkpoint_that_is_not_where_the_ledger_ends() -> None:
    assert look(invariants.ledger_agrees, about="checkpoint") == []
    change("UPDATE ops.checkpoints SET watermark = watermark + interval '1 hour', live_rows = live_rows + 1")
    assert look(invariants.ledger_agrees, about="checkpoint") == [
        f"the checkpoint's {name} is not that of ledger and data" for name in ("watermark", "live_rows")
    ]


@pytest.mark.usefixtures("landed")
def test_a_published_row_that_fails_its_suite() -> None:
    assert look(invariants.suite_holds) == []
    change(f"UPDATE {TABLE} SET currency = 'XXX' WHERE payment_id = (SELECT min(payment_id) FROM {TABLE})")
    (found,) = look(invariants.suite_holds)
    assert "currency" in found


@pytest.mark.usefixtures("landed")
def test_a_read_that_shows_another_content_than_the_ledger_tells() -> None:
    def read(since: datetime = batches.FIRST) -> Reads:
        reads = Reads()
        with closing(warehouse.connect("analyst")) as link:
            link.set_session(isolation_level="REPEATABLE READ", readonly=True)
            reader.windows(link, DATASETS["payments"], since, reads)
        return reads

    for since, windows in ((batches.FIRST, 2), (batches.FIRST + timedelta(hours=1), 1)):
        whole = read(since)
        assert (whole.count, whole.windows) == (1, windows)
        assert look(invariants.no_torn_read, Stretch(reads=whole), about="") == []
    change(f"DELETE FROM {TABLE} WHERE payment_id = (SELECT min(payment_id) FROM {TABLE})")
    (found,) = look(invariants.no_torn_read, Stretch(reads=read()), about="")
    assert found.startswith(f"payments {FIRST.start:%Y-%m-%d}")


@pytest.mark.usefixtures("landed")
def test_half_a_window_that_is_read_before_it_has_landed_and_nobody_who_reads() -> None:
    half = Reads(count=1, unknown={("payments", str(FIRST.start), "half of it")})
    assert look(invariants.no_torn_read, Stretch(reads=half), about="half of it")
    assert look(invariants.no_torn_read, Stretch(), about="") == ["nobody has read"]


@pytest.fixture
def incident(landed: None) -> list[str]:
    """A source was unavailable and is back; returns the ids of what is to be reported."""
    with pytest.raises(SourceUnavailable), ledger.attempt("payments", SECOND, "load", ledger.Run("test", "run c")):
        raise SourceUnavailable("it is away", "billing")
    alerts.look()
    batches.land("payments", SECOND, "d")
    with warehouse.session("analyst") as cursor:
        cursor.execute("SELECT alert_id::text FROM ops.alerts ORDER BY alert_no")
        return [row[0] for row in cursor.fetchall()]


def test_messages_that_came_twice_never_or_from_nowhere(incident: list[str]) -> None:
    assert len(incident) >= 2

    def wrong(*taken: str, killed: int = 0) -> list[str]:
        return look(invariants.one_message, Stretch(taken=taken, strikes=1, senders_killed=killed), about="")

    first, *others = incident
    assert wrong(*incident) == []
    assert "1 messages came again, 0 senders were killed" in wrong(*incident, first)[0]
    assert wrong(*incident, first, killed=1) == [], "at least once: its sender died before it could write it down"
    assert "was not reported" in wrong(*others)[0]
    assert "is of no incident" in wrong(*incident, "from nowhere")[0]


def test_an_incident_that_is_reported_wrongly_or_stays_open(incident: list[str]) -> None:
    stretch = Stretch(taken=incident, strikes=1)
    change("UPDATE ops.incidents SET closed_at = NULL")
    found = look(invariants.one_message, stretch, about="")
    assert any("is open, but its trouble is over" in each for each in found), found
    assert any("was reported as" in each for each in found), found


@pytest.mark.parametrize(("kind", "most"), [("load failed", 1), ("freshness exceeded", 2)])
def test_a_trouble_that_was_opened_more_often_than_something_was_struck(kind: str, most: int) -> None:
    def opened() -> list[str]:
        found = look(invariants.one_message, Stretch(strikes=1), about="")
        return [each for each in found if "was opened" in each]

    for times in range(1, most + 2):
        change(
            "INSERT INTO ops.incidents (kind, subject, datasets, since, opened_at, last_seen_at, closed_at)"
            f" SELECT '{kind}', 'payments', '{{payments}}', n, n, n, n FROM ops.clock() AS n"
        )
        assert opened() == [f"payments: {kind} was opened {times} times by 1 strikes"] * (times > most)


@pytest.mark.usefixtures("landed")
def test_what_is_left_in_staging() -> None:
    assert look(invariants.nothing_staged, about="") == []
    with warehouse.session("loader") as cursor:
        left = staging.new_set(cursor, "payments", FIRST, ledger.Run("test", "run x"))
        staging.new_table(cursor, left, "raw", [("one", "integer")])
    assert look(invariants.nothing_staged, about="") == [f"{left}_raw"]
