"""The totals of source and warehouse that a recovery compares."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

import pytest

from highwater.loading.stages import Pipeline
from highwater.model.windows import Window
from highwater.recovery import checks
from highwater.recovery.checks import SameTotals

WINDOW = Window(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 2, tzinfo=UTC))
PIPELINE = Pipeline("own", "own", "own", "own")


@pytest.mark.parametrize(
    ("published", "is_wrong"), [(Decimal("1000.0"), False), (Decimal("1000.9"), False), (Decimal("1001.1"), True)]
)
def test_a_sum_that_is_no_whole_number_is_compared_within_the_tolerance(
    monkeypatch: pytest.MonkeyPatch, published: Decimal, is_wrong: bool
) -> None:
    sums = {"own/source_totals.sql": Decimal("1000.0"), "own/published_totals.sql": published}
    monkeypatch.setattr(
        checks, "_totals", lambda _cursor, name, _values: {WINDOW.start: {"row_count": 3, "total": sums[name]}}
    )
    check = SameTotals("within tolerance", tolerance=0.001)
    problem = check.problem(PIPELINE, cast("Any", None), cast("Any", None), [WINDOW])
    assert (problem is not None) == is_wrong
