"""Scaling of a pool: bounds, targets, behaviour as in HPA v2, and GPUs."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import Field, model_validator

from agentpool_core.errors import InvalidJobError
from agentpool_core.jobs import Priority
from agentpool_core.queue.schedule import check_cron, zone_of
from agentpool_core.spec.base import DAY_SECONDS, MAX_INT32, Rule, SpecModel
from agentpool_core.spec.rates import PolicyType, SelectPolicy
from agentpool_core.spec.schedule import CronText, ScheduleName, TimeZoneName

HPA_MAX_WINDOW_SECONDS = 3600  # autoscaling/v2 allows no longer window
HPA_MAX_PERIOD_SECONDS = 1800  # autoscaling/v2 allows no longer period
MAX_REPLICAS = 10_000
MAX_MINIMUMS = 32  # schedules of the minimum


class ScalingPolicy(SpecModel):
    """Largest change within a period."""

    type: PolicyType = Field(description="Pods counts pods; Percent counts a share of the current pods.")
    value: int = Field(ge=1, le=MAX_INT32, description="The largest change: pods, or percent.")
    period_seconds: int = Field(
        ge=1, le=HPA_MAX_PERIOD_SECONDS, description="The period over which the change is counted, in seconds."
    )


class ScalingRules(SpecModel):
    """Speed of a change in one direction, as in HorizontalPodAutoscaler v2."""

    stabilization_window_seconds: int | None = Field(
        default=None,
        ge=0,
        le=HPA_MAX_WINDOW_SECONDS,
        description=(
            "Time over which past recommendations are remembered, in seconds: scale-out takes the lowest of them, "
            "scale-in the highest. Unset: 0 for scaleUp; for scaleDown 120 until the start-up time of workers and the "
            "service time of jobs are known, then each worker is kept while past bursts returned sooner than a restart "
            "would pay."
        ),
    )
    select_policy: SelectPolicy = Field(
        default=SelectPolicy.MAX,
        description="Choice between policies: the largest or smallest change; Disabled forbids changes.",
    )
    policies: list[ScalingPolicy] = Field(
        default_factory=list, max_length=16, description="Limits on the change. Empty: no limit."
    )


class Behavior(SpecModel):
    """Speed of changes, as in HorizontalPodAutoscaler v2."""

    scale_up: ScalingRules = Field(default_factory=ScalingRules, description="Speed of scale-out.")
    scale_down: ScalingRules = Field(default_factory=ScalingRules, description="Speed of scale-in.")


class MinimumSchedule(SpecModel):
    """A minimum from each due time of `start` to the next due time of `end`."""

    name: ScheduleName = Field(description="The schedule's name, which reasons and conditions show.")
    start: CronText = Field(
        description="Begins of the minimum: five fields, minute hour day month weekday, such as `45 7 * * 1-5`."
    )
    end: CronText = Field(description="Ends of the minimum, in the same form, such as `0 18 * * 1-5`.")
    time_zone: TimeZoneName = Field(default="UTC", description="IANA name of the time zone of `start` and `end`.")
    min_replicas: int = Field(ge=1, le=MAX_REPLICAS, description="Lowest number of workers meanwhile.")

    @model_validator(mode="after")
    def _check(self) -> MinimumSchedule:
        """Check the time zone and both expressions, which must differ."""
        try:
            zone = zone_of(self.time_zone)
            check_cron(self.start, zone, field="start")
            check_cron(self.end, zone, field="end")
        except InvalidJobError as error:
            raise ValueError(str(error)) from error
        if self.start.split() == self.end.split():
            raise ValueError(f"end: {self.end!r}: the same as start, so the minimum never applies; give a later time")
        return self


class WaitTarget(SpecModel):
    """Target wait of the jobs of a priority."""

    priority: Priority = Field(description="Priority of the jobs.")
    percentile: int = Field(
        default=100, ge=1, le=100, description="Share of these jobs that should start within waitSeconds, in percent."
    )
    wait_seconds: int = Field(ge=1, le=DAY_SECONDS, description="Target for their wait, in seconds.")


class Scaling(SpecModel):
    """Bounds, target and speed of scaling."""

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
        Rule(
            holds=(
                "!has(self.schedules) || !has(self.maxReplicas) || "
                "self.schedules.all(s, s.minReplicas <= self.maxReplicas)"
            ),
            message="minReplicas of a schedule must not exceed maxReplicas; lower the first or raise the second",
            field=".schedules",
        ),
        Rule(
            holds="!has(self.schedules) || self.schedules.all(s, self.schedules.exists_one(t, t.name == s.name))",
            message="the names of schedules must differ; rename one",
            field=".schedules",
        ),
        Rule(
            holds="!has(self.targets) || self.targets.all(t, self.targets.exists_one(u, u.priority == t.priority))",
            message="a priority has one target; remove the others",
            field=".targets",
        ),
    )

    min_replicas: int = Field(default=0, ge=0, le=MAX_REPLICAS, description="Lowest number of workers, also when idle.")
    max_replicas: int = Field(default=20, ge=1, le=MAX_REPLICAS, description="Highest number of workers.")
    target_wait_seconds: int = Field(
        default=5, ge=1, le=DAY_SECONDS, description="Target for the longest wait of a ready job, in seconds."
    )
    targets: list[WaitTarget] = Field(
        default_factory=list,
        max_length=len(Priority),
        description="Targets of priorities, in place of targetWaitSeconds, which applies to the remaining priorities.",
    )
    poll_seconds: int = Field(
        default=2,
        ge=1,
        le=300,
        description="Time between readings of the queue, in seconds; a submit without a free slot triggers a reading.",
    )
    idle_seconds: int = Field(
        default=60,
        ge=0,
        le=DAY_SECONDS,
        description="Time with an empty queue before the last worker is removed, in seconds.",
    )
    schedules: list[MinimumSchedule] = Field(
        default_factory=list,
        max_length=MAX_MINIMUMS,
        description="Higher minimums by timetable: the highest of minReplicas and the active schedules applies.",
    )
    learn_patterns: bool = Field(
        default=False,
        description=(
            "Raise the minimum to the load of the same time of past days: the lowest of the same weekday in two weeks, "
            "or at first of the last three days. Never lowers the minimum."
        ),
    )
    behavior: Behavior = Field(
        default_factory=Behavior, description="Speed of changes, as in HorizontalPodAutoscaler v2."
    )


class GpuPolicy(StrEnum):
    """Behaviour of a pool that needs more GPUs than are free."""

    EXISTING = "Existing"  # never more workers than fit on the existing nodes
    PROVISION = "Provision"  # some pods wait until a node autoscaler adds nodes


class Gpu(SpecModel):
    """GPUs of each worker, and the behaviour without free GPUs."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            holds="self.policy == 'Provision' || self.maxPending == 0",
            message="maxPending needs policy Provision; set gpu.policy: Provision or remove gpu.maxPending",
            field=".maxPending",
        ),
        Rule(
            holds="!has(self.resourceClaimTemplateName) || self.perWorker == 1",
            message="the ResourceClaimTemplate counts the devices; remove gpu.perWorker, or the template",
            field=".perWorker",
        ),
    )

    resource_name: str = Field(
        default="nvidia.com/gpu",
        pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
        max_length=253,
        description="The extended resource: nvidia.com/gpu, nvidia.com/gpu.shared, nvidia.com/mig-1g.5gb, …",
    )
    per_worker: int = Field(default=1, ge=1, le=1024, description="Devices of that resource for each worker.")
    resource_claim_template_name: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        max_length=253,
        description=(
            "A ResourceClaimTemplate of the pool's namespace (Dynamic Resource Allocation): each worker gets the "
            "devices of its own claim, in place of resourceName and perWorker."
        ),
    )
    container: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        max_length=63,
        description=(
            "Container of spec.worker.template that gets the devices. Unset: the container whose resources name them; "
            "with handler.http the container that listens on the handler's port, or the first beside the worker; else "
            "`worker`."
        ),
    )
    policy: GpuPolicy = Field(
        default=GpuPolicy.EXISTING,
        description=(
            "Existing never requests more workers than fit on the existing nodes; with Provision up to maxPending pods "
            "may wait for new nodes."
        ),
    )
    max_pending: int = Field(
        default=0, ge=0, le=MAX_REPLICAS, description="Pods that may wait for new nodes, under policy Provision."
    )
    priority: int = Field(
        default=0,
        ge=-1_000_000,
        le=1_000_000,
        description="Priority between pools that compete for devices: the higher goes first; equal pools share fairly.",
    )
