"""Airflow imports this in each of its processes. Runs that nobody can mean are refused in all of them. In the one that
tasks are forked from (LocalExecutor's scheduler, a Celery worker) it has ready what each would make again: Great
Expectations and pandas, 4 s saved a task, and our own."""

import gc
import inspect
import os
import sys

from highwater.airflow import run_guard


def _before_a_fork() -> None:
    """Costs half a millisecond but for the first time, when all of Airflow is there, which our modules need."""
    from highwater.quality import audits  # noqa: F401

    # Which file each module is from: an audit asks, and inspect keeps what it has looked up. 0.2 s.
    inspect.stack()


_local = os.environ.get("AIRFLOW__CORE__EXECUTOR", "LocalExecutor") == "LocalExecutor"
if sys.argv[1:2] == (["scheduler"] if _local else ["celery"]):
    import great_expectations  # noqa: F401
    import pandas  # noqa: F401
    from pydantic.v1 import networks

    os.register_at_fork(before=_before_a_fork)
    # The pattern of an address, which an audit makes and pydantic keeps.
    networks.int_domain_regex()

    # Both freeze what is in memory while they fork their processes and then thaw it. Frozen for good, the garbage
    # collector does not write to every page that those share: 110 MB less.
    gc.unfreeze = lambda: None

# The command line makes runs too, and need not have loaded a plugin for that.
run_guard.install()

__all__: list[str] = []
