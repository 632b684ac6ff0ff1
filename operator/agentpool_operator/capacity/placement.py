"""Maximum number of workers of each pool on the existing nodes: connects registry, inventory and the pure sharing.

Only pools that request devices take part. Nothing is shared again without a relevant change. A worker has the shape of
the live Deployment's template after admission (`admission`), and no pool claims more workers than the scheduler places
(`refusals`). `loop` calls this module before a decision.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from agentpool_operator.capacity.refusals import Refusals, refused_pods
from agentpool_operator.children import manifests
from agentpool_operator.pools.observing import observation_of
from agentpool_operator.pools.problems import Failures
from agentpool_operator.pools.resolve import policy_of, shape_of
from agentpool_operator.scaling.decide import demanded_workers
from agentpool_operator.scaling.nodes import misfit
from agentpool_operator.scaling.sharing import Claim, Grant, Idle, share

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from agentpool_core.jobs import PoolRef
    from agentpool_core.spec import AgentPoolSpec
    from agentpool_core.spec.scaling import Gpu
    from agentpool_operator.capacity.inventory import Holding, Inventory
    from agentpool_operator.pools.pool import Pool
    from agentpool_operator.scaling.nodes import Node, Shape

Json = dict[str, Any]
UNREADABLE = "the pods' node requirements cannot be read; correct resources, nodeSelector, affinity and tolerations"


def takes_part(pool: Pool) -> bool:
    """Return whether the pool requests devices and has a separate Deployment for pods that hold the devices."""
    return pool.gpu is not None and pool.owns_deployment and not pool.yielded_to


class Placement:
    """The latest shares of all pools."""

    def __init__(self, inventory: Inventory, *, admitted: Callable[[Pool], Shape | None] = lambda _: None) -> None:
        self._inventory = inventory
        self._admitted = admitted  # a worker's shape after admission; None = not known
        self._version = -1  # of the inventory, at the last sharing
        self._claims: dict[PoolRef, Claim[PoolRef]] = {}
        self._granted: dict[PoolRef, Grant] = {}
        self._misfits: dict[PoolRef, str] = {}
        self._shapes: dict[PoolRef, tuple[object, Shape]] = {}  # with the object that each was read from
        self._refusals = Refusals()
        self._unreadable: dict[PoolRef, Grant] = {}  # shares of pools with an unreadable template: the running workers
        self._failures = Failures()

    def place(self, asking: Iterable[Pool], *, news: Container[PoolRef], now: float, at: float) -> dict[PoolRef, Grant]:
        """Return the share of each pool; `news` were just read.

        `now` is seconds of the monotonic clock, `at` the same moment in seconds since the epoch.
        """
        moved = self._inventory.version != self._version  # holdings of the pools may have changed, too
        claims = {}
        for pool in asking:
            known = None if moved or pool.ref in news else self._claims.get(pool.ref)
            claim = known or self._read_claim(pool, now, at)
            if claim is not None:
                claims[pool.ref] = claim
        if moved or claims != self._claims:
            nodes = self._inventory.nodes()
            self._granted = share(nodes, list(claims.values()))
            empty = [claim for claim in claims.values() if not self._granted[claim.pool].placeable]
            self._misfits = {claim.pool: self._why_none(nodes, claim) for claim in empty}
            self._version, self._claims = self._inventory.version, claims
            self._shapes = {ref: known for ref, known in self._shapes.items() if ref in claims}
            self._refusals.forget_all_but(set(claims))
        return {**self._granted, **self._unreadable}

    def _why_none(self, nodes: list[Node], claim: Claim[PoolRef]) -> str:
        """Return why no node could hold a worker; a refusal of the scheduler counts, which knows more filters."""
        refused = claim.most == 0 and self._refusals.reason_of(claim.pool)
        return misfit(nodes, claim.shape) or (f"the scheduler places no worker: {refused}" if refused else "")

    def refusal_of(self, pool: PoolRef) -> str:
        """Return the scheduler's reason for the limit of the pool; empty = no refused worker."""
        limited = pool in self._claims and self._claims[pool].most is not None
        return self._refusals.reason_of(pool) if limited else ""

    def misfit_of(self, pool: PoolRef) -> str:
        """Return why no node could hold a worker of the pool, even if empty; empty = a node could."""
        return UNREADABLE if pool in self._unreadable else self._misfits.get(pool, "")

    def _read_claim(self, pool: Pool, now: float, at: float) -> Claim[PoolRef] | None:
        """Return the claim of a pool; None for an unreadable template, which gets no room."""
        self._unreadable.pop(pool.ref, None)
        if pool.spec is None or pool.gpu is None:
            return None
        try:
            return self._claim(pool, pool.spec, pool.gpu, now, at)
        except Exception as error:  # noqa: BLE001 - one pool's template must not take the others' shares
            self._failures.note(pool.ref, error, doing="reading the node requirements of the pods")
            self._unreadable[pool.ref] = Grant(placeable=0, kept=len(pool.live_pods))
            return None

    def _claim(self, pool: Pool, spec: AgentPoolSpec, gpu: Gpu, now: float, at: float) -> Claim[PoolRef]:
        seen = observation_of(pool, now=now, at=at)
        busy_names = {worker.name for worker in seen.busy_workers}
        own = [holding for holding in self._inventory.holdings_of(pool.ref) if not holding.terminating]
        shape, refused = self._shape(pool, spec), refused_pods(pool, at=at)
        limit = self._refusals.note(
            pool, shape, placed=len(own), refused=refused, nodes_version=self._inventory.nodes_version, now=now
        )
        return Claim(
            pool=pool.ref,
            shape=shape,
            wanted=demanded_workers(seen, policy_of(spec, at, pool.queue.past_loads), pool.scaling.memory, now),
            current=seen.replicas,
            priority=gpu.priority,
            busy=Counter(h.node for h in own if h.name in busy_names),
            idle=tuple(self._idle(holding) for holding in own if holding.name not in busy_names),
            starting=0 if gpu.max_pending else max(0, seen.replicas - len(own) - len(refused) - _not_created(pool)),
            most=None if limit is None else limit.most,
        )

    def _shape(self, pool: Pool, spec: AgentPoolSpec) -> Shape:
        """Return the shape of the live Deployment's pods, or of the spec's before a Deployment exists."""
        live = pool.deployment.raw["spec"].get("template") if pool.deployment is not None else None
        admitted = self._admitted(pool)
        source = admitted or live or spec
        known = self._shapes.get(pool.ref)
        if known is None or known[0] is not source:
            shape = admitted or shape_of(live or _template(pool, spec))
            known = self._shapes[pool.ref] = source, shape
        return self._inventory.resolved(pool.ref.namespace, known[1])

    def _idle(self, holding: Holding) -> Idle:
        devices = self._inventory.devices_of(holding)
        return Idle(node=holding.node, requests=dict(holding.requests), devices=devices)

    def devices_held(self, pool: PoolRef) -> int:
        """Return the devices that claims have allocated for the pods of a pool, including ending pods."""
        return sum(len(self._inventory.devices_of(holding)) for holding in self._inventory.holdings_of(pool))


def _template(pool: Pool, spec: AgentPoolSpec) -> Json:
    template: Json = manifests.deployment(pool.ref, pool.uid, spec, default_image="")["spec"]["template"]
    return template


def _not_created(pool: Pool) -> int:
    """Return the workers that cannot be created, because of a quota for example: they claim nothing."""
    if pool.deployment is None or not pool.deployment.failures:
        return 0
    return max(0, pool.deployment.replicas - len(pool.live_pods))
