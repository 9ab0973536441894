"""Airflow imports this in each of its processes. In the one that tasks are forked from (LocalExecutor's scheduler, a
Celery worker) it imports what each would import again: Great Expectations and pandas, 4 s saved a task."""

import gc
import inspect
import os
import sys

_local = os.environ.get("AIRFLOW__CORE__EXECUTOR", "LocalExecutor") == "LocalExecutor"
if sys.argv[1:2] == (["scheduler"] if _local else ["celery"]):
    import great_expectations  # noqa: F401
    import pandas  # noqa: F401
    from pydantic.v1 import networks

    # An audit works both out and keeps them: which file each module is from, and the pattern of an address. 0.2 s.
    os.register_at_fork(before=inspect.stack)
    networks.int_domain_regex()

    # Both freeze what is in memory while they fork their processes and then thaw it. Frozen for good, the garbage
    # collector does not write to every page that those share: 110 MB less.
    gc.unfreeze = lambda: None

__all__: list[str] = []
