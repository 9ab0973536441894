"""
### Catch-up policies: conditions, changes, gaps

Every five minutes: checks the conditions of the policies, announces changes of policies, and requests backfills of gaps
that the policy wants filled and that the schedule has passed.

| task | what it does | when it fails |
| --- | --- | --- |
| `look_at_conditions` | checks the predicates of `conditions/` that policies name | next run retries |
| `announce_changes` | logs each change: who, when, old, new, why; incidents for risky ones | next run retries |
| `resume_stopped` | resumes a stopped dataset once its cause has changed, with a backfill | next run retries |
| `end_without_run` | ends backfills whose run was marked failed, restarts those whose run is gone | next run retries |
| `fill_gaps` | requests a backfill of windows that Airflow will create no run for any more | next run retries |
| `start_waiting` | triggers runs of waiting backfills: of this DAG, `psql`, the command line | next run retries |

The predicates are in `sql/catchup_control/conditions/`; where one fails or times out, its previous answer counts. The
schedule passes windows while catch-up is off, and when a native backfill runs ahead of it: Airflow then creates no run
for the dates between. `scripts/highwater policy explain` shows the policy's verdict on each window,
`scripts/highwater policy history` who changed the policy.
"""

from datetime import timedelta

from airflow.sdk import CronDataIntervalTimetable, dag

from highwater.airflow import backfill_tasks, catchup_tasks
from highwater.environment import settings


@dag(
    schedule=CronDataIntervalTimetable("*/5 * * * *", timezone="UTC"),
    start_date=settings.get().days_before_anchor(0),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 0, "execution_timeout": timedelta(minutes=4)},
    doc_md=__doc__,
    tags=["highwater", "policy"],
)
def catchup_control() -> None:
    looked = catchup_tasks.look_at_conditions()
    announced = catchup_tasks.announce_changes()
    resumed = catchup_tasks.resume_stopped()
    ended = catchup_tasks.end_without_run()
    filled = catchup_tasks.fill_gaps()
    started = backfill_tasks.start_waiting()
    looked >> announced >> resumed >> ended >> filled >> [*started.upstream_list]


catchup_control()
