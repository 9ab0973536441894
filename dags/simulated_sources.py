"""
### The simulated world goes on

Every ten minutes: the tills' archive gets the days it misses, billing and the web site their batches of six hours, and
the shop lives through the ten minutes that passed, some of its changes staying uncommitted for a while. Store, partner
and supplier get the days and deliveries that are due, and the outages begin and end. Pause this DAG to use sources of
your own.
"""

from datetime import timedelta

from airflow.sdk import CronDataIntervalTimetable, dag, task

from highwater.environment import settings
from highwater.incidents.watching import watched


@task
@watched
def legacy() -> None:
    """Make the days that are missing."""
    from highwater.model import clock
    from simulation import sales

    sales.advance(clock.now())


@task
@watched
def shop() -> None:
    """Play the ticks that are missing; the late transaction of the newest stays open for a while."""
    from highwater.model import clock
    from simulation import settings as simulation_settings
    from simulation import shop as simulation_shop

    simulation_shop.advance(clock.now(), timedelta(seconds=simulation_settings.get().late_commit_seconds))


@task
@watched
def channels() -> None:
    """Make what store, partner and supplier miss; begin and end outages."""
    from highwater.model import clock
    from simulation import channels as simulation_channels

    simulation_channels.advance(clock.now())


@task
@watched
def batches() -> None:
    """Make the batches of payments and page views that are missing."""
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
