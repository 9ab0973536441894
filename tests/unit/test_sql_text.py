"""The text of a statement: a % that is no parameter is just a %, and a file holds one statement."""

from __future__ import annotations

import re

import pytest

from highwater.model.errors import ConfigurationError
from highwater.model.sql_text import line_of, one_statement, statements, with_parameters

KNOWN = ("window_start", "window_end", "now")


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        ("LIKE 'A%'", "LIKE 'A%%'"),
        ("LIKE 'A%%'", "LIKE 'A%%'"),
        ("'%s' '%d' '%x%'", "'%%s' '%%d' '%%x%%'"),
        ("5 % 2", "5 %% 2"),
        ("a %(now)s b", "a %(now)s b"),
        ("%%(now)s", "%%(now)s"),
        ("%%%(now)s", "%%%(now)s"),
        ("'%(now'", "'%%(now'"),
        ("%", "%%"),
        ("-- 100% of %(nothing)s, 5 %% 'x\n%(now)s", "-- 100%% of %%(nothing)s, 5 %%%% 'x\n%(now)s"),
        ("/* 1% /* %(now)s */ %(x)s */ %(now)s", "/* 1%% /* %%(now)s */ %%(x)s */ %(now)s"),
        ("'-- ' || %(now)s", "'-- ' || %(now)s"),
        ("$a$ -- $a$ %(now)s", "$a$ -- $a$ %(now)s"),
        (r"E'\'--' || %(now)s", r"E'\'--' || %(now)s"),
    ],
)
def test_only_a_known_name_in_brackets_is_a_parameter(text: str, driver: str) -> None:
    assert with_parameters(text, KNOWN, "sql/f.sql") == driver
    assert driver % {"now": "N"} is not None


def test_an_unknown_parameter_is_named_with_its_line_and_those_that_there_are() -> None:
    with pytest.raises(ConfigurationError) as refused:
        with_parameters("-- %(x)s\nSELECT\n  %(windowend)s", KNOWN, "sql/own/extract.sql")
    assert str(refused.value) == (
        "sql/own/extract.sql, line 3: unknown parameter %(windowend)s: did you mean window_end? "
        "expected one of now, window_end, window_start"
    )
    with pytest.raises(ConfigurationError, match=re.escape("unknown parameter %(now)s: this file has no parameters")):
        with_parameters("SELECT %(now)s", (), "f")


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        ("SELECT 1", "SELECT 1"),
        ("-- what\nSELECT 1 ;\n-- the day's rows; all\n;", "-- what\nSELECT 1"),
        ("SELECT ';' || $$;$$ || E'\\';' || \";\" /* ; */;", "SELECT ';' || $$;$$ || E'\\';' || \";\""),
        ("SELECT $tag$ a; $$; $tag$;\n", "SELECT $tag$ a; $$; $tag$"),
        ("SELECT a$b, c$b;", "SELECT a$b, c$b"),
        ("SELECT 1 -- no more", "SELECT 1"),
    ],
)
def test_the_one_statement_is_found_without_what_follows_it(text: str, statement: str) -> None:
    assert one_statement(text, "f") == statement


@pytest.mark.parametrize("text", ["", "\n-- nothing\n", ";;", "/* SELECT 1; */"])
def test_a_file_without_a_statement_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"sql/own/extract\.sql has no statement: expected one"):
        one_statement(text, "sql/own/extract.sql")


def test_a_second_statement_is_refused_where_it_begins() -> None:
    with pytest.raises(ConfigurationError, match="f, line 4: a second statement begins"):
        one_statement("SET x TO 'y;';\n-- and\n\nSELECT 1;", "f")


def test_lines_count_from_one() -> None:
    assert [line_of("a\nb", place) for place in (0, 1, 2)] == [1, 1, 2]


def test_the_statements_of_a_file_come_with_their_places() -> None:
    text = (
        "-- first; no end\nSELECT 'a;b', \"c;d\" /* ; */;\n\n-- second\nCREATE FUNCTION f() RETURNS integer\n"
        "BEGIN ATOMIC\n    SELECT CASE WHEN TRUE THEN 1 END;\n    SELECT 2;\nEND;\n"
        "DO $$ BEGIN NULL; END; $$;\n-- done\n"
    )
    found = statements(text)
    assert [statement.split("\n")[0] for _, statement in found] == [
        "SELECT 'a;b', \"c;d\" /* ; */",
        "CREATE FUNCTION f() RETURNS integer",
        "DO $$ BEGIN NULL; END; $$",
    ]
    assert [line_of(text, start) for start, _ in found] == [2, 5, 10]
    assert found[1][1].endswith("END")
