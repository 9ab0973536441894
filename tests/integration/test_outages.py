"""An outage is real: the login is refused, sessions end, bootstrap lets it be, and only source readers can be hit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from highwater.environment import credentials, settings
from highwater.local import server
from highwater.model import clock
from highwater.model.errors import ConfigurationError
from highwater.setup import bootstrap, roles
from highwater.store import warehouse
from simulation import channels, outages
from simulation import settings as simulation_settings

HOUR = timedelta(hours=1)


@pytest.fixture
def now(platform: Path) -> Iterator[datetime]:
    """The clock's moment; after the test no outage is left."""
    yield clock.now()
    forget()


def forget() -> None:
    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        cursor.execute("DELETE FROM simulation.outages")
        cursor.execute("DELETE FROM partner.outages WHERE reason = 'of this test'")
    with outages.turn() as cursor:
        outages.apply(cursor, clock.now())


def schedule(began: datetime, ended: datetime) -> None:
    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        cursor.execute("INSERT INTO partner.outages VALUES (%s, %s, 'of this test')", (began, ended))


def is_refused(source: str) -> bool:
    """Whether the source's login is refused because the role may not log in; any other failure is an error."""
    try:
        warehouse.connect(f"{source}_reader", settings.get().sources_database).close()
    except psycopg2.OperationalError as error:
        assert f'role "{source}_reader" is not permitted to log in' in str(error)
        return True
    return False


def test_in_a_scheduled_outage_the_login_is_refused_and_running_sessions_end(now: datetime) -> None:
    reader = warehouse.connect("partner_reader", settings.get().sources_database)
    bystander = warehouse.connect("store_reader", settings.get().sources_database)
    schedule(now - HOUR, now + HOUR)
    channels.advance(now)
    assert [is_refused(source) for source in ("partner", "store", "supplier")] == [True, False, False]
    with pytest.raises(psycopg2.OperationalError), reader.cursor() as cursor:
        cursor.execute("SELECT 1")
    with closing(bystander), bystander.cursor() as cursor:
        cursor.execute("SELECT 1")


def test_an_outage_begins_and_ends_on_the_minute(now: datetime) -> None:
    schedule(now, now + HOUR)
    seen = []
    for moment in (now - timedelta(seconds=1), now, now + HOUR - timedelta(seconds=1), now + HOUR):
        with outages.turn() as cursor:
            seen.append((outages.apply(cursor, moment), is_refused("partner")))
    assert seen == [([], False), (["partner"], True), ([], True), (["partner"], False)]


def test_someone_who_logs_in_while_the_door_closes_is_put_out_the_next_time(now: datetime) -> None:
    """The login was taken before the role lost it, the session was seen only after the others were ended."""
    straggler = warehouse.connect("store_reader", settings.get().sources_database)
    with warehouse.session("simulator", settings.get().sources_database) as cursor:
        cursor.execute("SELECT gate.set_open('store', FALSE)")
    outages.start("store", now, None, "to see", "ada")
    with pytest.raises(psycopg2.OperationalError), straggler.cursor() as cursor:
        cursor.execute("SELECT 1")


@pytest.mark.parametrize("source", ["store", "partner", "supplier"])
def test_each_source_can_be_taken_away_and_brought_back(now: datetime, source: str) -> None:
    assert outages.start(source, now, None, "to see", "ada") is None
    assert is_refused(source)
    with outages.turn() as cursor:
        outages.apply(cursor, now + 1000 * HOUR)
    assert is_refused(source)
    outages.stop(source, now + HOUR, "bob")
    assert not is_refused(source)


def test_an_outage_of_some_hours_ends_by_itself(now: datetime) -> None:
    assert outages.start("supplier", now, 1.5, "to see", "ada") == now + 1.5 * HOUR
    for moment, refused in ((now + 1.4 * HOUR, True), (now + 1.5 * HOUR, False)):
        with outages.turn() as cursor:
            outages.apply(cursor, moment)
        assert is_refused("supplier") is refused


def test_a_stop_ends_a_scheduled_outage_too_and_the_schedule_does_not_bring_it_back(now: datetime) -> None:
    schedule(now - HOUR, now + HOUR)
    outages.start("partner", now, None, "to see", "ada")
    assert outages.stop("partner", now + HOUR / 2, "bob") == 2
    channels.advance(now + HOUR * 3 / 4)
    assert not is_refused("partner")
    (kept,) = [outage for outage in outages.latest(99) if outage["reason"] == "of this test"]
    assert (kept["ended_at"], kept["stopped_by"]) == (now + HOUR / 2, "bob")


