"""What the engine asks again and again, with ever more datasets: what breaks first on the way to ten thousand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import measuring
import typer
from measuring import AsJson, Figure, Repeat

from highwater.policy import reader
from highwater.store import status as statuses
from highwater.store import warehouse

FEW = 100
WINDOWS = 7


def _all_of(role: str, query: str) -> None:
    with warehouse.session(role) as cursor:
        cursor.execute(query)
        cursor.fetchall()


def _status() -> None:
    with warehouse.session("analyst") as cursor:
        found = statuses.read(cursor)
        statuses.draw(found, statuses.troubles(cursor, found))


ASKED: dict[str, Callable[[], None]] = {
    # By each process that schedules.
    "the policies, read every 3 s": lambda: reader.PolicyReader().look(),
    # By a task that fails, by most where something is wrong, and every five minutes.
    "a look for incidents": partial(_all_of, "loader", "SELECT * FROM ops.reconcile_incidents()"),
    "all gaps": partial(_all_of, "analyst", "SELECT * FROM ops.gaps"),
    "the freshness of all": partial(_all_of, "analyst", "SELECT * FROM ops.freshness"),
    "highwater status": _status,
}


def main(
    datasets: Annotated[list[int] | None, typer.Option(help="Number of datasets; may be given again.")] = None,
    repeat: Repeat = 5,
    as_json: AsJson = False,
) -> None:
    """Datasets of daily windows, a week of which has landed, beside a hundred of them."""
    found = []
    with measuring.platform(HIGHWATER_HISTORY_DAYS="1", SIMULATION_ROWS_PER_DAY="10"):
        few: dict[str, float] = {}
        there = 0
        for wanted in sorted({FEW, *(datasets or [1_000, 10_000])}):
            _add(there, wanted)
            there = wanted
            for what, ask in ASKED.items():
                (took,) = measuring.medians(repeat, partial(measuring.seconds, ask))
                few.setdefault(what, took)
                if wanted != FEW:
                    found.append(Figure(what, f"{wanted:,} datasets", took, f"{FEW} datasets", few[what]))
    measuring.show(found, as_json)


def _add(first: int, last: int) -> None:
    """Datasets number ``first`` to ``last``, with the policy a new one has and all of a week landed."""
    with warehouse.session("postgres") as cursor:
        cursor.execute(
            "INSERT INTO control.datasets (dataset, dag_id, published_table, first_window, step)"
            " SELECT 'many_' || n, 'nobody', 'sales.many_' || n,"
            " date_trunc('day', ops.clock()) - %s * interval '1 day', '1 day'"
            " FROM generate_series(%s::integer + 1, %s) AS n",
            (WINDOWS, first, last),
        )
        cursor.execute(
            "INSERT INTO ops.window_ledger (dataset, window_range, version, rows_extracted, rows_published,"
            " rows_quarantined, rows_deduplicated, content_hash, staged_as, dag_id, run_id, landed_at)"
            " SELECT d.dataset, tstzrange(day, day + d.step, '[)'), 1, 0, 0, 0, 0, '', '', 'nobody', 'run', ops.clock()"
            " FROM control.datasets AS d, generate_series(d.first_window, d.first_window + %s * d.step, d.step) AS day"
            " WHERE d.dataset LIKE 'many_%%' AND substr(d.dataset, 6)::integer > %s",
            (WINDOWS - 1, first),
        )
    measuring.tidy("postgres", None, "control.datasets", "control.catchup_policies", "ops.window_ledger")


if __name__ == "__main__":
    typer.run(main)
