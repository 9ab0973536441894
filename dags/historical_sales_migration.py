"""
### A month of sales, landed and provable

Every night at 02:00 UTC the tills' day before goes from `legacy.sales` to `sales.daily_sales`. On its first start it
catches up: one run per day since *anchor - 30 days*, three at a time.

| task | what it does | when it fails |
| --- | --- | --- |
| `validate_availability` | is the day closed at the source? | retried: the source is away, the day still open |
| `extract` | COPY stream into a set of its own in `staging` | retried: nothing is half-landed |
| `transform` | `clean.sql`; refused rows to quarantine, each with its reason | fails at once: it does not fit |
| `audit` | the suite `daily_sales` on the set, before anyone can read it | fails at once: names the rows |
| `load` | publishes the day and writes its ledger row, in one transaction | retried when busy |
| `summarise` | what it cost, in `ops.processing_summary` | retried |

Each may be killed at any point and run again. What landed is in `ops.window_ledger`, what is missing in `ops.gaps`.
The statements are in `sql/historical_sales_migration/`, the suite in `expectations/daily_sales.json`.
"""

from datetime import timedelta

from airflow.sdk import dag

from highwater.airflow import tasks
from highwater.airflow.tasks import Pipeline
from highwater.airflow.timetable import PolicyTimetable
from highwater.environment import settings
from highwater.incidents import alerts
from simulation import settings as simulation_settings

SALES = Pipeline(
    dataset="daily_sales",
    folder="historical_sales_migration",
    connection="legacy",
    suite="daily_sales",
)


@dag(
    schedule=PolicyTimetable("0 2 * * *", "daily_sales"),
    start_date=settings.get().days_before_anchor(simulation_settings.get().history_days),
    catchup=True,
    max_active_runs=3,
    default_args={
        "pool": "sales",
        # What has begun goes on before something else begins.
        "weight_rule": "upstream",
        "retries": 6,
        "retry_delay": timedelta(seconds=5),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=5),
    },
    on_failure_callback=alerts.on_failure,
    doc_md=__doc__,
    tags=["highwater", "daily_sales"],
)
def historical_sales_migration() -> None:
    available = tasks.validate_availability(SALES)
    extracted = tasks.extract(SALES, available)
    cleaned = tasks.transform(SALES, extracted)
    audited = tasks.audit(SALES, cleaned)
    landed = tasks.load(SALES, audited)
    tasks.summarise(SALES, landed)


historical_sales_migration()
