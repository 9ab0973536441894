"""
### Does published data still match the ledger?

Every night a seventh of all landed windows, the least recently checked first, is counted and hashed and compared with
the ledger: a difference becomes an incident within a week. `scripts/highwater verify` compares at once.
The results are in `ops.newest_content_checks`. The task fails if a window could not be compared.
"""

from datetime import timedelta

from airflow.sdk import CronDataIntervalTimetable, dag, task

from highwater.environment import settings
from highwater.incidents.watching import watched

TIME_LIMIT = timedelta(minutes=30)


@task
@watched
def compare_a_share() -> None:
    """Compare this night's share, and all sums, with the ledger for half an hour at most, and report differences.

    Fails if a window could not be compared.
    """
    from highwater.incidents import alerts
    from highwater.store import verify

    try:
        verify.nightly_share(TIME_LIMIT)
    finally:
        alerts.look()


@dag(
    schedule=CronDataIntervalTimetable("30 3 * * *", timezone="UTC"),
    start_date=settings.get().days_before_anchor(0),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 1, "execution_timeout": TIME_LIMIT + timedelta(minutes=15)},
    doc_md=__doc__,
    tags=["highwater", "incidents"],
)
def content_check() -> None:
    compare_a_share()


content_check()
