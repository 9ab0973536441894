"""
### Recovery after an outage, most important data first

Every six hours all windows that are due and have not landed are loaded, however long the platform was down. Payments
come first: their whole backlog lands before the first window of page views starts.

| task | what it does | when it fails |
| --- | --- | --- |
| `check_health` | warehouse, disk, locks, replication, ledger, sources; ends a run without work | waits with backoff |
| `critical_backlog` | reads from the ledger which payments windows are to land | retried |
| `process_critical` | a task per window: stage, audit, publish; two at once (pool `billing`) | depends on the error |
| `non_critical_backlog` | the next page views; none while a payments window is to land | retried |
| `process_non_critical` | a task per window; two at once (pool `web`) | depends on the error |
| `validate_integrity` | payments to the cent, their orders, no gap, views within a tolerance | names the difference |
| `notify` | logs the progress, sends waiting alerts | fails the run if something did not land |

An unavailable source is retried with growing, jittered pauses, a busy table soon; rejected data and wrong
configuration are not retried. The first run after an outage does the work; the runs after it find nothing left.
`scripts/highwater recovery` and `ops.recovery_progress` show the progress, `ops.incidents` the incidents.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import dag

from highwater.airflow import recovery_tasks
from highwater.airflow.retries import ByKind
from highwater.airflow.tasks import Pipeline
from highwater.airflow.timetable import PolicyTimetable
from highwater.environment import settings
from highwater.incidents import alerts
from highwater.recovery.backlog import Recovered
from highwater.recovery.checks import NoOrphans, SameTotals

PAYMENTS = Pipeline("payments", "system_recovery_processing/payments", "billing", "payments")
PAGE_VIEWS = Pipeline("page_views", "system_recovery_processing/page_views", "web", "page_views")
# In the order of loading, each with the checks of what was loaded.
RECOVERED = [
    Recovered(PAYMENTS, (SameTotals("equal to the source", without_refused=True), NoOrphans("orders are there"))),
    Recovered(PAGE_VIEWS, (SameTotals("within tolerance of the source", tolerance=0.001),)),
]


@dag(
    schedule=PolicyTimetable("15 */6 * * *", "payments"),
    start_date=settings.get().days_before_anchor(3),
    catchup=True,
    # One run recovers the whole backlog, so that no two runs load the same window.
    max_active_runs=1,
    default_args={"retries": 24, "retry_delay": timedelta(seconds=5), "retry_policy": ByKind()},
    on_failure_callback=alerts.on_failure,
    doc_md=__doc__,
    tags=["highwater", "payments", "page_views"],
)
def system_recovery_processing() -> None:
    payments = recovery_tasks.critical_backlog(PAYMENTS)
    critical = (
        recovery_tasks.process_window.override(task_id="process_critical", pool="billing")
        .partial(pipeline=PAYMENTS)
        .expand(window=payments)
    )
    page_views = recovery_tasks.non_critical_backlog(PAGE_VIEWS, PAYMENTS, payments)
    non_critical = (
        recovery_tasks.process_window.override(task_id="process_non_critical", pool="web")
        .partial(pipeline=PAGE_VIEWS)
        .expand(window=page_views)
    )
    planned: list[Any] = [payments, page_views]
    compared = recovery_tasks.validate_integrity(RECOVERED, planned)
    recovery_tasks.notify(RECOVERED, planned, compared)
    recovery_tasks.check_health(RECOVERED) >> payments >> critical >> page_views
    non_critical >> compared


system_recovery_processing()
