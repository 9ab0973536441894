"""A process that forks while its policies are being looked at."""

from __future__ import annotations

import os

from highwater import policy_reader


def test_a_look_that_takes_long_holds_no_fork_up_and_nothing_in_the_child() -> None:
    """The bound is what makes this test end: without it the fork waits for a look that never does."""
    with policy_reader._looking:
        child = os.fork()
        if child == 0:
            os._exit(0 if policy_reader._looking.acquire(timeout=5) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert policy_reader._looking.locked()


def test_a_fork_between_looks_leaves_the_way_to_the_next_free() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert policy_reader._looking.acquire(timeout=5)
    policy_reader._looking.release()
