"""The decision to restart a worker process that ended."""

from __future__ import annotations

from itertools import pairwise

import pytest

from agentpool_worker.supervision.exits import RESTART, SICK
from agentpool_worker.supervision.lifeline import Phase
from agentpool_worker.supervision.previous_exit import PreviousExit
from agentpool_worker.supervision.restarts import MOST_SHORT_LIVES, MOST_UNREADY, Restarts, WorkerEnd


def end(*, phase=Phase.SERVING, lived=1.0, wanted=False, **how):
    return WorkerEnd(exit=PreviousExit(**how), phase=phase, lived_seconds=lived, wanted=wanted)


@pytest.mark.parametrize(
    ("after", "again"),
    [
        (end(signal="SIGSEGV"), True),
        (end(signal="SIGKILL", phase=Phase.STARTING), True),
        (end(exit_code=0), True),  # a job called os._exit(0): no decision of the worker
        (end(exit_code=3), True),
        (end(exit_code=RESTART, phase=Phase.LEFT), True),
        (end(exit_code=0, phase=Phase.LEFT), False),
        (end(exit_code=1, phase=Phase.LEFT), False),
        (end(exit_code=SICK, phase=Phase.LEFT), False),
        (end(exit_code=1, phase=Phase.STARTING), False),  # wrong settings: a restart changes nothing
        (end(exit_code=2, phase=Phase.STARTING), False),
        (end(signal="SIGTERM", wanted=True), False),
        (end(exit_code=3, wanted=True), False),
    ],
)
def test_only_an_unplanned_end_is_followed_by_a_new_worker(after, again):
    """An exit code counts as planned unless the worker was serving."""
    assert (Restarts().pause_after(after) is not None) is again


def test_a_worker_that_never_serves_is_abandoned():
    """The container ends after the third failed start in a row, so the kubelet sees the failure."""
    restarts = Restarts()
    pauses = [restarts.pause_after(end(signal="SIGSEGV", phase=Phase.STARTING)) for _ in range(MOST_UNREADY)]
    assert None not in pauses[:-1]
    assert pauses[-1] is None


def test_short_lived_workers_restart_at_growing_intervals():
    """A worker that crashes soon, again and again, is restarted ever later, and finally not at all."""
    restarts = Restarts()
    pauses = [restarts.pause_after(end(signal="SIGSEGV")) for _ in range(MOST_SHORT_LIVES)]
    assert pauses[-1] is None
    assert all(first < second for first, second in pairwise(pauses[:7]))


def test_a_long_life_resets_the_interval():
    """After a worker that lived long, the first interval applies again."""
    restarts = Restarts()
    for _ in range(MOST_SHORT_LIVES - 1):
        restarts.pause_after(end(signal="SIGSEGV"))
    assert restarts.pause_after(end(signal="SIGSEGV", lived=3600.0)) == 0.0
    assert restarts.pause_after(end(signal="SIGSEGV")) == Restarts().pause_after(end(signal="SIGSEGV"))
