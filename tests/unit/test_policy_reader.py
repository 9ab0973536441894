"""A process that forks while its policies are read; one of its own, in which nobody else has hooks or threads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from highwater.environment import settings

WHILE_IT_TAKES_LONG = """
with policy_reader._reading:
    child = os.fork()
    if child == 0:
        os._exit(0 if policy_reader._reading.acquire(timeout=5) else 1)
    assert os.waitpid(child, 0)[1] == 0, "the child finds it held"
    assert policy_reader._reading.locked(), "the parent has let go of what is another's"
"""
BETWEEN_TWO = """
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
assert policy_reader._reading.acquire(timeout=5), "the next look finds it held"
"""


@pytest.mark.parametrize("program", [WHILE_IT_TAKES_LONG, BETWEEN_TWO])
def test_a_look_holds_up_no_fork_for_long_and_a_fork_no_look(program: str) -> None:
    """Without its bound the fork waits for a look that never ends."""
    subprocess.run(
        [sys.executable, "-c", f"import os\nfrom highwater.policy import reader as policy_reader\n{program}"],
        env={**os.environ, "PYTHONPATH": str(settings.ROOT)},
        check=True,
        timeout=60,
    )
