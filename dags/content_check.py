"""
### Is what landed still there?

Every night a seventh of all that landed is counted and hashed again and compared with the ledger, what was compared
longest ago first: a difference is an incident within a week. `scripts/highwater verify` compares at once.
What was found is in `ops.newest_content_checks`. The task fails where a window could not be compared.
"""

from datetime import timedelta

from airflow.sdk import CronDataIntervalTimetable, dag, task

from highwater.environment import settings
from highwater.incidents.watching import watched

AT_MOST = timedelta(minutes=30)


@task
@watched
def compare_a_share() -> None:
    """Compare this night's share, and all sums, with the ledger, for half an hour at most, and tell of what differs.

    Fails where a window could not be compared: nobody knows of it.
    """
    from highwater.incidents import alerts
    from highwater.store import verify

    try:
        verify.nightly_share(AT_MOST)
    finally:
        alerts.look()


@dag(
    schedule=CronDataIntervalTimetable("30 3 * * *", timezone="UTC"),
    start_date=settings.get().days_before_anchor(0),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 1, "execution_timeout": AT_MOST + timedelta(minutes=15)},
    doc_md=__doc__,
    tags=["highwater", "incidents"],
)
def content_check() -> None:
    compare_a_share()


content_check()
