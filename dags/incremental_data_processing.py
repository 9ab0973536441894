"""
### Only what changed, without losing a row

Every hour the orders that changed in the shop since the last run are merged into `sales.orders`. Data, checkpoint and
ledger are written in one transaction. Changes are found by the transaction that made them, so one that began before
the last run and was committed after it is not missed.

| task | what it does | when it fails |
| --- | --- | --- |
| `determine_mode` | ends the run if its hour is covered, else decides full or incremental | a rule stops the run |
| `identify_changes` | extracts the change set into `staging`, at one snapshot of the source | retried |
| `process_changes` | rejected rows to quarantine, then suites `orders`, `order_changes` | at once: names the rows |
| `update_checkpoint` | merges, advances the checkpoint, writes the ledger row | another run was first: nothing lost |
| `validate_consistency` | compares source and target as of the checkpoint | names the keys; the next run is full |

A run loads all changes up to its start: after an outage the first run catches up alone, and the runs of the other
hours end at once. *Trigger DAG* takes `mode: full`, and `accept`, which loads what a rule stopped.

How the source is read, and what stops a run, is a row of `control.sources`. The checkpoint is in `ops.checkpoints`, its
history in `ops.checkpoint_history`. `scripts/highwater checkpoint show` prints it, `scripts/highwater checkpoint reset`
makes the next run a full one.
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
        "mode": Param("auto", enum=["auto", "full"], description="full: load everything, not only what changed"),
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
