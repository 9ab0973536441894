"""
### Three sources, three levels of trust

Every midnight UTC the data of the stores, a partner and a supplier is combined in `sales.channel_sales`: one row per
order, in the one channel it counts in, with a flag for each source that had landed.

| task | what it does | when it fails |
| --- | --- | --- |
| `ask_ledger` | ends a scheduled run whose day has landed and that has nothing left to do | retried |
| `check_<source>` | checks availability, speed and the window; recorded in `ops.source_checks` | recorded, succeeds |
| `sync_<source>` | loads the windows its rule gives: stage, audit, publish | skipped if unavailable, else retried |
| `synchronise` | builds in staging each day whose sources changed | runs whether the loads succeed or not |
| `validate_cross_source` | runs the suite `cross_source` on the numbers of all sides | holds the day back, or warns |
| `publish_channel_sales` | publishes the days that passed | names those held back; former versions are kept |

`store` lands its day and every gap before it. `supplier` lands every week that is due by the run's day and has not
landed, or was delivered again. `partner` lands only the current window: a run for a past one records a skip with its
reason, *unless* the partner has been reliable. Then it lands that window, and missing ones before it, as far back as
`catch_up_limit`.

How far each source is trusted is a row of `control.sources` and applies from the next run on: `catch_up` (`all`,
`reliable`, `none`), `reliability_threshold` over the last `reliability_checks`, `catch_up_limit`, `statement_timeout`.
`scripts/highwater sources` prints their state; `scripts/highwater outage start partner` starts an outage. A source that
hangs costs its timeout once per run. The loads share the pool `loading`; no task waits while it holds a slot.

A day that arrives incomplete, empty, late or in another shape is never published;
docs/reference/dags/multi_source_sync.md lists what happens in each case.
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
        # The days of historical_sales_migration go first if slots are few.
        "priority_weight": -100,
    },
    doc_md=__doc__,
    tags=["highwater", "channel_sales"],
)
def multi_source_sync() -> None:
    begun = sync_tasks.ask_ledger(CHANNELS, list(SOURCES.values()))
    built = sync_tasks.build_days.override(task_id="synchronise")(CHANNELS)
    for source, pipeline in SOURCES.items():
        checked = sync_tasks.check.override(task_id=f"check_{source}")(pipeline, CHANNELS.dataset)
        begun >> checked
        sync_tasks.sync.override(task_id=f"sync_{source}", pool="loading")(pipeline, checked, CHANNELS.dataset) >> built
    compared = sync_tasks.compare.override(task_id="validate_cross_source")(CHANNELS, built)
    sync_tasks.publish_days.override(task_id="publish_channel_sales")(CHANNELS, compared)


multi_source_sync()
