"""Memory that the supervisor shares with a worker process: phase, own stops, and time of the next liveness signal.

The worker records when it serves and when it ends on purpose, so the supervisor can distinguish an end that the worker
chose from an end caused by a job, `os._exit(0)` included. A worker with a stopped supervisor (SIGSTOP) stops too, and
the supervisor continues it: a signal to the known process id means the worker. A serving worker also promises when it
will send the next liveness signal, because native code that keeps Python's lock stops every thread, the watchdog's too.
The time of the kubelet's last readiness probe lets the supervisor end between two probes.
`agentpool_worker.supervision.supervisor` reads it.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import time
from enum import IntEnum

from agentpool_worker.supervision.processes import Watched

_LOOK_SECONDS = 0.1  # between looks at the supervisor
_PHASE, _STOPPED = 0, 1  # offsets
_DUE = slice(8, 16)  # time.monotonic() of the next liveness signal; every process has the same clock; 0: none
_PROBED = slice(16, 24)  # time.monotonic() of the kubelet's last readiness probe; 0: none
_SIZE = 24


class Phase(IntEnum):
    """How far a worker process has come."""

    STARTING = 0  # imports its handlers
    WAITING = 1  # answers probes, and waits for Redis and the pool
    SERVING = 2  # may hold jobs: an end here is not intended
    LEFT = 3  # ends on purpose, with a chosen exit code


class Lifeline:
    """A worker process's part of the shared memory. Created before the fork."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, _SIZE)

    @property
    def phase(self) -> Phase:
        """How far the worker has come."""
        try:
            return Phase(self._shared[_PHASE])
        except ValueError:  # a job may write anywhere in the process
            return Phase.SERVING

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._shared[_PHASE] = phase

    @property
    def due(self) -> float:
        """Return the time (`time.monotonic()`) of the promised liveness signal; 0: none is promised."""
        due: float = struct.unpack("d", self._shared[_DUE])[0]
        return due

    @due.setter
    def due(self, due: float) -> None:
        self._shared[_DUE] = struct.pack("d", due)

    @property
    def probed_at(self) -> float:
        """Return the time (`time.monotonic()`) of the kubelet's last readiness probe; 0: there was none."""
        at: float = struct.unpack("d", self._shared[_PROBED])[0]
        return at

    @probed_at.setter
    def probed_at(self, at: float) -> None:
        self._shared[_PROBED] = struct.pack("d", at)

    def stop_this_process(self) -> None:
        """Stop until the supervisor continues this process, which happens as soon as the supervisor runs itself."""
        # Only the supervisor clears the mark: a thread may continue for a moment after the signal.
        self._shared[_STOPPED] = 1
        os.kill(os.getpid(), signal.SIGSTOP)

    def take_stop(self) -> bool:
        """Return whether the worker stopped because its supervisor was stopped, and clear the mark."""
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


_own: list[Lifeline] = []  # of this process; empty without a supervisor


def adopt(lifeline: Lifeline) -> None:
    """Make this process the owner of the lifeline."""
    _own[:] = [lifeline]


def supervisor() -> int | None:
    """Return the process id of this process's supervisor; None: there is none."""
    return os.getppid() if _own else None


def mark(phase: Phase) -> None:
    """Record the phase of this process; without a supervisor nothing happens."""
    for lifeline in _own:
        lifeline.phase = phase


def promise(seconds: float) -> None:
    """Send a liveness signal and promise the next within this time, or the supervisor kills this process."""
    for lifeline in _own:
        lifeline.due = time.monotonic() + seconds


def promise_nothing() -> None:
    """Withdraw the promise: this process ends without a time limit."""
    for lifeline in _own:
        lifeline.due = 0.0


def note_probe() -> None:
    """Record a readiness probe of the kubelet."""
    for lifeline in _own:
        lifeline.probed_at = time.monotonic()


async def follow_supervisor() -> None:
    """Stop and continue with the supervisor; return at once without a supervisor."""
    for lifeline in _own:
        await lifeline.follow_supervisor()
