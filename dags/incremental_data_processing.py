"""
### Only what changed, and never one row lost

Every hour the orders that changed in the shop since the last run, and no others, reach `sales.orders`. Data, checkpoint
and ledger move in one transaction. What changed is told by the transaction that changed it, so that one which began
before the last run and was committed after it is not missed.

| task | what it does | when it fails |
| --- | --- | --- |
| `determine_mode` | ends the run if its hour is covered, else says full or incremental, and why | a rule stops it |
| `identify_changes` | the change set into `staging`, from one snapshot of the source | retried |
| `process_changes` | refused rows to quarantine, then the suites `orders`, `order_changes` | at once: names the rows |
| `update_checkpoint` | merges, moves the checkpoint on, writes the ledger row | another run was faster: nothing lost |
| `validate_consistency` | source against target as of the checkpoint | names the keys; the next run is full |

A run takes all that changed up to its start: after an outage the first one catches up alone, and those for the other
hours end at once. *Trigger DAG* asks for `mode: full`, and for `accept`, which loads what a rule stopped.

How the source is read, and what stops a run, is a row of `control.sources`; where it stands is in `ops.checkpoints`,
every move of it in `ops.checkpoint_history`. `scripts/highwater checkpoint show` prints it,
`scripts/highwater checkpoint reset` leads to a full run.
The statements are in `sql/incremental_data_processing/`, the suites in `expectations/`.
"""

from datetime import timedelta

from airflow.sdk import Param, dag

from highwater.airflow import increment_tasks
from highwater.airflow.timetable import PolicyTimetable
from highwater.environment import settings
from highwater.incidents import alerts
from highwater.loading.changes.increments import IncrementalPipeline

ORDERS = IncrementalPipeline(
    dataset="orders",
    folder="incremental_data_processing",
    connection="shop",
    suite="orders",
    change_suite="order_changes",
)


@dag(
    schedule=PolicyTimetable("0 * * * *", "orders"),
    start_date=settings.get().days_before_anchor(1),
    catchup=True,
    max_active_runs=1,
    default_args={
        "pool": "orders",
        "retries": 6,
        "retry_delay": timedelta(seconds=5),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=5),
    },
    params={
        "mode": Param("auto", enum=["auto", "full"], description="full: take everything, not only what changed"),
        "accept": Param(False, type="boolean", description="Load what a rule of control.sources would stop"),
    },
    on_failure_callback=alerts.on_failure,
    doc_md=__doc__,
    tags=["highwater", "orders"],
)
def incremental_data_processing() -> None:
    plan = increment_tasks.determine_mode(ORDERS)
    identified = increment_tasks.identify_changes(ORDERS, plan)
    processed = increment_tasks.process_changes(ORDERS, identified)
    merged = increment_tasks.update_checkpoint(ORDERS, processed)
    increment_tasks.validate_consistency(ORDERS, merged)


incremental_data_processing()
