"""What users' statements must give: refused with file, line, what came and what is wanted, before a row moves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import own_source
import pytest
from own_source import arrived, connect_airflow, database

from highwater.loading import source_checks
from highwater.loading.stages import Pipeline
from highwater.model.errors import ConfigurationError, SourceIncomplete
from highwater.model.windows import Window
from highwater.sources import sources
from highwater.store import statements, warehouse

DAY = Window(datetime(2026, 10, 5, tzinfo=UTC), datetime(2026, 10, 6, tzinfo=UTC))
BOUNDS = sources.bounds(DAY)
AVAILABLE = "SELECT true AS complete, NULL::bigint AS expected_rows, ''::text AS note"
STATE = "SELECT '1' AS snapshot, now() AS moment, {} AS identity, false AS is_rewritten, NULL::text AS flaw"


@pytest.fixture(scope="module")
def others(airflow: object) -> Iterator[str]:
    """A database of one table ``t``, with types of its own."""
    with database(
        "own_statements",
        "CREATE TYPE mood AS ENUM ('good')",
        "CREATE DOMAIN short AS char(2)",
        "CREATE TABLE t AS SELECT n, 'A' || n || '%' AS name FROM generate_series(1, 3) AS n",
    ) as name:
        yield name


@pytest.fixture
def own(others: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Writes statements by their names into the folder ``own`` of that source."""
    folder = own_source.own_folder(monkeypatch, tmp_path)
    connect_airflow(monkeypatch, "own", others)

    def write(**given: str) -> None:
        for name, text in given.items():
            (folder / f"{name}.sql").write_text(text)

    write(extract="SELECT n FROM t", availability=AVAILABLE)
    return write


def complete() -> sources.Completeness:
    with sources.snapshot("own") as cursor:
        return sources.check_complete(cursor, "own", DAY, "own")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("'N'::text AS complete", "column 'complete' is text, expected boolean"),
        ("'false' AS complete", "column 'complete' is text, expected boolean"),
        ("'N'::char(1) AS complete", "column 'complete' is bpchar, expected boolean"),
        ("0 AS complete", "column 'complete' is integer, expected boolean"),
        ("NULL::boolean AS complete", "complete is NULL, expected boolean"),
        ("'24' AS expected_rows", "column 'expected_rows' is text, expected bigint, zero or more"),
        ("24.5 AS expected_rows", "expected_rows is 24.5, expected bigint, zero or more"),
        ("'NaN'::numeric AS expected_rows", "expected_rows is NaN, expected bigint, zero or more"),
        ("-1 AS expected_rows", "expected_rows is -1, expected bigint, zero or more"),
        ("1e30 AS expected_rows", "expected_rows is 1000000000000000000000000000000, expected bigint"),
        ("24::float8 AS expected_rows", "column 'expected_rows' is double precision, expected bigint"),
        ("5 AS note", "column 'note' is integer, expected text"),
        ("7 AS revision", "column 'revision' is integer, expected text"),
        ("'x' AS revison", "returns an unknown column 'revison': expected complete, expected_rows, note, revision"),
    ],
)
def test_an_availability_of_another_type_or_value_is_refused(own: Callable[..., None], answer: str, said: str) -> None:
    column = answer.rpartition(" ")[2]
    given = {"complete": "true AS complete", "expected_rows": "1 AS expected_rows", "note": "'' AS note"}
    own(availability=f"SELECT {', '.join((given | {column: answer}).values())}")
    with pytest.raises(
        ConfigurationError, match=re.escape(f"sql/own/availability.sql{'' if said[0] == 'r' else ':'} {said}")
    ):
        complete()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT true AS complete, 1 AS expected_rows", " returns no column 'note' (text)"),
        ("SELECT true AS complete, '' AS note", " returns no column 'expected_rows' (bigint, zero or more)"),
        (
            "SELECT true AS complete, 1 AS expected_row, '' AS note",
            " returns no column 'expected_rows' (bigint, zero or more), but 'expected_row': did you mean it?",
        ),
        (f"{AVAILABLE} UNION ALL {AVAILABLE.replace('true', 'false')}", " returns 2 rows, expected one row or none"),
        (f"{AVAILABLE}, '' AS note", " returns two columns 'note': rename one of them"),
        (f"{AVAILABLE}\nFROM nowhere", ', line 2 is refused: relation "nowhere" does not exist'),
        (f"-- 100% of %(x)s\n{AVAILABLE}\nWHERE %(later)s", ", line 3: unknown parameter %(later)s"),
        (f"{AVAILABLE};\nSELECT 1", ", line 2: a second statement begins"),
        ("-- nothing", " has no statement"),
        ("SET TIME ZONE 'Asia/Tokyo'", " returns no result"),
    ],
)
def test_an_availability_of_another_shape_is_refused(own: Callable[..., None], text: str, said: str) -> None:
    own(availability=text)
    with pytest.raises(ConfigurationError, match=re.escape(f"sql/own/availability.sql{said}")):
        complete()


