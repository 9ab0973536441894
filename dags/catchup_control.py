"""
### What is wanted, watched over

Every five minutes: what do the conditions of the policies answer, has somebody changed what is wanted, is there a gap
that the policy wants filled and that Airflow has gone past?

| task | what it does | when it fails |
| --- | --- | --- |
| `look_at_conditions` | asks the predicates of `conditions/` that policies name | the next run asks |
| `announce_changes` | a log line a change: who, when, old, new, why; incidents for risky ones | the next run tells |
| `resume_stopped` | lets a stopped dataset go on once something changed, with a backfill | the next run does |
| `end_without_run` | ends backfills whose run was marked failed; begins those whose run is gone | the next run does |
| `fill_gaps` | a backfill row for windows that no run of Airflow will be made for any more | the next run fills |
| `start_waiting` | starts the backfills that wait: of this DAG, of `psql`, of whoever | the next run starts |

The predicates are in `sql/catchup_control/conditions/`; one that fails or hangs counts as it did before. Airflow goes
past windows when catch-up was off, and when a native backfill ran ahead of the schedule: it makes no run for the dates
between any more. `scripts/highwater policy explain` shows what the policy says of each window,
`scripts/highwater policy history` who changed it.
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
