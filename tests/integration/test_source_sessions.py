"""A session at a source: what it is set to holds, behind a pooler too, its text is right, and its extras count."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import own_source
import pooler
import pytest
from own_source import PASSWORD, READER, admin, arrived, connect_airflow, database

from highwater.environment import settings
from highwater.model.errors import (
    Busy,
    ConfigurationError,
    DataRejected,
    SourceBusy,
    SourceIncomplete,
    SourceSlow,
    SourceUnavailable,
)
from highwater.model.windows import Window
from highwater.sources import sources
from highwater.store import links, warehouse

DAY = Window(datetime(2026, 10, 5, tzinfo=UTC), datetime(2026, 10, 6, tzinfo=UTC))
ROWS = (
    "CREATE TABLE t AS SELECT n AS id, timestamptz '2026-10-01 00:00+00' + n * interval '1 hour' AS at"
    " FROM generate_series(0, 719) AS n"
)
OF_THE_DAY = "SELECT id, at, at::text AS written FROM t WHERE at::date = (%(window_start)s)::date\n"


@pytest.fixture
def own(airflow: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Writes statements by their names into the folder ``own``."""
    folder = own_source.own_folder(monkeypatch, tmp_path)

    def write(**statements: str) -> None:
        for name, text in statements.items():
            (folder / f"{name}.sql").write_text(text)

    write(extract=OF_THE_DAY, availability="SELECT true AS complete, 24 AS expected_rows, '' AS note")
    return write


@pytest.fixture(scope="module")
def hours(airflow: object) -> Iterator[str]:
    """A database with one row per hour, that keeps another zone, another style of dates and short digits."""
    with database("own_source", ROWS) as name:
        with closing(admin(name)) as link, link.cursor() as cursor:
            for setting in (
                "timezone = 'America/New_York'",
                "datestyle = 'German, DMY'",
                "intervalstyle = 'iso_8601'",
                "extra_float_digits = -3",
                "default_transaction_isolation = 'read committed'",
            ):
                cursor.execute(f"ALTER DATABASE {name} SET {setting}")
        yield name


