"""Airflow imports this in each of its processes. In the scheduler it imports what every task would import again:
LocalExecutor forks tasks from it, so that they find Great Expectations and pandas in memory (4 s saved a task)."""

import gc
import sys

if sys.argv[1:2] == ["scheduler"]:
    import great_expectations  # noqa: F401
    import pandas  # noqa: F401

    # LocalExecutor freezes what is in memory while it forks its workers and then thaws it. Frozen for good, the garbage
    # collector does not write to every page that scheduler and workers share: 110 MB less.
    gc.unfreeze = lambda: None

__all__: list[str] = []
