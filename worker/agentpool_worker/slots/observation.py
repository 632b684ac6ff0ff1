"""Inputs and results of a decision about the number of slots.

`agentpool_worker.slots.recorder` measures the jobs, `agentpool_worker.slots.gpu` and
`agentpool_worker.slots.server` read their sources, `agentpool_worker.slots.adaptive` decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_worker.slots.gpu import GpuReading
    from agentpool_worker.slots.server import ServerReading


FULL = 0.9  # share of the slots in use, on average over the period, from which a worker counts as full


class Reason(StrEnum):
    """Reason of a change of the slots: a metric's label, so the values are few and fixed."""

    GOODPUT = "goodput"  # the last increase gave more work in the same time
    LATENCY = "latency"  # more slots gave more latency and hardly more work
    TRIAL = "trial"  # a test of nearby numbers of slots, or its end
    CHANGED = "changed"  # the same slots became slower: the search starts again
    GPU_IDLE = "gpu_idle"  # no job has ended yet; utilisation and memory leave room, and every slot is in use
    GPU_MEMORY = "gpu_memory"  # memory is nearly full
    OVERLOADED = "overloaded"  # the handler raised Overloaded
    SERVER = "server"  # the model server's cache is nearly full, or requests wait inside the server
    RECOVERED = "recovered"  # nothing overloaded, and every slot is in use: slots that were given up come back
    SETTINGS = "settings"  # the AgentPool changed


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A measurement of one job: its run time, or its time for a unit of progress."""

    kind: str  # of the job; samples of different kinds are never compared
    seconds: float  # of run time, or for one unit
    concurrency: float  # jobs that ran at once in that time, on average
    is_unit: bool = False  # seconds for one report of progress or chunk of output


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """Inputs of a decision."""

    at: float = 0.0  # seconds, of a clock that never goes back
    slots: int  # now
    used: int  # slots in use now
    mean_used: float | None = None  # slots in use since the last decision, on average; None: not measured
    overloads: int = 0  # the handler's overload signals since the last decision
    wasted: float | None = None  # slots in overloaded attempts since the last decision, on average; None: not measured
    samples: Sequence[Sample] = ()  # of jobs that ended since the last decision, and of units
    running: Sequence[Sample] = ()  # of jobs that run: their run time so far
    gpus: Sequence[GpuReading] = ()  # empty: no GPU, or none could be read
    server: ServerReading | None = None  # of the model server; None: there is none, or it could not be read

    @property
    def is_full(self) -> bool:
        """Whether all slots are in use; unused slots give no information about more slots."""
        if self.mean_used is None:
            return self.used >= self.slots
        return self.mean_used >= FULL * self.slots


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A new number of slots, and why."""

    slots: int
    reason: Reason
    detail: str  # for the log line