def test_after_an_outage_by_hand_the_partner_sends_old_orders_again(now: datetime, simulator: Cursor) -> None:
    outages.start("partner", now, 1, "to see", "ada")
    channels.advance(now + HOUR)
    simulator.execute("DELETE FROM partner.orders WHERE received_at = %(at)s RETURNING order_id", {"at": now + HOUR})
    sent = len(simulator.fetchall())
    simulator.execute("DELETE FROM partner.resends WHERE sent_at = %(at)s", {"at": now + HOUR})
    simulator.connection.commit()
    kinds = [channels.kind_of((now - days * 24 * HOUR).date()) for days in (1, 2)]
    assert kinds == ["usual", "usual"]
    assert sent == 2 * channels.flooded(simulation_settings.get().channel_sales) > 0


@pytest.mark.parametrize(
    ("source", "hours", "said"),
    [
        ("legacy", None, "invalid source 'legacy': expected one of partner, store, supplier"),
        ("postgres", None, "invalid source 'postgres'"),
        ("store", 0, "invalid hours 0: expected more than 0 and at most 8760"),
        ("store", 8761, "invalid hours 8761"),
        ("store", float("nan"), "invalid hours nan"),
    ],
)
def test_a_wrong_start_is_refused_and_changes_nothing(
    now: datetime, source: str, hours: float | None, said: str
) -> None:
    before = outages.latest(99)
    with pytest.raises(ConfigurationError, match=said):
        outages.start(source, now, hours, "to see", "ada")
    assert outages.latest(99) == before


def test_a_second_start_names_the_first_and_a_stop_needs_an_outage(now: datetime) -> None:
    with pytest.raises(ConfigurationError, match="source 'store' has no outage to end"):
        outages.stop("store", now, "bob")
    outages.start("store", now, 2, "to see", "ada")
    said = (
        "already has an outage, started at 2026-10-31 12:00 UTC by ada: end it first: scripts/highwater outage stop st"
    )
    with pytest.raises(ConfigurationError, match=said):
        outages.start("store", now + HOUR, 2, "to see", "bob")


@pytest.mark.parametrize("role", ["legacy_reader", "loader", "postgres", "simulator", "store_reader", None])
def test_the_gate_takes_nothing_but_the_sources_it_lists(simulator: Cursor, role: str | None) -> None:
    for call in ("gate.set_open(%s, FALSE)", "gate.end_sessions(%s)"):
        with pytest.raises(psycopg2.errors.InvalidParameterValue, match="cannot have an outage"):
            simulator.execute(f"SELECT {call}", (role,))
        simulator.connection.rollback()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE gate.readers SET role = 'postgres'",
        "INSERT INTO gate.readers VALUES ('warehouse', 'loader')",
        "CREATE TABLE gate.readers2 ()",
        "SELECT gate.reader_of('store')",
        "ALTER ROLE store_reader NOLOGIN",
    ],
)
def test_the_simulator_cannot_widen_the_gate(simulator: Cursor, statement: str) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        simulator.execute(statement)


def test_a_table_of_the_callers_own_does_not_lead_the_gate_astray(simulator: Cursor) -> None:
    simulator.execute("CREATE TEMPORARY TABLE readers AS SELECT 'store' AS source, 'postgres'::name AS role")
    simulator.execute("CREATE TEMPORARY VIEW pg_roles AS SELECT 'store_reader'::name AS rolname, FALSE AS rolcanlogin")
    simulator.execute("SET search_path = pg_temp, gate")
    simulator.execute("SELECT gate.set_open('store', TRUE)")
    assert warehouse.fetch_value(simulator) is False


def test_the_gate_is_the_admins(admin: Cursor, platform: Path) -> None:
    with warehouse.session("postgres", settings.get().sources_database) as cursor:
        cursor.execute(
            "SELECT DISTINCT proowner::regrole::text AS owner, prosecdef AS definer,"
            " proconfig = '{\"search_path=pg_catalog, pg_temp\"}' AS fixed FROM pg_proc"
            " WHERE pronamespace = 'gate'::regnamespace"
        )
        assert [tuple(row) for row in cursor.fetchall()] == [("postgres", True, True)]


def test_an_outage_of_an_unknown_source_is_refused_by_the_database(simulator: Cursor) -> None:
    with pytest.raises(psycopg2.errors.ForeignKeyViolation, match="outages_source_is_known"):
        simulator.execute(
            "INSERT INTO simulation.outages (source, started_at, reason, started_by) VALUES ('shop', now(), 'x', 'ada')"
        )


def test_bootstrap_neither_ends_an_outage_nor_fails_by_it(now: datetime) -> None:
    outages.start("store", now, None, "to see", "ada")
    bootstrap.run()
    assert is_refused("store")
    outages.stop("store", now, "ada")
    bootstrap.run()
    assert not is_refused("store")


def test_a_password_that_was_changed_in_an_outage_is_put_right_and_the_outage_goes_on(
    now: datetime, admin: Cursor
) -> None:
    outages.start("store", now, None, "to see", "ada")
    admin.execute("ALTER ROLE store_reader PASSWORD 'another user changed it'")
    admin.connection.commit()
    roles.prepare_login(admin, "store_reader")
    admin.connection.commit()
    assert is_refused("store")


