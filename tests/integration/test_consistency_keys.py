"""Source and target are compared by any key: the whole range of bigint, any text, several columns."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keyed import Keyed, keyed
from shopping import run, shop, value

from highwater.loading import staging
from highwater.loading.changes import increments
from highwater.store import checkpoints, warehouse

LAST = 2**63 - 1
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6) | st.sampled_from(
    ["a,b", "a", "b", ",", "'", '"', '["a"]', "%", "%s", "\\", "ä", "Z", "z", "null", "{}", " "]
)
KINDS: dict[str, tuple[dict[str, str], dict[str, str], Any]] = {
    "keyed_number": ({"id": "bigint"}, {"id": "bigint"}, st.tuples(st.integers(-LAST - 1, LAST))),
    "keyed_narrow": ({"id": "integer"}, {"id": "bigint"}, st.tuples(st.integers(-(2**31), 2**31 - 1))),
    "keyed_text": ({"code": "text"}, {"code": "text"}, st.tuples(TEXT)),
    "keyed_pair": (
        {"depot": "text", "number": "bigint"},
        {"depot": "text", "number": "bigint"},
        st.tuples(TEXT, st.integers(-LAST - 1, LAST)),
    ),
    "keyed_moment": (
        {"seen_at": "timestamptz", "id": "uuid"},
        {"seen_at": "timestamptz", "id": "uuid"},
        st.tuples(st.datetimes().map(lambda moment: f"{moment.isoformat()}+00"), st.uuids().map(str)),
    ),
}


@pytest.fixture(scope="module", params=list(KINDS))
def kind(
    platform: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[Keyed, Any]]:
    at_source, published, keys = KINDS[request.param]
    with keyed(tmp_path_factory.mktemp("sql"), request.param, at_source, published) as dataset:
        yield dataset, keys


@pytest.fixture(scope="module")
def numbers(platform: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    with keyed(tmp_path_factory.mktemp("sql"), "numbers", {"id": "bigint"}, {"id": "bigint"}) as dataset:
        yield dataset


def named(dataset: Keyed, keys: tuple[str, ...]) -> set[tuple[str, ...]]:
    return {tuple(json.loads(key)) if len(dataset.keys) > 1 else (key,) for key in keys}


def test_whatever_differs_is_named_and_nothing_else(kind: tuple[Keyed, Any]) -> None:
    dataset, strategy = kind

    @settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(keys=st.lists(strategy, unique=True, max_size=24), chance=st.randoms(use_true_random=False))
    def holds(keys: list[tuple[Any, ...]], chance: random.Random) -> None:
        dataset.hold(keys)
        order = ", ".join(dataset.keys)
        with warehouse.session("postgres") as cursor:
            cursor.execute(
                "SELECT ctid::text AS place, ARRAY(SELECT coalesce(to_jsonb(k) #>> '{}', '')"
                f" FROM jsonb_array_elements(jsonb_build_array({order})) AS e (k)) AS key FROM sales.{dataset.name}"
            )
            rows = warehouse.fetch_all(cursor)
        changed, missing = (chance.sample(rows, chance.randint(0, min(3, len(rows)))) for _ in range(2))
        dataset.tamper("UPDATE TABLE SET content = 'forged' WHERE ctid::text = ANY(%s)", ([r.place for r in changed],))
        gone = [r.place for r in missing if r not in changed]
        dataset.tamper("DELETE FROM TABLE WHERE ctid::text = ANY(%s)", (gone,))
        expected = {tuple(row.key) for row in [*changed, *missing]}
        assert named(dataset, dataset.compare().keys) == expected
        rounds = [dataset.compare(incremental=True) for _ in range(len(keys) // 5 + 1)]
        assert {key for check in rounds for key in named(dataset, check.keys)} == expected

    holds()


def test_the_ends_of_the_range_and_negative_keys_compare(numbers: Keyed) -> None:
    numbers.hold([(key,) for key in (-LAST - 1, -7, -1, 0, 1, 2**62, LAST - 1, LAST)])
    assert numbers.compare().keys == ()
    numbers.tamper("UPDATE TABLE SET content = 'forged' WHERE id IN (%s, %s, %s)", (-LAST - 1, -7, LAST))
    wanted = (str(-LAST - 1), "-7", str(LAST))
    assert numbers.compare().keys == wanted
    found = [numbers.compare(incremental=True).keys for _ in range(2)]
    assert sorted(key for keys in found for key in keys) == sorted(wanted)


def test_sparse_keys_are_gone_round_by_their_number_and_not_by_their_range(numbers: Keyed) -> None:
    """As numbers from a generator of unique ones are: 300 of them, each 155 million behind the last."""
    numbers.hold([(1_800_000_000_000_000_000 + n * 4194304 * 37,) for n in range(300)])
    numbers.tamper("UPDATE TABLE SET content = 'forged'")
    assert len(numbers.compare().keys) >= 10, "those in the first ten buckets that differ"
    seen = [key for _ in range(60) for key in numbers.compare(incremental=True).keys]
    assert (len(seen), len(set(seen))) == (300, 300)


def test_rows_that_only_the_target_has_are_found_wherever_they_lie(numbers: Keyed) -> None:
    numbers.hold([(key,) for key in range(10)])
    numbers.tamper("INSERT INTO TABLE (id, content) VALUES (-5, 'x'), (1000, 'x'), (%s, 'x')", (LAST,))
    found = [key for _ in range(3) for key in numbers.compare(incremental=True).keys]
    assert sorted(found) == sorted(["-5", "1000", str(LAST)])
    assert numbers.compare().keys == ("-5", "1000", str(LAST))


@pytest.fixture
def pairs(platform: Path, empty_warehouse: None, tmp_path: Path) -> Iterator[Keyed]:
    columns = {"a": "text", "b": "text"}
    with keyed(tmp_path / "sql", "pairs", columns, columns) as dataset:
        yield dataset


def test_a_refused_key_is_not_taken_for_another_with_the_same_commas(pairs: Keyed) -> None:
    pairs.at_source("INSERT INTO {table} (a, b, content) VALUES ('a', 'b,c', 'bad'), ('a,b', 'c', 'fine')")

    def land() -> None:
        with shop() as source:
            changes = increments.identify(source, pairs.increment, increments.determine(source, pairs.increment), run())
        with warehouse.session("loader") as cursor:
            cleaned = staging.clean(cursor, pairs.increment.folder, changes.name, changes.window)
        assert cleaned.rows_rejected <= 1
        checkpoints.merge("pairs", changes, run())

    land()
    assert value("SELECT array_agg(key) FROM quarantine.refused_keys") == ['["a", "b,c"]']
    assert (pairs.compare().keys, pairs.compare().refused) == ((), 1)
    pairs.tamper("UPDATE TABLE SET content = 'forged'")
    assert pairs.compare().keys == ('["a,b", "c"]',)
    pairs.at_source(
        "UPDATE {table} SET content = 'repaired', changed_xid = pg_current_xact_id() WHERE a = 'a,b';"
        "UPDATE {table} SET content = 'bad', changed_xid = pg_current_xact_id() WHERE a = 'a'"
    )
    land()
    assert value("SELECT array_agg(key) FROM quarantine.refused_keys") == ['["a", "b,c"]']
    assert (pairs.compare().keys, pairs.compare().refused) == ((), 1)
