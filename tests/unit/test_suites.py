"""A wrong suite file is refused with its name, the bad value and the way out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from highwater.model.errors import ConfigurationError
from highwater.quality import suites

COLUMNS = ("sale_id", "quantity", "revenue")
NOT_NULL = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "sale_id"}, "description": "why"}
BETWEEN: dict[str, Any] = {
    "type": "expect_column_values_to_be_between",
    "kwargs": {"column": "quantity", "min_value": {"$PARAMETER": "least"}},
    "description": "why",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of suites that holds ``small`` alone."""
    made = tmp_path / "expectations"
    made.mkdir()
    monkeypatch.setattr(suites, "FOLDER", made)
    write(made, NOT_NULL, BETWEEN)
    return made


def write(folder: Path, *expectations: object, **more: object) -> None:
    (folder / "small.json").write_text(json.dumps({"name": "small", "expectations": expectations} | more))


def with_kwargs(rule: dict[str, Any], **kwargs: object) -> dict[str, Any]:
    return {**rule, "kwargs": {**rule["kwargs"], **kwargs}}


def refused(parameters: dict[str, object] | None = None, suite: str = "small") -> str:
    with pytest.raises(ConfigurationError) as refusal:
        suites.check_suite(suite, COLUMNS, {"least": 1} if parameters is None else parameters)
    assert str(refusal.value).count("\n") == 0
    return str(refusal.value)


def test_a_right_suite_is_read_in_the_order_of_the_file(folder: Path) -> None:
    checked = suites.check_suite("small", COLUMNS, {"least": 1, "unused": 2})
    assert [rule.position for rule in checked.rules] == [1, 2]
    assert [rule.columns for rule in checked.rules] == [("sale_id",), ("quantity",)]
    assert [rule.severity for rule in checked.rules] == ["critical", "critical"]


def test_every_suite_of_the_repository_loads() -> None:
    names = [path.stem for path in suites.FOLDER.glob("*.json")]
    assert "daily_sales" in names
    for name in names:
        assert all(rule.description for rule in suites.load_suite(name).rules)


def test_a_missing_suite_names_the_nearest(folder: Path) -> None:
    assert refused(suite="smal") == "file expectations/smal.json does not exist: did you mean small?"
    assert (
        refused(suite="../quite/else") == "file expectations/../quite/else.json does not exist: expected one of small"
    )


def test_broken_json_is_refused_with_its_place(folder: Path) -> None:
    (folder / "small.json").write_text('{"name": "small",\n "expectations": [}')
    assert refused().startswith("expectations/small.json: line 2, column 19 is not JSON")
    (folder / "small.json").write_text("[]")
    assert "must hold an object with name, meta, expectations, but holds list" in refused()


def test_the_form_of_the_file_is_checked(folder: Path) -> None:
    write(folder, NOT_NULL, expectation=[])
    assert refused() == "expectations/small.json: key 'expectation' is unknown: did you mean expectations?"
    write(folder)
    assert "expected a list of at least one" in refused()
    write(folder, NOT_NULL, name="other")
    assert "invalid name 'other'" in refused()
    write(folder, "expect_column_to_exist")
    assert "expectation 1 must be an object with type" in refused()
    write(folder, {**NOT_NULL, "severty": "warning"})
    assert "key of expectation 1 'severty' is unknown: did you mean severity?" in refused()
    write(folder, {**NOT_NULL, "severity": "warn"})
    assert (
        "severity of expectation 1 (expect_column_values_to_not_be_null) 'warn' is unknown: did you mean" in refused()
    )
    write(folder, {key: value for key, value in NOT_NULL.items() if key != "description"})
    assert "description of expectation 1 must be a str, but is None" in refused()
    write(folder, {**NOT_NULL, "kwargs": ["sale_id"]})
    assert "kwargs of expectation 1 must be a dict, but is ['sale_id']" in refused()


def test_a_misspelled_type_is_refused(folder: Path) -> None:
    write(folder, NOT_NULL, {**NOT_NULL, "type": "expect_column_values_to_not_be_nul"})
    assert (
        "expectations/small.json: type of expectation 2 'expect_column_values_to_not_be_nul' is unknown:"
        " did you mean expect_column_values_to_not_be_null or" in refused()
    )


def test_a_misspelled_kwarg_is_refused(folder: Path) -> None:
    write(folder, with_kwargs(BETWEEN, max_valeu=3))
    assert "'max_valeu' is unknown: did you mean max_value or min_value?" in refused()


def test_a_value_that_does_not_fit_is_refused(folder: Path) -> None:
    write(folder, with_kwargs(NOT_NULL, mostly=3))
    assert "is refused by Great Expectations:" in refused()
    assert "mostly 3: expected at most 1" in refused()


def test_a_column_the_table_lacks_is_refused(folder: Path) -> None:
    write(folder, with_kwargs(NOT_NULL, column="quantiy"))
    assert (
        "column of expectation 1 (expect_column_values_to_not_be_null) 'quantiy' is unknown: did you mean quantity?"
        in (refused())
    )
    compound = {
        **NOT_NULL,
        "type": "expect_compound_columns_to_be_unique",
        "kwargs": {"column_list": ["sale_id", "day"]},
    }
    write(folder, compound)
    assert "'day' is unknown: expected one of sale_id, quantity, revenue" in refused()


def test_the_columns_that_a_table_should_have_are_for_the_audit_to_judge(folder: Path) -> None:
    shape = {"type": "expect_table_columns_to_match_ordered_list", "kwargs": {"column_list": ["day"]}}
    write(folder, {**shape, "description": "why"})
    assert suites.check_suite("small", COLUMNS, {}).rules[0].columns == ()


def test_a_parameter_that_is_not_given_is_refused(folder: Path) -> None:
    assert "$PARAMETER of expectation 2 (expect_column_values_to_be_between) 'least' is unknown" in refused({"leas": 1})
    assert "did you mean leas?" in refused({"leas": 1})
    assert "$PARAMETER 'least' of expectation 2 (expect_column_values_to_be_between) is None" in refused(
        {"least": None}
    )


def test_a_parameter_inside_a_kwarg_is_refused(folder: Path) -> None:
    in_set = {"type": "expect_column_values_to_be_in_set", "description": "why"}
    write(folder, {**in_set, "kwargs": {"column": "quantity", "value_set": [1, {"$PARAMETER": "least"}]}})
    assert "has a $PARAMETER inside value_set" in refused()


def test_a_repeated_expectation_is_refused(folder: Path) -> None:
    write(folder, NOT_NULL, BETWEEN, {**NOT_NULL, "description": "in other words", "severity": "warning"})
    assert "expectation 3 (expect_column_values_to_not_be_null) repeats expectation 1" in refused()


def test_a_query_that_does_not_read_the_audited_table_is_refused(folder: Path) -> None:
    kwargs = {"unexpected_rows_query": "SELECT * FROM sales.daily_sales WHERE revenue < 0"}
    write(folder, {"type": "unexpected_rows_expectation", "kwargs": kwargs, "description": "why"})
    assert "must read from {batch}" in refused()
