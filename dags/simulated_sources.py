"""
### Data for the simulated sources

Every ten minutes this DAG generates what is due: days of the tills' archive, batches of six hours of billing and the
web site, ten minutes of changes in the shop (some stay uncommitted for a while), and the days and deliveries of store,
partner and supplier. It also begins and ends outages. Pause this DAG to use sources of your own.
"""

from datetime import timedelta

from airflow.sdk import CronDataIntervalTimetable, dag, task

from highwater.environment import settings
from highwater.incidents.watching import watched


@task
@watched
def legacy() -> None:
    """Generate the missing days."""
    from highwater.model import clock
    from simulation import sales

    sales.advance(clock.now())


@task
@watched
def shop() -> None:
    """Simulate the missing ticks; the late transaction of the newest stays open for a while."""
    from highwater.model import clock
    from simulation import settings as simulation_settings
    from simulation import shop as simulation_shop

    simulation_shop.advance(clock.now(), timedelta(seconds=simulation_settings.get().late_commit_seconds))


@task
@watched
def channels() -> None:
    """Generate the missing days and deliveries of store, partner and supplier; begin and end outages."""
    from highwater.model import clock
    from simulation import channels as simulation_channels

    simulation_channels.advance(clock.now())


@task
@watched
def batches() -> None:
    """Generate the missing batches of payments and page views."""
    from highwater.model import clock
    from simulation import batches as simulation_batches

    simulation_batches.advance(clock.now())


@dag(
    schedule=CronDataIntervalTimetable("*/10 * * * *", timezone="UTC"),
    start_date=settings.get().days_before_anchor(0),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    doc_md=__doc__,
    tags=["highwater", "simulation"],
)
def simulated_sources() -> None:
    legacy()
    shop()
    channels()
    batches()


simulated_sources()
