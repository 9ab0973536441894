"""
### Three days down, back in order, and everybody knows

Every six hours: whatever is due and has not landed is loaded, however long the platform was down and with whatever
holes. Payments come first: all of the backlog, before the first window of page views starts.

| task | what it does | when it fails |
| --- | --- | --- |
| `check_health` | warehouse, disk, locks, replication, ledger, sources; ends a run without work | waits, ever longer |
| `critical_backlog` | asks the ledger which payments windows are to land | retried |
| `process_critical` | a task a window: stage, audit, publish; two at once (pool `billing`) | by what failed |
| `non_critical_backlog` | the next page views; none while a payments window is to land | retried |
| `process_non_critical` | a task a window; two at once (pool `web`) | by what failed |
| `validate_integrity` | payments to the cent, their orders, no gap, views within a tolerance | names what differs |
| `notify` | how far it is, what waits to be sent | fails the run if something did not land |

A source that is away is waited for with growing, jittered pauses; a busy table is tried again soon; refused data and
wrong configuration are not tried again. The first run after an outage does the work; those behind it find none left.
`scripts/highwater recovery` shows how far it is, `ops.recovery_progress` too; `ops.incidents` what people were told.
"""

from datetime import timedelta

from airflow.sdk import dag

from highwater.airflow import recovery_tasks
from highwater.airflow.retries import ByKind
from highwater.airflow.tasks import Pipeline
from highwater.airflow.timetable import PolicyTimetable
from highwater.environment import settings
from highwater.incidents import alerts

PAYMENTS = Pipeline("payments", "system_recovery_processing/payments", "billing", "payments")
PAGE_VIEWS = Pipeline("page_views", "system_recovery_processing/page_views", "web", "page_views")


@dag(
    schedule=PolicyTimetable("15 */6 * * *", "payments"),
    start_date=settings.get().days_before_anchor(3),
    catchup=True,
    # One run recovers all of the backlog, so that two cannot both think a window theirs.
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
    compared = recovery_tasks.validate_integrity(PAYMENTS, PAGE_VIEWS, payments, page_views)
    recovery_tasks.notify(PAYMENTS, PAGE_VIEWS, payments, page_views, compared)
    recovery_tasks.check_health(PAYMENTS, PAGE_VIEWS) >> payments >> critical >> page_views
    non_critical >> compared


system_recovery_processing()
