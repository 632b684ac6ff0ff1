"""A pool as known to the operator: a record for each module that writes a part of it.

| record | writer |
|---|---|
| `declared`, `children` | `pools.registry`, from watches, full lists and answers to our own writes |
| `child_problem` | `reconciler` |
| `yielded_to` | `children.applier` |
| `queue` | `queue.reader` |
| `due_at` | `queue.read_order` |
| `room`, `scaling` | `scale_loop.loop` |
| `cordoned` | `scale_loop.scale_in` |

All other modules read. Changed only by the event loop's thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agentpool_core.redis_address import NOT_LABELLED
from agentpool_operator.scaling.memory import PoolMemory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agentpool_core.jobs import PoolRef
    from agentpool_core.queue.snapshots import QueueSnapshot
    from agentpool_core.redis_address import Address
    from agentpool_core.spec import AgentPoolSpec
    from agentpool_core.spec.scaling import Gpu
    from agentpool_operator.pools.problems import Problem
    from agentpool_operator.pools.views import DeploymentView, PodView
    from agentpool_operator.scaling.allowance import Allowance
    from agentpool_operator.scaling.decision import Decision
    from agentpool_operator.scaling.observation import Backlog

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """The last known AgentPool, and the parsed spec."""

    resource: Json  # without managedFields
    spec: AgentPoolSpec | None = None  # None = unparsable, see `problem`
    problem: Problem | None = None
    ignored_fields: frozenset[str] = frozenset()  # fields that only a newer operator knows; all that were ever seen


@dataclass(slots=True)
class Children:
    """The pool's Deployment and the workers' pods, as last seen."""

    deployment: DeploymentView | None = None
    pods: dict[str, PodView] = field(default_factory=dict)


@dataclass(slots=True)
class QueueState:
    """The last reading of the pool's queue, and the settings that the queue holds."""

    address: Address | None = None  # of the Redis; None = not resolved yet
    backlog: Backlog | None = None  # None = unknown
    snapshot: QueueSnapshot | None = None  # the same reading whole, for metrics
    problem: Problem | None = None  # obstacle to reading or configuring the queue
    was_read: bool = False  # at least once
    unread_since: float | None = None  # seconds, monotonic: first failed reading of several; None = readable
    foreign_owner: str = ""  # uid of the cluster with the AgentPool that owns the queue; empty = this cluster
    pause_s: float = 0.0  # seconds before the next reading, after an unexpected failure
    record_at: float = 0.0  # seconds, monotonic: earliest time of the next point of the history
    tenant_waits: dict[str, float] = field(default_factory=dict)  # seconds by tenant, read with that point
    known_tenants: set[str] = field(default_factory=set)  # tenants with names in `tenant_waits`; bounded
    past_loads: Mapping[int, float] = field(default_factory=dict)  # running jobs at this time of past days, by days ago
    published: str = ""  # revision of the published settings; empty = publish again


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """The workers for which the nodes have devices."""

    placeable: int | None = None  # existing workers included; None = not known
    kept: int = 0  # existing workers with reserved room
    refusal: str = ""  # the scheduler's reason for placing no more workers; empty = none known
    misfit: str = ""  # why no node could hold a worker, even if empty; empty = a node could, or not checked
    claimed: int = 0  # devices that claims have allocated for the pods


@dataclass(slots=True)
class ScalingState:
    """The last decision about the pool's size, and inputs for the next decision."""

    memory: PoolMemory = field(default_factory=PoolMemory)
    decision: Decision | None = None
    problem: Problem | None = None  # obstacle to setting the size
    allowance: Allowance | None = None  # limit that the API server has shown by a refusal
    decided_at: float | None = None  # seconds since the epoch: when size or reason last changed
    reason: str = ""  # of the present size; empty = no decision yet
    learned_starts: set[str] = field(default_factory=set)  # uids of pods with a known start-up time


