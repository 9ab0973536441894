"""
### Only the windows you want, shown before anything runs

*Trigger* opens a form: a dataset, the first and the last day, what to leave out, and why. Nothing else is needed.
`scripts/highwater backfill plan` shows the same plan, window by window, and changes nothing.

| task | what it does | when it fails |
| --- | --- | --- |
| `begin` | records the backfill with its plan, or begins a requested one | refused: says what is valid |
| `lanes` | one lane per window that may be loaded in parallel | retried |
| `load_windows` | a lane: one window after the other through all stages | retried; its window is taken again |
| `end` | ends the backfill and logs the result | fails if a window failed: its error is in the table below |

Progress: `scripts/highwater backfill watch`, or `SELECT * FROM ops.backfill_progress`; each window with its result and
the reason is in `control.backfill_windows`. `scripts/highwater backfill pause`, `resume` and `cancel` let running
windows finish.

A backfill has slots of its own (pool `backfill`) and low priority: scheduled runs neither wait for it nor change.
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