def test_bootstrap_brings_a_role_that_is_gone_back_and_its_outage_with_it(now: datetime) -> None:
    outages.start("supplier", now, None, "to see", "ada")
    with warehouse.session("postgres", settings.get().sources_database) as cursor:
        cursor.execute("DROP OWNED BY supplier_reader")
        cursor.execute("DROP ROLE supplier_reader")
    bootstrap.run()
    assert is_refused("supplier")


def test_bootstrap_adds_the_channels_to_an_installation_that_has_none(now: datetime) -> None:
    with warehouse.session("postgres", settings.get().sources_database) as cursor:
        cursor.execute("DROP SCHEMA store, partner, supplier, simulation, gate CASCADE")
        for source in ("store", "partner", "supplier"):
            cursor.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(f"{source}_reader")))
            (settings.get().secrets / f"{source}_reader_password").unlink()
    bootstrap.run()
    assert [is_refused(source) for source in ("store", "partner", "supplier")] == [False] * 3
    with warehouse.session("store_reader", settings.get().sources_database) as cursor:
        cursor.execute("SELECT count(*) AS days FROM store.closed_days")
        assert warehouse.fetch_value(cursor) == 14


@pytest.fixture
def landlord(scratch: Callable[[str], Path]) -> Iterator[str]:
    """Another owner's server, whose admin may make roles and databases and is no superuser."""
    with pytest.MonkeyPatch.context() as patch:
        home = scratch("landlord")
        patch.setenv("HIGHWATER_HOME", str(home))
        settings.get.cache_clear()
        port = server.start()
        with closing(warehouse.connect("postgres", "postgres")) as link, link.cursor() as cursor:
            cursor.execute("CREATE ROLE landlord LOGIN CREATEROLE CREATEDB PASSWORD 'theirs'")
            link.commit()
        metadata = settings.get().secrets / "metadata_admin_password"
        metadata.unlink()
        metadata.write_text(credentials.secret("postgres_password"))
        (home / "theirs").write_text("theirs")
        for name, value in {
            "HIGHWATER_WAREHOUSE_ADMIN": "landlord",
            "HIGHWATER_WAREHOUSE_ADMIN_PASSWORD_FILE": str(home / "theirs"),
            "HIGHWATER_METADATA_HOST": "127.0.0.1",
            "HIGHWATER_METADATA_PORT": str(port),
            "HIGHWATER_CHANNEL_DAYS": "1",
            "HIGHWATER_HISTORY_DAYS": "1",
            "SIMULATION_SHOP_ORDERS": "0",
        }.items():
            patch.setenv(name, value)
        settings.get.cache_clear()
        yield "landlord"
        server.remove()
    settings.get.cache_clear()


def test_an_admin_that_is_no_superuser_can_take_a_source_away(landlord: str) -> None:
    bootstrap.run()
    reader = warehouse.connect("store_reader", settings.get().sources_database)
    outages.start("store", clock.now(), None, "to see", "ada")
    assert is_refused("store")
    with pytest.raises(psycopg2.OperationalError), reader.cursor() as cursor:
        cursor.execute("SELECT 1")
    bootstrap.run()
    assert is_refused("store")
    outages.stop("store", clock.now(), "ada")
    assert not is_refused("store")


def highwater(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "highwater.cli.main", "outage", *arguments],
        env={**os.environ, "PYTHONPATH": str(settings.ROOT), "COLUMNS": "160"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def listed() -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(highwater("list", "--json").stdout)
    return answer


def test_the_command_takes_a_source_away_lists_it_and_brings_it_back(now: datetime) -> None:
    started = highwater("start", "store", "--hours", "2", "--reason", "to see", "--by", "ada")
    assert (started.returncode, started.stdout) == (0, "outage: store is unavailable until 2026-10-31 14:00 UTC\n")
    assert is_refused("store")
    answer = listed()
    assert answer["sources"][1] == {"source": "store", "may_log_in": False, "is_away": True}
    assert answer["outages"][0] == {
        "source": "store",
        "started_at": "2026-10-31 12:00:00+00:00",
        "ended_at": "2026-10-31 14:00:00+00:00",
        "reason": "to see",
        "started_by": "ada",
        "stopped_by": None,
    }
    shown = highwater("list", "--last", "1").stdout
    assert "store     login refused\n" in shown
    assert "partner   login accepted\n" in shown
    stopped = highwater("stop", "store", "--by", "bob")
    assert (stopped.returncode, stopped.stdout) == (0, "outage: store is available again\n")
    assert not is_refused("store")


def test_a_mistake_is_one_sentence_and_exit_code_two(now: datetime) -> None:
    refused = highwater("start", "shop")
    assert refused.returncode == 2
    assert refused.stderr == "highwater: invalid source 'shop': expected one of partner, store, supplier\n"
