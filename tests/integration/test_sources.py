"""control.sources and what is measured of the sources: what is refused, when reliability switches the catch-up, what
`highwater sources` shows, and the way up from the table as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import channels
import psycopg2
import pytest
from channels import PARTNER, STORE, SUPPLIER, day, rows, rule, value
from psycopg2.extensions import cursor as Cursor

from highwater.environment import settings
from highwater.loading import source_checks
from highwater.loading.source_checks import Check
from highwater.model.errors import ConfigurationError, DataRejected
from highwater.setup import metadata
from highwater.store import warehouse

TODAY, BEFORE = day("2026-10-30"), day("2026-10-29")
GOOD = Check("good", True, 0.1, True, None)
BAD = Check("away", False, 0.1, False, "source 'partner' is unavailable: the role may not log in")


@pytest.mark.parametrize(
    ("assignment", "constraint"),
    [
        (
            "source = 'depot'",
            'unknown source "depot"; known: partner, shop, store, supplier; a new one is first added to',
        ),
        ("source = 'store'", "each_source_feeds_one_dataset"),
        ("dataset = 'nothing'", "sources_dataset_fkey"),
        ("catch_up = 'sometimes'", "catch_up_is_all_reliable_or_none"),
        ("reliability_threshold = 80", "reliability_threshold_is_between_0_and_1"),
        ("reliability_threshold = -0.1", "reliability_threshold_is_between_0_and_1"),
        ("reliability_threshold = 'NaN'", "reliability_threshold_is_between_0_and_1"),
        ("reliability_checks = 0", "reliability_checks_is_between_1_and_1000"),
        ("catch_up_limit = '-1 day'", "catch_up_limit_is_not_negative"),
        ("statement_timeout = '0'", "statement_timeout_is_a_second_to_a_day"),
        ("strategy = 'guess'", "strategy_is_xid_updated_at_or_windows"),
    ],
)
def test_the_database_refuses_what_cannot_be_and_says_which_rule(
    platform: object, admin: Cursor, assignment: str, constraint: str
) -> None:
    with pytest.raises(psycopg2.IntegrityError, match=constraint):
        admin.execute(f"UPDATE control.sources SET {assignment} WHERE source = 'partner'")


def test_nobody_but_the_function_writes_a_check(platform: object) -> None:
    for statement in (
        "INSERT INTO ops.source_checks (source) VALUES ('store')",
        "DELETE FROM ops.catch_up_changes",
        "UPDATE control.sources SET catch_up = 'all'",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege), warehouse.session("loader") as cursor:
            cursor.execute(statement)


def test_a_check_of_an_unknown_source_is_refused(platform: object) -> None:
    with pytest.raises(DataRejected, match='unknown source "depot"; known: partner, store, supplier'):
        source_checks.record("depot", TODAY, GOOD, channels.run())


def test_a_source_that_a_dataset_has_cannot_be_forgotten(platform: object, admin: Cursor) -> None:
    admin.execute("INSERT INTO control.known_sources (source, holds) VALUES ('helpdesk', 'tickets')")
    admin.execute(
        "INSERT INTO control.sources (dataset, source, strategy) VALUES ('page_views', 'helpdesk', 'windows')"
    )
    with pytest.raises(psycopg2.IntegrityError, match="source_is_known"):
        admin.execute("DELETE FROM control.known_sources WHERE source = 'helpdesk'")


@pytest.fixture
def no_strangers(platform: object) -> Iterator[None]:
    """Sources that a test adds go at its end."""
    yield
    with warehouse.session("postgres") as cursor:
        cursor.execute("DELETE FROM control.sources WHERE source = 'helpdesk'")
        cursor.execute("DELETE FROM control.known_sources WHERE source = 'helpdesk'")


@pytest.mark.usefixtures("no_strangers")
def test_the_operator_adds_a_source_and_a_rule_in_psql_with_no_change_of_ours() -> None:
    rule = "INSERT INTO control.sources (dataset, source, strategy) VALUES ('page_views', 'helpdesk', 'windows')"
    with warehouse.session("operator") as cursor:
        with pytest.raises(
            psycopg2.IntegrityError, match='unknown source "helpdesk"; known: partner, shop, store, supp'
        ):
            cursor.execute(rule)
        cursor.connection.rollback()
        cursor.execute("INSERT INTO control.known_sources (source, holds) VALUES ('helpdesk', 'tickets')")
        cursor.execute(rule)
    assert value("SELECT catches_up FROM ops.source_reliability WHERE source = 'helpdesk'")


@pytest.mark.usefixtures("no_strangers")
def test_a_source_is_added_and_trusted_from_the_shell() -> None:
    unknown = highwater("sources", "trust", "helpdesk", "--dataset", "page_views")
    assert unknown.returncode == 2
    assert "unknown source 'helpdesk': expected one of partner, shop, store, supplier; add a new" in unknown.stderr
    for said in ("helpdesk is registered", "helpdesk is already registered"):
        assert said in highwater("sources", "add", "helpdesk", "--holds", "tickets").stdout
    homeless = highwater("sources", "trust", "helpdesk", "--catch-up", "none")
    assert "source 'helpdesk' has no rule yet: give the dataset that it feeds by --dataset" in homeless.stderr
    strange = highwater("sources", "trust", "helpdesk", "--dataset", "tickets")
    assert "unknown dataset 'tickets': expected one of channel_sales" in strange.stderr
    given = ("--dataset", "page_views", "--catch-up", "reliable", "--threshold", "0.9", "--limit", "3 days")
    assert highwater("sources", "trust", "helpdesk", *given).returncode == 0
    beyond = highwater("sources", "trust", "helpdesk", "--threshold", "90")
    assert (beyond.returncode, "reliability threshold 90.0: expected at most 1" in beyond.stderr) == (2, True)
    for option, given_value, said in (
        ("--limit", "foo", "catch up limit 'foo': expected a span such as '90 days'"),
        ("--timeout", "soon", "statement timeout 'soon': expected a span such as"),
        ("--catch-up", "some", "catch up 'some': expected 'all', 'reliable' or 'none'"),
    ):
        assert said in highwater("sources", "trust", "helpdesk", option, given_value).stderr
    (row,) = [row for row in json.loads(highwater("sources", "--json").stdout) if row["source"] == "helpdesk"]
    assert (row["dataset"], row["catch_up"], row["reliability_threshold"]) == ("page_views", "reliable", 0.9)
    # Airflow alone has a connection that was made in its UI.
    assert (row["reachable"], row["away_because"]) == (None, None)
    assert "unknown: its connection is stored in Airflow" in highwater("sources").stdout


@pytest.mark.usefixtures("three_sources")
class TestReliability:
    def record(self, *checks: Check) -> None:
        for check in checks:
            source_checks.record("partner", TODAY, check, channels.run())

    def reliability(self) -> Any:
        (row,) = rows("SELECT * FROM ops.source_reliability WHERE source = 'partner'")
        return row

    def test_a_source_is_not_reliable_before_there_are_checks_enough(self) -> None:
        assert self.reliability().reason == "0 of the last 0 checks were good, 10 are needed to judge by"
        self.record(*[GOOD] * 9)
        assert (self.reliability().reliability, self.reliability().catches_up) == (1, False)
        self.record(GOOD)
        assert self.reliability().catches_up

    def test_only_the_newest_checks_count_and_the_last_failure_is_remembered(self) -> None:
        self.record(BAD, *[GOOD] * 10)
        found = self.reliability()
        assert (found.checks, found.good_checks) == (10, 10)
        assert found.last_failure_at is not None

    def test_an_incomplete_window_counts_as_bad_and_one_that_is_not_due_does_not(self) -> None:
        self.record(Check("incomplete", True, 0.1, False, "short"), Check("good", True, 0.1, None, None))
        assert (self.reliability().checks, self.reliability().good_checks) == (2, 1)

    def test_crossing_the_threshold_is_said_once_each_way(self, caplog: pytest.LogCaptureFixture) -> None:
        self.record(*[GOOD] * 12, BAD, BAD, BAD, BAD, *[GOOD] * 9)
        changes = rows("SELECT catches_up, reason FROM ops.catch_up_changes ORDER BY change_id")
        assert [tuple(change) for change in changes] == [
            (True, "10 of the last 10 checks were good, enough for the threshold of 0.8"),
            (False, "7 of the last 10 checks were good, fewer than the threshold of 0.8"),
            (True, "8 of the last 10 checks were good, enough for the threshold of 0.8"),
        ]
        said = [record.message for record in caplog.records if "past windows" in record.message]
        assert [line.split(" past windows")[0] for line in said] == [
            "source partner catches up on",
            "source partner no longer catches up on",
            "source partner catches up on",
        ]

    def test_a_share_exactly_at_the_threshold_is_enough(self) -> None:
        self.record(BAD, BAD, *[GOOD] * 8)
        assert self.reliability().catches_up

    def test_what_the_next_run_does_follows_the_threshold_with_no_restart(self) -> None:
        rule("partner", "reliability_checks = 2, reliability_threshold = 0.5")
        self.record(BAD, GOOD)
        channels.load(PARTNER, BEFORE)
        assert list(channels.landed(PARTNER)) == [day("2026-10-28"), BEFORE]
        rule("partner", "reliability_threshold = 0.6")
        with warehouse.session("postgres") as cursor:
            cursor.execute("UPDATE control.datasets SET first_window = '2026-10-27' WHERE dataset = 'partner_sales'")
        channels.load(PARTNER, day("2026-10-27"))
        assert value("SELECT rule FROM ops.skipped_windows WHERE dataset = 'partner_sales'") == "current window only"
        rule("partner", "reliability_threshold = 0.5")
        channels.load(PARTNER, TODAY)
        assert len(channels.landed(PARTNER)) == 4
        assert value("SELECT count(*) FROM ops.skipped_windows WHERE dataset = 'partner_sales'") == 0

    def test_a_rule_of_the_table_decides_without_any_check(self) -> None:
        rule("partner", "catch_up = 'all'")
        assert self.reliability().catches_up
        rule("partner", "catch_up = 'none'")
        self.record(*[GOOD] * 20)
        assert not self.reliability().catches_up
        assert value("SELECT count(*) FROM ops.catch_up_changes") == 0


def test_a_source_without_a_row_is_named(platform: object) -> None:
    with (
        warehouse.session("loader") as cursor,
        pytest.raises(
            ConfigurationError, match=r"source 'depot' has no row .*; these have: partner, store, supplier; scripts"
        ),
    ):
        source_checks.trust(cursor, "depot")


def highwater(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "highwater.cli.main", *arguments],
        env={**os.environ, "PYTHONPATH": str(settings.ROOT), "COLUMNS": "200"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_shows_each_source_with_what_it_is_trusted_with_and_why(three_sources: None) -> None:
    channels.load(STORE, TODAY)
    channels.load(SUPPLIER, TODAY)
    channels.check(PARTNER, TODAY)
    with channels.away("partner"):
        listed = json.loads(highwater("sources", "--json").stdout)
        shown = highwater("sources")
    partner, store, supplier = listed
    assert (partner["source"], partner["reachable"], partner["catches_up"]) == ("partner", False, False)
    assert "not permitted to log in" in partner["away_because"]
    assert partner["reason"] == "1 of the last 1 checks were good, 10 are needed to judge by"
    assert (store["reachable"], store["landed"], store["missing"]) == (True, 3, 0)
    assert store["landed_until"].startswith("2026-10-31 00:00")
    assert store["next_expected"].startswith("2026-11-01 00:00")
    assert supplier["landed_until"].startswith("2026-10-26 00:00")
    assert supplier["next_expected"].startswith("2026-11-06 00:00")
    assert shown.returncode == 0
    assert "off: 1 of the last 1 checks were good" in shown.stdout
    assert "never checked" in shown.stdout


def test_the_pool_of_loading_slots_is_made_once_and_keeps_the_size_someone_gave_it(airflow: object) -> None:
    metadata.create_pools()
    with closing(warehouse.connect_metadata("airflow", settings.get().metadata_database)) as link, link:
        cursor = link.cursor()
        cursor.execute("UPDATE slot_pool SET slots = 7 WHERE pool = 'loading'")
        assert cursor.rowcount == 1
    metadata.create_pools()
    with closing(warehouse.connect_metadata("airflow", settings.get().metadata_database)) as link:
        cursor = link.cursor()
        cursor.execute("SELECT slots FROM slot_pool WHERE pool = 'loading'")
        assert cursor.fetchone()[0] == 7  # type: ignore[index]
