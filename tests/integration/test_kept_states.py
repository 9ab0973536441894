"""Each warehouse that older code left can be restored, and holds what tests/upgrade/README.md says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import kept_states
import pytest

from highwater.environment import settings
from highwater.setup import bootstrap
from highwater.store import warehouse

DATABASE = "kept_state"


@pytest.fixture(scope="module")
def roles_put_right(platform: Path) -> Iterator[None]:
    """The roles of the server are what they must be again once the module is done with them."""
    yield
    kept_states.drop(DATABASE)
    bootstrap.run()


@pytest.mark.parametrize("state", kept_states.STATES)
def test_a_kept_state_is_restored_with_what_landed(roles_put_right: None, state: str) -> None:
    kept_states.restore(state, DATABASE)
    with closing(warehouse.connect("postgres", DATABASE)) as link, link.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), max(version), pg_get_userbyid(d.datdba), p.anchor::text"
            " FROM ops.window_ledger CROSS JOIN pg_database AS d CROSS JOIN control.platform AS p"
            " WHERE dataset = 'daily_sales' AND d.datname = current_database() GROUP BY 3, 4"
        )
        landed, version, owner, anchor = cursor.fetchone() or ()
        cursor.execute("SELECT count(*) FROM sales.daily_sales")
        rows = warehouse.fetch_value(cursor)
    assert landed == (30 if state == "58036d3" else 5)
    assert version >= 2, "a day was loaded again with other content"
    assert owner in ("publisher", "postgres")
    assert anchor == kept_states.ENVIRONMENT["HIGHWATER_ANCHOR"]
    assert rows > 30 * landed


def test_the_readme_tells_of_each_state() -> None:
    readme = (settings.ROOT / "tests/upgrade/README.md").read_text()
    assert len(kept_states.STATES) >= 7
    assert not [state for state in kept_states.STATES if f"| `{state}` |" not in readme]


def test_they_stay_small() -> None:
    sizes = [path.stat().st_size for path in kept_states.FOLDER.iterdir()]
    assert sum(sizes) < 1_000_000
