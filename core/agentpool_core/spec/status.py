"""The status of an AgentPool, as in `kubectl get` and `kubectl describe`."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from agentpool_core.spec.base import SpecModel


class ConditionType(StrEnum):
    """The conditions of an AgentPool."""

    READY = "Ready"  # the pool serves: the queue answers and the workers are as desired
    PROGRESSING = "Progressing"  # workers are being added, removed or replaced
    QUEUE_REACHABLE = "QueueReachable"  # the operator can read the queue
    SCALING_ACTIVE = "ScalingActive"  # the operator decides the number of workers
    SCALING_LIMITED = "ScalingLimited"  # more workers are needed than allowed or possible


# Reasons of a pool that is not Ready and needs no action: the pool is being created or deleted.
ON_ITS_WAY = frozenset(
    {"Creating", "Deleting", "DeploymentLeaving", "NotReadYet", "PodDisruptionBudgetLeaving", "SettingsMissing"}
)


class Condition(SpecModel):
    """One condition, as Kubernetes defines it."""

    type: str = Field(max_length=316, description="Name of the condition, in CamelCase.")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    observed_generation: int | None = Field(
        default=None, ge=0, description="The generation of the spec that the condition was set for."
    )
    last_transition_time: str = Field(
        description="Time of the last change of the status, in RFC 3339.", json_schema_extra={"format": "date-time"}
    )
    reason: str = Field(min_length=1, max_length=1024, description="Reason, as a CamelCase word.")
    message: str = Field(max_length=32768, description="Reason, as a sentence, with the remedy if known.")


class GpuStatus(SpecModel):
    """The pool's GPUs."""

    placeable: int = Field(ge=0, description="Workers that the nodes can hold, including current workers of the pool.")
    held: int = Field(ge=0, description="Devices that this pool's pods hold.")


class LastDecision(SpecModel):
    """The latest decision about the number of workers."""

    at: str = Field(
        description="Time at which the size or its reason last changed, in RFC 3339.",
        json_schema_extra={"format": "date-time"},
    )
    reason: str = Field(description="Reason of the present number of workers, as a sentence.")


class AgentPoolStatus(SpecModel):
    """The observed state of a pool."""

    observed_generation: int | None = Field(
        default=None, ge=0, description="The generation of the spec that this status was computed from."
    )
    replicas: int = Field(default=0, ge=0, description="Workers that exist, ready or not.")
    ready_replicas: int = Field(default=0, ge=0, description="Workers that are ready.")
    desired_replicas: int = Field(default=0, ge=0, description="Workers that the operator has requested.")
    wanted_replicas: int = Field(
        default=0, ge=0, description="Workers that the work alone would need, before limits, capacity and behaviour."
    )
    selector: str = Field(default="", description="Label selector of the workers' pods, as a string.")
    queued: int = Field(default=0, ge=0, description="Jobs that are ready and wait for a slot.")
    running: int = Field(default=0, ge=0, description="Jobs that run now.")
    oldest_wait_seconds: int = Field(default=0, ge=0, description="Wait of the oldest ready job, in seconds.")
    gpus: GpuStatus | None = Field(default=None, description="The pool's GPUs. Unset: none.")
    last_decision: LastDecision | None = Field(
        default=None, description="The latest decision about the number of workers, with its present reason."
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        description="Ready, Progressing, QueueReachable, ScalingActive and ScalingLimited.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
