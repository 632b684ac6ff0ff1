"""Result of a decision: the size, the uncapped demand, the cap, and a reason in words.

Written by `decide`; the scaling loop executes it and `agentpool_operator.status.patch` reports it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentpool_operator.scaling.memory import PoolMemory


class Mode(StrEnum):
    """Source of the size."""

    AUTOMATIC = "Automatic"  # the backlog
    MANUAL = "Manual"  # spec.replicas
    PAUSED = "Paused"  # running work only, because of spec.paused
    HOLD = "Hold"  # the present size within the bounds, because the queue cannot be read


class Cap(StrEnum):
    """Limit that separates the size from the demand."""

    NONE = "None"  # no limit: the size is the demand
    MIN_REPLICAS = "MinReplicas"  # spec.scaling.minReplicas asks for more
    SCHEDULE = "Schedule"  # one of spec.scaling.schedules asks for more
    PATTERN = "Pattern"  # the load at this time of past days asks for more
    MAX_REPLICAS = "MaxReplicas"  # spec.scaling.maxReplicas allows no more
    GPU_CAPACITY = "GPUCapacity"  # no more fit on the cluster's nodes
    ROUTE_LIMIT = "RouteLimit"  # more workers would find no job that its route allows to run
    SCALE_UP_POLICY = "ScaleUpPolicy"  # behavior.scaleUp slows the scale-out
    SCALE_DOWN_POLICY = "ScaleDownPolicy"  # behavior.scaleDown slows the scale-in
    STABILIZATION = "StabilizationWindow"  # a recent moment needed more
    IDLE_PERIOD = "IdlePeriod"  # the last worker stays for idleSeconds
    RUNNING_WORK = "RunningWork"  # cordoned workers finish their running jobs
    YOUNG_MEMORY = "YoungMemory"  # the operator has just started and does not lower yet


LIMITS = frozenset(
    {
        Cap.MIN_REPLICAS,
        Cap.SCHEDULE,
        Cap.PATTERN,
        Cap.MAX_REPLICAS,
        Cap.GPU_CAPACITY,
        Cap.ROUTE_LIMIT,
        Cap.SCALE_UP_POLICY,
        Cap.SCALE_DOWN_POLICY,
    }
)  # caps that a user set or can lift: the ScalingLimited condition; the rest is temporary


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The outcome of a decision."""

    mode: Mode
    replicas: int  # workers that the Deployment should have
    keep: int  # replicas that continue to claim; the rest is removed when idle
    wanted: int  # workers that the backlog alone asks for
    capped_by: Cap
    reason: str  # a sentence for people
    memory: PoolMemory  # input of the next decision
