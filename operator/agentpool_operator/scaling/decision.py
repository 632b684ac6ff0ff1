"""What a decision says: the size, the uncapped want, what capped it, and why in words.

Written by `decide`; the scaling loop acts on it and `agentpool_operator.status` tells it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentpool_operator.scaling.memory import PoolMemory


class Mode(StrEnum):
    """Who or what sets the size."""

    AUTOMATIC = "Automatic"  # the backlog does
    MANUAL = "Manual"  # spec.replicas does
    PAUSED = "Paused"  # spec.paused: only running work keeps workers
    HOLD = "Hold"  # the queue cannot be read: nothing changes


class Cap(StrEnum):
    """What kept the size from the want."""

    NONE = "None"  # nothing did
    MIN_REPLICAS = "MinReplicas"  # spec.scaling.minReplicas asks for more
    MAX_REPLICAS = "MaxReplicas"  # spec.scaling.maxReplicas allows no more
    GPU_CAPACITY = "GPUCapacity"  # no more fit on the cluster's nodes
    ROUTE_LIMIT = "RouteLimit"  # more workers would find no job that its route lets run
    SCALE_UP_POLICY = "ScaleUpPolicy"  # behavior.scaleUp slows the rise
    SCALE_DOWN_POLICY = "ScaleDownPolicy"  # behavior.scaleDown slows the fall
    STABILIZATION = "StabilizationWindow"  # a recent moment needed more
    IDLE_PERIOD = "IdlePeriod"  # the last worker stays for idleSeconds
    RUNNING_WORK = "RunningWork"  # workers that take no more jobs finish what they run
    YOUNG_MEMORY = "YoungMemory"  # the operator has just started and does not lower yet


LIMITS = frozenset(
    {
        Cap.MIN_REPLICAS,
        Cap.MAX_REPLICAS,
        Cap.GPU_CAPACITY,
        Cap.ROUTE_LIMIT,
        Cap.SCALE_UP_POLICY,
        Cap.SCALE_DOWN_POLICY,
    }
)  # caps that a user set or can lift: the ScalingLimited condition; the others pass by themselves


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The outcome of one decision."""

    mode: Mode
    replicas: int  # workers that the Deployment should have
    keep: int  # of them, those that go on taking jobs; the others leave as soon as they are idle
    wanted: int  # workers that the backlog alone asks for
    capped_by: Cap
    reason: str  # one sentence for people
    memory: PoolMemory  # what the next decision should be given