@pytest.fixture
def source(hours: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The source that the connection ``own`` leads to."""
    connect_airflow(monkeypatch, "own", hours)
    return hours


@pytest.fixture
def pooled(
    source: str, scratch: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Any]]:
    """The connection leads through a PgBouncer, called with its settings."""
    pooler.need()
    running = []

    def start(**given: str) -> int:
        context = pooler.pooler(scratch("pooler"), settings.get().warehouse_port, READER, PASSWORD, **given)
        port = context.__enter__()
        running.append(context)
        connect_airflow(monkeypatch, "own", source, port)
        return port

    yield start
    for context in running:
        context.__exit__(None, None, None)


def the_day() -> list[Any]:
    with sources.snapshot("own", timedelta(seconds=60)) as cursor:
        return arrived(cursor, "own/extract.sql", sources.bounds(DAY))[1]


def test_a_source_of_another_zone_gives_the_rows_of_the_window_and_none_else(own: object, source: str) -> None:
    rows = the_day()
    assert [row[0] for row in rows] == list(range(96, 120))
    assert rows[0][2] == "2026-10-05 00:00:00+00"


@pytest.mark.parametrize("more", [{}, {"ignore_startup_parameters": "options,extra_float_digits"}])
@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_behind_a_pooler_it_gives_the_same_rows(
    own: object, pooled: Callable[..., Any], mode: str, more: dict[str, str]
) -> None:
    pooled(mode=mode, **more)
    assert [row[0] for row in the_day()] == list(range(96, 120))
    assert [row[0] for row in the_day()] == list(range(96, 120))


def test_what_others_set_on_a_pooled_connection_does_not_reach_the_session(
    own: Callable[..., None], source: str, pooled: Callable[..., Any]
) -> None:
    port = pooled()
    import psycopg2

    with closing(psycopg2.connect(host="127.0.0.1", port=port, dbname=source, user=READER, password=PASSWORD)) as other:
        other.autocommit = True
        with other.cursor() as cursor:
            cursor.execute("SET search_path TO pg_catalog")
            cursor.execute("SET statement_timeout TO '1ms'")
            cursor.execute("SET TIME ZONE 'Asia/Tokyo'")
    assert [row[0] for row in the_day()] == list(range(96, 120))


def test_a_pooler_that_allows_no_transactions_is_named(own: object, pooled: Callable[..., Any]) -> None:
    pooled(mode="statement")
    with pytest.raises(SourceUnavailable, match=r"'own' is unavailable: .* transaction began; .* not by statement"):
        the_day()


def test_the_session_is_one_read_only_snapshot_with_its_timeout(own: object, source: str) -> None:
    with sources.snapshot("own", timedelta(seconds=90)) as cursor:
        for name, value in {
            "timezone": "UTC",
            "client_encoding": "UTF8",
            "transaction_isolation": "repeatable read",
            "transaction_read_only": "on",
            "statement_timeout": "90s",
            "intervalstyle": "postgres",
            "datestyle": "ISO, DMY",
        }.items():
            cursor.execute("SELECT current_setting(%s)", (name,))
            assert warehouse.fetch_value(cursor) == value, name
    with (
        pytest.raises(ConfigurationError, match="cannot execute CREATE TABLE in a read-only transaction"),
        sources.snapshot("own") as cursor,
    ):
        cursor.execute("CREATE TABLE mine ()")


def test_a_setting_that_does_not_hold_is_refused_by_its_name(own: object, source: str) -> None:
    with closing(admin(source)) as link, link.cursor() as cursor:
        cursor.execute(f"ALTER ROLE {READER} IN DATABASE {source} SET standard_conforming_strings = off")
        try:
            with pytest.raises(ConfigurationError, match="'own' has standard_conforming_strings 'off' in the session"):
                the_day()
        finally:
            cursor.execute(f"ALTER ROLE {READER} IN DATABASE {source} RESET ALL")


@pytest.mark.parametrize("encoding", ["LATIN1", "LATIN9", "WIN1252", "EUC_JP", "UTF8"])
def test_text_of_another_encoding_arrives_as_it_is(
    own: Callable[..., None], monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    word = "日本" if encoding == "EUC_JP" else "café Ã©"
    own(extract=f"SELECT name, '{word}'::text AS said FROM t WHERE name LIKE '{word[:2]}%' AND name = %(word)s")
    with database("own_letters", f"CREATE TABLE t AS SELECT '{word}'::text AS name", encoding=encoding):
        connect_airflow(monkeypatch, "own", "own_letters")
        with sources.snapshot("own") as cursor:
            assert arrived(cursor, "own/extract.sql", {"word": word})[1] == [(word, word)]


def test_a_source_that_does_not_know_its_encoding_is_refused_until_someone_says_it(
    own: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    own(
        extract="SELECT name FROM t",
        availability="SELECT false AS complete, 1 AS expected_rows, (SELECT name FROM t) AS note",
    )
    raw = b"CREATE TABLE t AS SELECT 'caf\xe9'::text AS name"
    with database("own_bytes", raw, encoding="SQL_ASCII"):
        connect_airflow(monkeypatch, "own", "own_bytes")
        with (
            pytest.raises(ConfigurationError, match=r"'own' has server_encoding SQL_ASCII.*\"client_encoding\": \"LAT"),
            sources.snapshot("own"),
        ):
            pass
        connect_airflow(monkeypatch, "own", "own_bytes", client_encoding="LATIN1")
        with sources.snapshot("own") as cursor:
            assert arrived(cursor, "own/extract.sql", {})[1] == [("café",)]
            with pytest.raises(SourceIncomplete, match="is not complete at the source: café"):
                sources.check_complete(cursor, "own", DAY, "own")
        connect_airflow(monkeypatch, "own", "own_bytes", client_encoding="UTF8")
        with (
            pytest.raises(DataRejected, match="'own' has a value that does not fit: invalid byte seq"),
            sources.snapshot("own") as cursor,
        ):
            arrived(cursor, "own/extract.sql", {})


def test_an_encoding_is_not_said_for_a_source_that_knows_its_own(
    own: object, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect_airflow(monkeypatch, "own", source, client_encoding="LATIN1")
    with pytest.raises(ConfigurationError, match=r"extra 'client_encoding' is 'LATIN1'.* UTF8 and converts it itself"):
        the_day()


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"sslmod": "require"}, r"connection 'own' is refused: unknown extra 'sslmod': did you mean sslmode"),
        ({"colour": "red"}, r"connection 'own' is refused: unknown extra 'colour': "),
        ({"sslmode": "verify_full"}, "connection 'own' is refused: .*invalid sslmode value: \"verify_full\""),
        ({"connect_timeout": "soon"}, "connection 'own' is refused: .*invalid integer value \"soon\""),
        ({"target_session_attrs": "any one"}, "connection 'own' is refused: .*invalid target_session_attrs value"),
        ({"sslmode": "require"}, "connection 'own' is refused: .*server does not support SSL"),
        ({"sslmode": "verify-full", "sslrootcert": "/no/ca.pem"}, "connection 'own' is refused: .*SSL"),
        ({"service": "none of ours"}, 'connection .own. is refused: .*definition of service "none of ours" not found'),
        ({"host": "elsewhere"}, "extra 'host' repeats its field Host: leave it out"),
        ({"replication": "database"}, "extra 'replication' is not allowed"),
        ({"sslmode": ["require"]}, "extra 'sslmode' is a list, expected a text or a number"),
        ({"options": "-c timezone=Asia/Tokyo"}, r"its options set timezone to 'Asia/Tokyo', but .* always has 'UTC'"),
        ({"options": "timezone"}, "extra 'options' 'timezone': expected -c name=value"),
        ({"options": "-c nothing_of_this=1"}, r"own.*unrecognized configuration parameter"),
    ],
)
def test_an_extra_that_cannot_be_is_a_mistake_of_the_connection(
    own: object, source: str, monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any], said: str
) -> None:
    connect_airflow(monkeypatch, "own", source, **extra)
    with pytest.raises(ConfigurationError, match=said):
        the_day()


def test_extras_of_libpq_count_and_options_hold_behind_a_pooler_too(
    own: Callable[..., None], source: str, pooled: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    own(
        extract="SELECT current_setting('application_name') AS name, current_setting('work_mem') AS memory,"
        " current_setting('search_path') AS path"
    )
    extra: dict[str, Any] = {
        "application_name": "ours",
        "options": r"-c work_mem=7MB --search-path=public,\ pg_temp",
        "keepalives": 1,
    }
    connect_airflow(monkeypatch, "own", source, **extra)
    assert the_day() == [("ours", "7MB", "public, pg_temp")]
    connect_airflow(monkeypatch, "own", source, pooled(), **extra)
    assert the_day() == [("ours", "7MB", "public, pg_temp")]


def test_what_the_environment_says_of_options_is_not_the_source_s(
    own: object, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c search_path=pg_catalog")
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    assert [row[0] for row in the_day()] == list(range(96, 120))


def test_every_parameter_that_libpq_knows_may_be_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {name: "1" for name in links.PARAMETERS if name not in ("options", "client_encoding")}
    unknown = []
    for name, value in given.items():
        try:
            known = links.of_fields("own", {"extra": {name: value}})
            assert known.parameters[name] == "1"
        except ConfigurationError as error:
            assert re.search(f"extra '{name}' is unknown to libpq [0-9]+, which is installed", str(error))
            unknown.append(name)
    assert "sslmode" in given and len(unknown) < 12
    assert links.of_fields("own", {"extra": '{"keepalives": false}'}).parameters["keepalives"] == "0"
    with pytest.raises(ConfigurationError, match="connection 'own' is refused: its extra is not JSON"):
        links.of_fields("own", {"extra": "{sslmode"})
    with pytest.raises(ConfigurationError, match="its extra is a list, expected an object"):
        links.of_fields("own", {"extra": "[]"})


def test_a_source_that_is_not_there_or_refuses_the_login_is_away(
    own: object, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        connect_airflow(monkeypatch, "own", source, nobody.getsockname()[1])
        with pytest.raises(SourceUnavailable, match="source 'own' is unavailable"):
            the_day()
    with closing(admin("postgres")) as link, link.cursor() as cursor:
        cursor.execute(f"ALTER ROLE {READER} NOLOGIN")
    try:
        connect_airflow(monkeypatch, "own", source)
        with pytest.raises(SourceUnavailable, match="not permitted to log in") as refused:
            the_day()
        assert not refused.value.is_final
    finally:
        with closing(admin("postgres")) as link, link.cursor() as cursor:
            cursor.execute(f"ALTER ROLE {READER} LOGIN")


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("08006", SourceUnavailable),
        ("57P01", SourceUnavailable),
        ("57014", SourceSlow),
        ("53200", SourceUnavailable),
        ("53300", SourceUnavailable),
        ("55P03", SourceBusy),
        ("40001", SourceBusy),
        ("28000", SourceUnavailable),
        ("3D000", SourceUnavailable),
        ("3F000", ConfigurationError),
        ("42P01", ConfigurationError),
        ("42501", ConfigurationError),
        ("22012", DataRejected),
        ("23514", DataRejected),
        ("21000", DataRejected),
        ("P0001", DataRejected),
        ("54001", ConfigurationError),
        ("0A000", ConfigurationError),
        ("F0000", SourceUnavailable),
        ("58030", SourceUnavailable),
        ("XX001", SourceUnavailable),
    ],
)
def test_what_a_source_raises_is_sorted_by_its_state(source: str, state: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as raised, sources.snapshot("own", timedelta(seconds=60)) as cursor:
        cursor.execute(f"DO $$ BEGIN RAISE 'as it is' USING ERRCODE = '{state}'; END $$")
    assert type(raised.value) is kind
    assert "'own'" in str(raised.value) and "as it is" in str(raised.value)
    assert isinstance(raised.value, Busy) == (kind is SourceBusy)


def test_an_error_of_the_warehouse_met_meanwhile_is_not_the_source_s(source: str) -> None:
    with (
        pytest.raises(Busy, match="the warehouse, fed by source 'own', is busy: held") as busy,
        sources.snapshot("own"),
        warehouse.session("loader") as cursor,
    ):
        cursor.execute("DO $$ BEGIN RAISE 'held' USING ERRCODE = '55P03'; END $$")
    assert not isinstance(busy.value, SourceUnavailable)