@dataclass(slots=True)
class Pool:
    """The records of a pool."""

    ref: PoolRef
    declared: Declared
    children: Children = field(default_factory=Children)
    yielded_to: str = ""  # operator that serves the pool in place of this operator; empty = none
    child_problem: Problem | None = None  # obstacle to creating or keeping the children
    queue: QueueState = field(default_factory=QueueState)
    due_at: float = 0.0  # seconds, monotonic: next read of the queue
    room: Room = Room()
    scaling: ScalingState = field(default_factory=ScalingState)
    cordoned: int = 0  # workers that finish their jobs and are removed then

    @property
    def resource(self) -> Json:
        """The AgentPool as last seen."""
        return self.declared.resource

    @property
    def spec(self) -> AgentPoolSpec | None:
        """The parsed spec; None = unparsable."""
        return self.declared.spec

    @property
    def uid(self) -> str:
        """The AgentPool's uid."""
        return str(self.resource["metadata"]["uid"])

    @property
    def generation(self) -> int:
        """The generation of the spec."""
        return int(self.resource["metadata"].get("generation", 1))

    @property
    def deleting(self) -> bool:
        """Whether the AgentPool is being deleted."""
        return bool(self.resource["metadata"].get("deletionTimestamp"))

    @property
    def deployment(self) -> DeploymentView | None:
        """The Deployment of the pool's name; None = there is none."""
        return self.children.deployment

    @property
    def pods(self) -> dict[str, PodView]:
        """The pods that name the pool in their label, by name."""
        return self.children.pods

    @property
    def redis_url(self) -> str | None:
        """The URL of the pool's Redis, which may hold a password; None = not resolved yet."""
        return None if self.queue.address is None else self.queue.address.url

    @property
    def backlog(self) -> Backlog | None:
        """The backlog of the last reading; None = unknown."""
        return self.queue.backlog

    @property
    def snapshot(self) -> QueueSnapshot | None:
        """The last reading; None = unknown."""
        return self.queue.snapshot

    @property
    def blocked(self) -> Problem | None:
        """Return the obstacle to serving and scaling; None = no obstacle."""
        if self.declared.problem is not None:
            return self.declared.problem
        if self.child_problem is not None and self.child_problem.stops_scaling:
            return self.child_problem
        forbidden = self.queue.problem is not None and self.queue.problem.reason == NOT_LABELLED
        return self.queue.problem if forbidden else None

    @property
    def owns_deployment(self) -> bool:
        """Whether the Deployment of the name exists and belongs to the pool."""
        return self.deployment is not None and self.deployment.owner_uid == self.uid

    @property
    def live_pods(self) -> list[PodView]:
        """Return the pods that count as workers of the pool."""
        return [pod for pod in self.pods.values() if pod.alive]

    @property
    def gpu(self) -> Gpu | None:
        """Return the device requests of a worker; None = no request, or an unreadable spec."""
        return self.spec.gpu if self.spec is not None else None

    @property
    def placeable(self) -> int | None:
        """Return the number of workers that fit on the nodes; None = no device is requested, or not known."""
        return self.room.placeable if self.gpu is not None else None

    @property
    def misfit(self) -> str:
        """Return why no node could hold a worker, even if empty; empty = a node could, or not checked."""
        return self.room.misfit if self.gpu is not None else ""

    @property
    def devices_held(self) -> int:
        """Return the devices held by the pods, including ending pods; 0 without a request."""
        if self.gpu is None:
            return 0
        if self.gpu.resource_claim_template_name is not None:
            return self.room.claimed
        holders = [pod for pod in self.pods.values() if pod.node and not pod.ended]
        return sum(dict(pod.devices).get(self.gpu.resource_name, 0) for pod in holders)

    def starting_pods(self) -> list[PodView]:
        """Return the live pods without a known start-up time."""
        return [pod for pod in self.live_pods if pod.uid not in self.scaling.learned_starts]

    def note_starts(self) -> None:
        """Record the pods with a known start-up time. A pod that is ready again after a fault has not started."""
        known = self.scaling.learned_starts
        self.scaling.learned_starts = {pod.uid for pod in self.pods.values() if pod.ready or pod.uid in known}
