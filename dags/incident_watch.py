"""
### Incidents and alerts

Every five minutes: opens, escalates and closes incidents, and sends waiting alerts. Every task does the same at its
end; this DAG covers the times when none ends: all are killed or paused, and data goes stale.
Incidents are in `ops.incidents`, alerts in `ops.alerts` and `ops.alert_deliveries`. The DAG also drops expired former
versions of windows, and writes the summary of a window whose run was killed after its load.
"""

from datetime import timedelta

from airflow.sdk import CronDataIntervalTimetable, dag, task

from highwater.environment import settings
from highwater.incidents.watching import watched


@task
@watched
def look() -> None:
    """Finish windows whose run was killed after its load; then reconcile incidents and send waiting alerts."""
    from highwater.incidents import alerts
    from highwater.loading import stages

    try:
        stages.finish_cut_short()
    finally:
        alerts.look()


@task
@watched
def prune_versions() -> None:
    """Drop former versions that are older than HIGHWATER_KEEP_VERSIONS_DAYS."""
    from highwater.store import rollback

    rollback.prune()


@dag(
    schedule=CronDataIntervalTimetable("*/5 * * * *", timezone="UTC"),
    start_date=settings.get().days_before_anchor(0),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 0, "execution_timeout": timedelta(minutes=4)},
    doc_md=__doc__,
    tags=["highwater", "incidents"],
)
def incident_watch() -> None:
    look()
    prune_versions()


incident_watch()
