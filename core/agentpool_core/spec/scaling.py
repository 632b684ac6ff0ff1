"""How the number of workers follows the work: bounds, targets, behaviour as in HPA v2, and GPUs."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from agentpool_core.spec.base import MAX_INT32, Part, Rule

DAY_SECONDS = 86_400
HPA_MAX_WINDOW_SECONDS = 3600  # autoscaling/v2 allows no longer window
HPA_MAX_PERIOD_SECONDS = 1800  # autoscaling/v2 allows no longer period
MAX_REPLICAS = 10_000


class PolicyType(StrEnum):
    """What a scaling policy counts in."""

    PODS = "Pods"  # a number of pods
    PERCENT = "Percent"  # a share of the current pods


class SelectPolicy(StrEnum):
    """Which of several policies decides."""

    MAX = "Max"  # the largest allowed change
    MIN = "Min"  # the smallest allowed change
    DISABLED = "Disabled"  # no change in this direction


class ScalingPolicy(Part):
    """The largest change within a period."""

    type: PolicyType = Field(description="Pods counts pods; Percent counts a share of the current pods.")
    value: int = Field(ge=1, le=MAX_INT32, description="The largest change: pods, or percent.")
    period_seconds: int = Field(
        ge=1, le=HPA_MAX_PERIOD_SECONDS, description="The period over which the change is counted, in seconds."
    )


class ScalingRules(Part):
    """How fast replicas change in one direction, as in HorizontalPodAutoscaler v2."""

    stabilization_window_seconds: int | None = Field(
        default=None,
        ge=0,
        le=HPA_MAX_WINDOW_SECONDS,
        description=(
            "How long past wants are remembered, in seconds: scaling up takes the lowest of them, scaling down the "
            "highest. Unset: 0 for scaleUp; for scaleDown 120 until it is known how long workers take to start and "
            "jobs to run, then each worker is kept as long as bursts have come back sooner than a new start would pay."
        ),
    )
    select_policy: SelectPolicy = Field(
        default=SelectPolicy.MAX, description="Which of several policies decides; Disabled forbids the direction."
    )
    policies: list[ScalingPolicy] = Field(
        default_factory=list, max_length=16, description="Limits on the change. Empty: no limit."
    )


class Behavior(Part):
    """How fast replicas change, as in HorizontalPodAutoscaler v2."""

    scale_up: ScalingRules = Field(default_factory=ScalingRules, description="How fast workers are added.")
    scale_down: ScalingRules = Field(default_factory=ScalingRules, description="How fast idle workers are removed.")


class Scaling(Part):
    """How the number of workers follows the work."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            # has(): the API server checks the default `{}` before the defaults below it apply
            holds="!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
            message="minReplicas must not exceed maxReplicas; lower the first or raise the second",
            explain=(
                "'minReplicas (%d) must not exceed maxReplicas (%d); lower the first or raise the second'"
                ".format([self.minReplicas, self.maxReplicas])"
            ),
            field=".minReplicas",
        ),
    )

    min_replicas: int = Field(default=0, ge=0, le=MAX_REPLICAS, description="Fewest workers, also when idle.")
    max_replicas: int = Field(default=20, ge=1, le=MAX_REPLICAS, description="Most workers.")
    target_wait_seconds: int = Field(
        default=5, ge=1, le=DAY_SECONDS, description="How long a job should wait at most, in seconds."
    )
    poll_seconds: int = Field(
        default=2,
        ge=1,
        le=300,
        description="Time between two looks at the queue, in seconds; a submit that finds no free slot wakes it early.",
    )
    idle_seconds: int = Field(
        default=60,
        ge=0,
        le=DAY_SECONDS,
        description="How long the queue stays empty before the last worker goes, in seconds.",
    )
    behavior: Behavior = Field(
        default_factory=Behavior, description="How fast replicas change, as in HorizontalPodAutoscaler v2."
    )


class GpuPolicy(StrEnum):
    """What to do when more workers are wanted than GPUs are free."""

    EXISTING = "Existing"  # never more workers than fit on the nodes there are
    PROVISION = "Provision"  # let some pods wait, so that a node autoscaler adds nodes


class Gpu(Part):
    """The GPUs that each worker takes, and what happens when they run out."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            holds="self.policy == 'Provision' || self.maxPending == 0",
            message="maxPending needs policy Provision; set gpu.policy: Provision or remove gpu.maxPending",
            field=".maxPending",
        ),
    )

    resource_name: str = Field(
        default="nvidia.com/gpu",
        pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
        max_length=253,
        description="The extended resource: nvidia.com/gpu, nvidia.com/gpu.shared, nvidia.com/mig-1g.5gb, …",
    )
    per_worker: int = Field(default=1, ge=1, le=1024, description="Devices of that resource for each worker.")
    policy: GpuPolicy = Field(
        default=GpuPolicy.EXISTING,
        description=(
            "Existing never asks for more workers than fit on the nodes there are; Provision lets up to maxPending "
            "pods wait for new nodes."
        ),
    )
    max_pending: int = Field(
        default=0, ge=0, le=MAX_REPLICAS, description="Pods that may wait for new nodes, under policy Provision."
    )
    priority: int = Field(
        default=0,
        ge=-1_000_000,
        le=1_000_000,
        description="When pools compete for devices, the higher goes first; equals share fairly.",
    )