def test_what_the_contract_allows_is_taken(own: Callable[..., None]) -> None:
    assert complete() == sources.Completeness(None)
    own(availability="SELECT true AS complete, 24.0 AS expected_rows, NULL::text AS note, 'r' AS revision; -- it's all")
    assert complete() == sources.Completeness(24, "r")
    own(availability="SELECT false AS complete, 1 AS expected_rows, '80% there' AS note")
    with pytest.raises(SourceIncomplete, match="is not complete at the source: 80% there"):
        complete()
    own(availability=f"{AVAILABLE} WHERE false")
    with pytest.raises(SourceIncomplete, match="does not list this window yet"):
        complete()


@pytest.mark.parametrize("file", ["extract", "availability", "revisions"])
def test_a_look_at_the_source_finds_each_statement_that_does_not_fit(own: Callable[..., None], file: str) -> None:
    own(**{file: "SELECT\n  1 / 0 AS n,\n  missing"})
    seen = source_checks.check_source(Pipeline("own", "own", "own", "own"), DAY, timedelta(seconds=60), is_due=False)
    assert seen.found == "misfit"
    assert f"sql/own/{file}.sql, line 3 is refused" in str(seen.error)
    assert 'column "missing" does not exist' in str(seen.error)


def test_a_percent_sign_is_just_one_in_every_place(own: Callable[..., None]) -> None:
    own(
        extract="-- 100% of the rows that aren't %(gone)s\nSELECT n % 2 AS odd, '%s %d %%' AS said,"
        " %(window_start)s AS at FROM t WHERE name LIKE 'A%' AND name ~ '%$';\n-- 5% more"
    )
    with sources.snapshot("own") as cursor:
        assert arrived(cursor, "own/extract.sql", BOUNDS)[1][0][:2] == (1, "%s %d %")


