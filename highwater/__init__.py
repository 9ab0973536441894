"""Highwater: the record of what landed, beside Airflow's record of what ran.

What DAG files use, each where it is defined:

- `Pipeline`, `IncrementalPipeline`: a dataset, its statements, its source and its suite;
- `PolicyTimetable`: the schedule of a DAG by its dataset's catch-up policy;
- `Window`: a half-open range of time in UTC;
- the task blocks of `highwater.airflow.tasks`, `.increment_tasks`, `.sync_tasks` and `.recovery_tasks`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from highwater.airflow.timetable import PolicyTimetable
    from highwater.loading.changes.increments import IncrementalPipeline
    from highwater.loading.stages import Pipeline
    from highwater.model.windows import Window

__version__ = "0.2.0.dev0"
__all__ = ["IncrementalPipeline", "Pipeline", "PolicyTimetable", "Window", "__version__"]

_HOMES = {
    "IncrementalPipeline": "highwater.loading.changes.increments",
    "Pipeline": "highwater.loading.stages",
    "PolicyTimetable": "highwater.airflow.timetable",
    "Window": "highwater.model.windows",
}


def __getattr__(name: str) -> Any:
    """Import names lazily: Airflow's processes load this package at their start."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
