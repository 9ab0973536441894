"""
### Somebody always looks

Every five minutes: is there an incident that nobody has seen, one that is over, a message that waits to be sent? Every
task looks as well when it ends; this DAG is for when none does: all were killed, all are paused, data grows old.
What was found is in `ops.incidents`, what is told to whom in `ops.alerts` and `ops.alert_deliveries`. It also drops the
former versions of windows whose days are over, and writes the summary of a window whose run was killed behind its load.
"""

from datetime import timedelta

from airflow.sdk import CronDataIntervalTimetable, dag, task

from highwater.environment import settings
from highwater.incidents.watching import watched


@task
@watched
def look() -> None:
    """Finish what was killed behind its load; open, escalate and close incidents, and send what is waiting."""
    from highwater.incidents import alerts
    from highwater.loading import stages

    try:
        stages.finish_cut_short()
    finally:
        alerts.look()


@task
@watched
def prune_versions() -> None:
    """Let go of former versions that were kept for HIGHWATER_KEEP_VERSIONS_DAYS."""
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