def test_types_arrive_exactly(own: Callable[..., None]) -> None:
    own(
        extract="SELECT 'DE'::char(2) AS c, 'ab'::varchar(5) AS v, B'0101'::bit(4) AS b, B'01'::bit varying(9) AS bv,"
        " 1.50::numeric(10, 2) AS n, 'x'::\"char\" AS one, 'called'::name AS called, 'ab'::short AS d,"
        " ARRAY['a', 'bc']::char(2)[] AS cs, ARRAY[B'01']::bit(2)[] AS bs, '1 day'::interval day AS i,"
        " '10:00+02'::timetz AS z, '{\"a\": 1}'::json AS j, '0/1'::pg_lsn AS l, int4range(1, 3) AS r,"
        " NULL::numeric AS none, 'Infinity'::numeric AS much, '10000-01-01'::date::text AS far"
    )
    with sources.snapshot("own") as cursor:
        columns, ((*row,),) = arrived(cursor, "own/extract.sql", {})
    assert dict(columns) | {"c": "bpchar", "cs": "bpchar[]", "b": '"bit"', "one": '"char"', "d": "bpchar"} == dict(
        columns
    )
    given = dict(zip((name for name, _ in columns), row, strict=True))
    assert (given["c"], given["b"], given["bv"], given["one"], given["d"]) == ("DE", "0101", "01", "x", "ab")
    assert (given["cs"], given["bs"], str(given["n"]), str(given["much"])) == (["a ", "bc"], "{01}", "1.50", "Infinity")


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("'good'::mood AS m", "'m' has a type that is not built in: cast it to one that is"),
        ("ARRAY['good']::mood[] AS m", "'m' has a type that is not built in"),
        ("ARRAY['ab']::short[] AS m", "'m' has a type that is not built in"),
        ("t AS m", "'m' has a type that is not built in"),
        ("row(1, 2) AS m", "'m' is of type record, which no table can hold"),
        ("'t'::regclass AS m", "'m' is of type regclass, which is a number that differs from server to server"),
        ("ARRAY['t'::regclass] AS m", "'m' is of type regclass[], which is a number"),
        ("1::money AS m", "'m' is of type money, which counts in the smallest unit"),
        ("1", "'?column?' has no name: give it one with AS"),
        ("1 AS xmin", "'xmin' has the name of a system column of Postgres"),
    ],
)
def test_a_column_that_cannot_be_kept_is_refused_by_its_name(own: Callable[..., None], column: str, said: str) -> None:
    own(extract=f"SELECT n, {column} FROM t")
    with (
        pytest.raises(ConfigurationError, match=re.escape(f"sql/own/extract.sql: column {said}")),
        sources.snapshot("own") as cursor,
    ):
        sources.check_shape(cursor, "own", DAY)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "revisions",
            "SELECT now()::date AS window_start, 'r' AS revision",
            "'window_start' is date, expected times",
        ),
        ("revisions", "SELECT now() AS window_start, NULL::text AS revision", "revision is NULL, expected text"),
        ("source_state", STATE.format("'{}'::json"), "is json, expected jsonb"),
        ("source_state", STATE.format("'[]'::jsonb"), "identity is []"),
        (
            "source_state",
            STATE.format("'{}'::jsonb") + " LIMIT 0",
            "returns 0 rows",
        ),
        ("xid_changes", "SELECT 1 AS order_id", "returns no column 'changed_at' (timestamptz)"),
        (
            "xid_full",
            "SELECT 1 AS order_id, now()::timestamp AS changed_at",
            "is timestamp without time zone",
        ),
        ("xid_as_of", "SELECT 1 AS key, 'h' AS fingerprint", "'fingerprint' is text, expected bigint"),
        ("changes_by_hour", "SELECT now() AS hour, 1 AS inserts, 2 AS updates", "returns no column 'deletes'"),
        ("compare_own", "SELECT 1 AS a UNION ALL SELECT 2", "returns 2 rows, expected one row"),
        ("days", "SELECT now() AS window_start, now() AS window_end, 5 AS basis", "'basis' is integer, expected text"),
        ("kept_from", "SELECT now() AS kept_from WHERE false", "returns 0 rows, expected one row"),
        ("own_totals", "SELECT now() AS window_start, 'x' AS row_count", "'row_count' is text, expected bigint"),
        ("refused", "SELECT '{a}'::text[] AS refused", "'refused' is text[], expected bigint[]"),
        ("orphans", "SELECT NULL::bigint AS orphans", "orphans is NULL, expected bigint, zero or more"),
    ],
)
def test_every_other_kind_of_statement_has_its_contract(
    own: Callable[..., None], name: str, text: str, said: str
) -> None:
    own(**{name: text})
    with (
        pytest.raises(ConfigurationError, match=f"sql/own/{name}.sql.*{re.escape(said)}"),
        sources.snapshot("own") as cursor,
    ):
        statements.check(cursor, f"own/{name}.sql")
        statements.ask(cursor, f"own/{name}.sql")


@pytest.mark.parametrize(
    "file",
    [
        file
        for file in sorted(str(path.relative_to(warehouse.SQL)) for path in warehouse.SQL.glob("*/**/*.sql"))
        if any(Path(file).match(kind) for kind in statements.CONTRACTS)
    ],
)
def test_the_project_s_own_statements_name_no_unknown_parameter(platform: object, file: str) -> None:
    known: Any = dict.fromkeys(
        [
            "window_start",
            "window_end",
            "now",
            "snapshot",
            "watermark",
            "overlap",
            "first_key",
            "end_key",
            "keys",
            "refused",
            "again",
        ]
    )
    with warehouse.session("loader") as cursor:
        assert warehouse.bind(cursor, file, known)
