"""One stage of a run in a process of its own, to be killed: reads what it is to do from stdin, writes what came of it.

Used by test_increments_killed.py.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from typing import Any

from shopping import HOUR, ORDERS, compare, identify, plan, run

from highwater.loading.changes import increments
from highwater.store import ledger

STAGES: dict[str, Callable[[Any], Any]] = {
    "determine_mode": lambda _: plan(),
    "identify_changes": identify,
    "process_changes": lambda changes: increments.process(ORDERS, changes, run("killed"))[0],
    "update_checkpoint": lambda changes: increments.land(ORDERS, changes, run("killed"), HOUR),
    "validate_consistency": compare,
}


def perform(name: str, given: Any) -> Any:
    """Do the stage as a task does it: recorded in ops.attempts."""
    with ledger.attempt(ORDERS.dataset, HOUR, name, run("killed")):
        return STAGES[name](given)


if __name__ == "__main__":
    name, given = pickle.load(sys.stdin.buffer)
    sys.stdout.buffer.write(pickle.dumps(perform(name, given)))
