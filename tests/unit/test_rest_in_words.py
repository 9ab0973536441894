"""How long the rest takes, in words: a range that is rounded outwards."""

from __future__ import annotations

from datetime import timedelta

import pytest

from highwater.model.estimates import rest_in_words


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (None, None, ""),
        (0, 0, "up to 10 s"),
        (0, 31, "up to 40 s"),
        (12, 31, "10-40 s"),
        (41, 50, "40-50 s"),
        (100, 200, "1-4 min"),
        (121, 240, "2-4 min"),
        (30, 200, "up to 4 min"),
        (120, 120, "about 2 min"),
        (3600, 9000, "1-3 h"),
        (86400 * 3, 86400 * 4, "3-4 days"),
    ],
)
def test_it_is_rounded_outwards_in_the_unit_of_its_end(low: int | None, high: int | None, said: str) -> None:
    ends = [None if value is None else timedelta(seconds=value) for value in (low, high)]
    assert rest_in_words(*ends) == said
