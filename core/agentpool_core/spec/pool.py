"""The AgentPool resource: spec and status.

Single source of truth: `crd.py` generates the CustomResourceDefinition from these models, the operator parses with
them, and `resolve.py` turns a spec into the queue's settings.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import Field, model_validator

from agentpool_core.errors import InvalidJobError
from agentpool_core.queue.schemas import check_value
from agentpool_core.spec.base import Rule, SpecModel
from agentpool_core.spec.presets import Profile, Workload
from agentpool_core.spec.queue import Queue
from agentpool_core.spec.routes import MAX_ROUTES, RouteSpec
from agentpool_core.spec.scaling import MAX_REPLICAS, Gpu, Scaling
from agentpool_core.spec.schedule import MAX_SCHEDULES, ScheduleSpec
from agentpool_core.spec.worker import Handler, Worker

GROUP = "agentpool.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "AgentPool"
PLURAL = "agentpools"
MAX_NAME_LENGTH = 63  # the name is a label value and the Deployment's name


class DeletionPolicy(StrEnum):
    """Fate of the queue when its AgentPool is deleted."""

    RETAIN = "Retain"  # the queue's keys stay in Redis
    DELETE = "Delete"  # the operator removes them


class AgentPoolSpec(SpecModel):
    """The desired state of a pool. Only `handler` is required."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            holds=(
                "!has(self.routes) || self.routes.all(r, !has(r.kinds) || r.kinds.all(k, "
                "self.routes.exists_one(o, has(o.kinds) && k in o.kinds)))"
            ),
            message="a kind may be listed by one route only; remove it from the others",
            explain=(
                "'a kind may be listed by one route only, and more list %s; remove it from the others'"
                ".format([self.routes.map(r, has(r.kinds) ? r.kinds.filter(k, !self.routes.exists_one(o, "
                "has(o.kinds) && k in o.kinds)) : []).filter(found, found.size() > 0)[0][0]])"
            ),
            field=".routes",
        ),
        Rule(
            holds=(
                "!has(self.queue) || !has(self.queue.unlistedKinds) || self.queue.unlistedKinds != 'Refuse' || "
                "has(self.routes) && self.routes.exists(r, has(r.kinds) && size(r.kinds) > 0)"
            ),
            message="unlistedKinds Refuse takes no job while no route lists a kind; list kinds, or set it to Accept",
            field=".queue.unlistedKinds",
        ),
        Rule(
            holds=(
                "!has(self.routes) || self.routes.all(r, !has(r.resources) || !has(r.resources.gpuMemoryMib) || "
                "has(self.worker) && has(self.worker.gpuMemoryMib) && "
                "r.resources.gpuMemoryMib <= self.worker.gpuMemoryMib)"
            ),
            message=(
                "resources.gpuMemoryMib of a route must not exceed worker.gpuMemoryMib; set or raise the second, or "
                "lower the first"
            ),
            field=".routes",
        ),
    )

    @model_validator(mode="after")
    def _check_schedules(self) -> AgentPoolSpec:
        """Check the payloads of the schedules against the schemas of their kinds."""
        schemas = {kind: schema for route in self.routes for schema in route.resolve_schemas() for kind in schema.kinds}
        for place, schedule in enumerate(self.schedules):
            schema = schemas.get(schedule.kind)
            if schema is not None and schema.input is not None:
                try:
                    check_value(f"schedules.{place}.payload", schema.input, schedule.payload)
                except InvalidJobError as error:
                    raise ValueError(str(error)) from error
        return self

    workload: Workload = Field(
        default=Workload.AGENT,
        description="Type of the jobs; selects the slots of a worker with `profile` (Agent 5, Task 20, Workflow 10).",
    )
    profile: Profile = Field(
        default=Profile.DEFAULT,
        description="Load of a worker; selects the slots of a worker with `workload`.",
    )
    handler: Handler = Field(description="Handler of the jobs: exactly one of python, http, command.")
    worker: Worker = Field(default_factory=Worker, description="A worker: slots, drain, and pod.")
    routes: list[RouteSpec] = Field(
        default_factory=list,
        max_length=MAX_ROUTES,
        description="Shares of the pool with separate limits; the kind of a job selects the route.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    schedules: list[ScheduleSpec] = Field(
        default_factory=list,
        max_length=MAX_SCHEDULES,
        description="Jobs at due times: one job for each due time, submitted by the maintenance of any worker.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    queue: Queue = Field(
        default_factory=Queue,
        description="The Redis that holds the jobs, the limits of the queue, and the handling of failed jobs.",
    )
    scaling: Scaling = Field(default_factory=Scaling, description="Bounds, target and speed of scaling.")
    gpu: Gpu | None = Field(default=None, description="GPUs of each worker. Unset: none.")
    replicas: int | None = Field(
        default=None,
        ge=0,
        le=MAX_REPLICAS,
        description="Fixed number of workers instead of scaling; set by `kubectl scale`. Unset: scaling decides.",
    )
    paused: bool = Field(
        default=False, description="Stops new claims: running jobs finish, waiting jobs wait, workers drain."
    )
    deletion_policy: DeletionPolicy = Field(
        default=DeletionPolicy.RETAIN,
        description="Whether the queue's keys stay in Redis (Retain) or are removed (Delete) with the AgentPool.",
    )
