"""
### Three sources, three kinds of trust

Every midnight UTC the stores, a partner and a supplier come together in `sales.channel_sales`: one row an order, in the
one channel it counts in, with a flag for each source it rests on.

| task | what it does | when it fails |
| --- | --- | --- |
| `ask_ledger` | ends a scheduled run whose day has landed, and that nothing is left for | retried |
| `check_<source>` | one look, kept in `ops.source_checks`: there, quick, window complete? | away is no failure |
| `sync_<source>` | lands the windows its rule gives: stage, audit, publish | skipped if away, else retried |
| `synchronise` | makes aside each day whose sources hold something new | runs whatever became of the loads |
| `validate_cross_source` | the suite `cross_source` on the numbers of all sides | holds the day back, or warns |
| `publish_channel_sales` | publishes the days that hold | names those held back; the former version stands |

`store` lands its day and every gap before it. `supplier` lands every week that is due by the run's day and has not
landed, or was delivered again. `partner` lands the current window alone: a run for a past one records a skip with its
reason, *unless* the partner has been reliable. Then it lands that one, and what is missing before it, as far back as
`catch_up_limit`.

How far each is trusted is a row of `control.sources` and holds from the next run on: `catch_up` (`all`, `reliable`,
`none`), `reliability_threshold` over the last `reliability_checks`, `catch_up_limit`, `statement_timeout`.
`scripts/highwater sources` prints how they are; `scripts/highwater outage start partner` takes one away. A source that
hangs costs its timeout once a run; the loads share the pool `loading`, and nothing waits in it.

A day that comes short, empty, late or in another shape is never published;
docs/reference/dags/multi_source_sync.md says what each gets.
"""

from datetime import timedelta

from airflow.sdk import dag

from highwater.airflow import sync_tasks
from highwater.airflow.timetable import PolicyTimetable
from highwater.environment import settings
from highwater.loading.stages import Pipeline
from simulation import settings as simulation_settings

SOURCES = {
    "store": Pipeline("store_sales", "multi_source_sync/store", "store", "store_sales"),
    "partner": Pipeline("partner_sales", "multi_source_sync/partner", "partner", "partner_sales"),
    "supplier": Pipeline("supplier_settlements", "multi_source_sync/supplier", "supplier", "supplier_settlements"),
}
CHANNELS = Pipeline("channel_sales", "multi_source_sync/channels", "", "cross_source")


@dag(
    schedule=PolicyTimetable("0 0 * * *", "channel_sales"),
    start_date=settings.get().days_before_anchor(simulation_settings.get().channel_days),
    catchup=True,
    max_active_runs=1,
    default_args={
        "pool": "channels",
        "retries": 3,
        "retry_delay": timedelta(seconds=5),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=5),
        # The month's days go first where slots are few.
        "priority_weight": -100,
    },
    doc_md=__doc__,
    tags=["highwater", "channel_sales"],
)
def multi_source_sync() -> None:
    begun = sync_tasks.ask_ledger(CHANNELS, list(SOURCES.values()))
    made = sync_tasks.make_days.override(task_id="synchronise")(CHANNELS)
    for source, pipeline in SOURCES.items():
        checked = sync_tasks.check.override(task_id=f"check_{source}")(pipeline)
        begun >> checked
        sync_tasks.sync.override(task_id=f"sync_{source}", pool="loading")(pipeline, checked) >> made
    compared = sync_tasks.compare.override(task_id="validate_cross_source")(CHANNELS, made)
    sync_tasks.publish_days.override(task_id="publish_channel_sales")(CHANNELS, compared)


multi_source_sync()
