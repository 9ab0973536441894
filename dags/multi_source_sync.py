"""
### Three sources, three kinds of trust
"""

from datetime import timedelta

from airflow.sdk import CronDataIntervalTimetable, dag

from highwater import settings, sync_tasks
from highwater.metadata import LOADING
from highwater.stages import Pipeline

SOURCES = {
    "store": Pipeline("store_sales", "multi_source_sync/store", "store", "store_sales"),
    "partner": Pipeline("partner_sales", "multi_source_sync/partner", "partner", "partner_sales"),
    "supplier": Pipeline("supplier_settlements", "multi_source_sync/supplier", "supplier", "supplier_settlements"),
}
CHANNELS = Pipeline("channel_sales", "multi_source_sync/channels", "", "cross_source")


@dag(
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=settings.get().days_before_anchor(settings.get().channel_days),
    catchup=True,
    max_active_runs=1,
    default_args={
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
    made = sync_tasks.make_days.override(task_id="synchronise")(CHANNELS)
    for source, pipeline in SOURCES.items():
        checked = sync_tasks.check.override(task_id=f"check_{source}")(pipeline)
        sync_tasks.sync.override(task_id=f"sync_{source}", pool=LOADING)(pipeline, checked) >> made
    compared = sync_tasks.compare.override(task_id="validate_cross_source")(CHANNELS, made)
    sync_tasks.publish_days.override(task_id="publish_channel_sales")(CHANNELS, compared)


multi_source_sync()
