"""Memory that the supervisor shares with one worker process: how far it has come, and whether it has stopped itself.

The worker notes when it serves and when it ends on purpose, so that the supervisor can tell an end that the worker
decided on from one that a job brought about, `os._exit(0)` included. A worker whose supervisor is stopped (SIGSTOP)
stops too, and the supervisor continues it: a signal to the process that others know means the worker.
Who takes over next: `agentpool_worker.supervisor` reads it.
"""

from __future__ import annotations

import mmap
import os
import signal
from enum import IntEnum

from agentpool_worker.processes import Watched

_LOOK_SECONDS = 0.1  # between looks at the supervisor
_PHASE, _STOPPED = 0, 1  # offsets


class Phase(IntEnum):
    """How far a worker process has come."""

    STARTING = 0  # it imports its handlers
    WAITING = 1  # it answers probes, and waits for Redis and its pool
    SERVING = 2  # it may hold jobs: an end here is nobody's decision
    LEFT = 3  # it ends on purpose, with an exit code that it chose


class Lifeline:
    """One worker process's part of the shared memory. Made before the fork."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 2)

    @property
    def phase(self) -> Phase:
        """How far the worker has come."""
        try:
            return Phase(self._shared[_PHASE])
        except ValueError:  # a job may write anywhere in its process
            return Phase.SERVING

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._shared[_PHASE] = phase

    def stop_this_process(self) -> None:
        """Stop until the supervisor continues this process, which it does as soon as it runs itself."""
        # Only the supervisor takes the mark back: a thread may go on for a moment after the signal.
        self._shared[_STOPPED] = 1
        os.kill(os.getpid(), signal.SIGSTOP)

    def take_stop(self) -> bool:
        """Return whether the worker has stopped because its supervisor was stopped, and take the mark back."""
        stopped = bool(self._shared[_STOPPED])
        self._shared[_STOPPED] = 0
        return stopped

    async def follow_supervisor(self) -> None:
        """Stop whenever the supervisor is stopped; runs in the side loop."""
        import asyncio  # not for the supervisor, which stays small

        supervisor = Watched(os.getppid())
        try:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                if not self._shared[_STOPPED] and supervisor.is_stopped():
                    self.stop_this_process()
        finally:
            supervisor.close()


_own: list[Lifeline] = []  # of this process; empty where nobody supervises it


def adopt(lifeline: Lifeline) -> None:
    """Make this process the one that the lifeline is of."""
    _own[:] = [lifeline]


def supervisor() -> int | None:
    """Return the process id of this process's supervisor; None: there is none."""
    return os.getppid() if _own else None


def mark(phase: Phase) -> None:
    """Note how far this process has come; without a supervisor nobody needs to know."""
    for lifeline in _own:
        lifeline.phase = phase


async def follow_supervisor() -> None:
    """Stop and go on with the supervisor; returns at once where there is none."""
    for lifeline in _own:
        await lifeline.follow_supervisor()
