"""
### A month of sales, loaded day by day

Every night at 02:00 UTC the previous day of the tills is loaded from `legacy.sales` to `sales.daily_sales`. On its
first start the DAG catches up: one run per day since *anchor - 30 days*, three at a time.

| task | what it does | when it fails |
| --- | --- | --- |
| `validate_availability` | checks that the source has closed the day | retried: source unavailable or day open |
| `extract` | streams the day by COPY into a new staging set | retried: nothing is published |
| `transform` | `clean.sql`; rejected rows to quarantine, each with its reason | fails at once: the SQL does not fit |
| `audit` | runs the suite `daily_sales` on the set before anyone can read it | fails at once: names the rows |
| `load` | publishes the day and writes its ledger row, in one transaction | retried when busy |
| `summarise` | writes what it cost to `ops.processing_summary` | retried |

Each task is idempotent: it may be killed at any point and run again. Landed days are in `ops.window_ledger`, missing
ones in `ops.gaps`.
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
        # Finish started runs before new ones.
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
