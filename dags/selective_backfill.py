"""
### Only the windows you want, and you know which before

*Trigger* opens a form: a dataset, the first and the last day, what to leave out, and why. Nothing else is needed.
`scripts/highwater backfill plan` shows what the same would do, window by window, and changes nothing.

| task | what it does | when it fails |
| --- | --- | --- |
| `begin` | writes the backfill down with its plan, or takes on one that is there | refused: says what is valid |
| `lanes` | as many as windows may be in work at once | retried |
| `load_windows` | a lane: one window after the other through all stages | retried; its window is taken again |
| `end` | how it ended | fails if a window failed: its error is in the table below |

How far it is: `scripts/highwater backfill watch`, or `SELECT * FROM ops.backfill_progress`; each window with what
became of it and why is in `control.backfill_windows`. `scripts/highwater backfill pause`, `resume` and `cancel` let
windows in work finish.

A backfill has slots of its own (pool `backfill`) and low priority: scheduled runs do not wait for it, and none moves.
"""

from datetime import timedelta

from airflow.sdk import dag

from highwater.airflow import backfill_tasks
from highwater.airflow.retries import ByKind
from highwater.backfill import form
from highwater.environment import settings
from highwater.incidents import alerts
from highwater.setup.metadata import BACKFILL


@dag(
    schedule=None,
    start_date=settings.get().days_before_anchor(0),
    max_active_runs=16,
    default_args={
        "retries": 24,
        "retry_delay": timedelta(seconds=5),
        "retry_policy": ByKind(),
        "priority_weight": -1000,
        "weight_rule": "absolute",
    },
    params=form.params(),
    on_failure_callback=alerts.on_failure,
    doc_md=__doc__,
    tags=["highwater", "backfill"],
)
def selective_backfill() -> None:
    begun = backfill_tasks.begin()
    numbers = backfill_tasks.lanes(begun)
    loaded = backfill_tasks.load_windows.override(pool=BACKFILL).partial(begun=begun).expand(lane=numbers)
    loaded >> backfill_tasks.end(begun)


selective_backfill()
