"""Effects of a container's limits during a command: a process killed for memory, time without CPU.

The counters are the container's: with several concurrent jobs they do not identify the affected job.
`agentpool_worker.handlers.command` adds them to the error and the log.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from agentpool_worker.supervision import cgroup

if TYPE_CHECKING:
    from agentpool_worker.context import Context

_REPORTED_SHARE = 0.1  # of the command's run; less is not logged


class Limits:
    """Counters since the creation of this object."""

    def __init__(self) -> None:
        self._begun_at = time.monotonic()
        self._kills = cgroup.oom_kills()
        self._throttled = cgroup.throttled_seconds()

    def cause(self, number: int) -> str:
        """Return the reason of an end by this signal, for an error; empty where none is known."""
        if number != signal.SIGKILL or not cgroup.has_grown(self._kills, cgroup.oom_kills()):
            return ""
        return f" ({cgroup.OUT_OF_MEMORY}: raise resources.limits.memory, or lower the worker's concurrency)"

    def report(self, ctx: Context) -> None:
        """Log how long the container's CPU limit throttled the processes while the command ran."""
        now, seconds = cgroup.throttled_seconds(), time.monotonic() - self._begun_at
        if now is None or self._throttled is None:
            return
        throttled = now - self._throttled
        if throttled > seconds * _REPORTED_SHARE:
            ctx.log.warning(
                "the CPU limit of the container stopped its processes for %.1f s while the command ran for %.1f s; "
                "raise resources.limits.cpu, or lower the worker's concurrency",
                throttled, seconds,
            )  # fmt: skip
