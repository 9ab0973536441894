"""Airflow imports this in each of its processes. It installs the run guard in all of them. In the process that tasks
are forked from (LocalExecutor's scheduler, a Celery worker) it also imports Great Expectations, pandas and our own
modules in advance, which saves 4 s per task."""

import gc
import inspect
import os
import sys

from highwater.airflow import run_guard


def _before_a_fork() -> None:
    """Takes half a millisecond except the first time. Only then is all of Airflow imported, which our modules need."""
    from highwater.quality import audits  # noqa: F401

    # An audit asks for the file of each module: fill inspect's cache, which takes 0.2 s.
    inspect.stack()


_local = os.environ.get("AIRFLOW__CORE__EXECUTOR", "LocalExecutor") == "LocalExecutor"
if sys.argv[1:2] == (["scheduler"] if _local else ["celery"]):
    import great_expectations  # noqa: F401
    import pandas  # noqa: F401
    from pydantic.v1 import networks

    os.register_at_fork(before=_before_a_fork)
    # An audit needs the pattern of an address, which pydantic caches.
    networks.int_domain_regex()

    # Both freeze the garbage collector while they fork, and unfreeze it afterwards. If it stays frozen, it does not
    # write to the memory pages that the forked processes share: 110 MB less.
    gc.unfreeze = lambda: None

# The command line creates runs too, and may not have loaded a plugin.
run_guard.install()

__all__: list[str] = []
