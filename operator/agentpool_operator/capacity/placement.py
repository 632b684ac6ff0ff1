"""Maximum number of workers of each pool on the existing nodes: connects registry, inventory and the pure sharing.

Only pools that request devices take part. Nothing is shared again without a relevant change. `loop` calls it
before it decides.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from agentpool_operator.children import manifests
from agentpool_operator.pools.observing import observation_of
from agentpool_operator.pools.problems import Failures
from agentpool_operator.pools.resolve import policy_of, shape_of
from agentpool_operator.scaling.decide import demanded_workers
from agentpool_operator.scaling.nodes import misfit
from agentpool_operator.scaling.sharing import Claim, share

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from agentpool_core.jobs import PoolRef
    from agentpool_core.spec import AgentPoolSpec
    from agentpool_core.spec.scaling import Gpu
    from agentpool_operator.capacity.inventory import Inventory
    from agentpool_operator.pools.pool import Pool
    from agentpool_operator.scaling.nodes import Shape

UNREADABLE = "the pods' node requirements cannot be read; correct resources, nodeSelector, affinity and tolerations"


def takes_part(pool: Pool) -> bool:
    """Return whether the pool requests devices and has its own Deployment for pods that hold them."""
    return pool.gpu is not None and pool.owns_deployment


class Placement:
    """The latest shares of all pools."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._version = -1  # of the inventory, at the last sharing
        self._claims: dict[PoolRef, Claim[PoolRef]] = {}
        self._granted: dict[PoolRef, int] = {}
        self._misfits: dict[PoolRef, str] = {}
        self._shapes: dict[PoolRef, tuple[AgentPoolSpec, Shape]] = {}
        self._unreadable: set[PoolRef] = set()
        self._failures = Failures()

    def place(self, asking: Iterable[Pool], *, news: Container[PoolRef], now: float, at: float) -> dict[PoolRef, int]:
        """Return the maximum number of workers of each pool, existing workers included; `news` were just read.

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
            self._misfits = {ref: misfit(nodes, c.shape) for ref, c in claims.items() if not self._granted[ref]}
            self._version, self._claims = self._inventory.version, claims
            self._shapes = {ref: known for ref, known in self._shapes.items() if ref in claims}
        return {**self._granted, **dict.fromkeys(self._unreadable, 0)}

    def misfit_of(self, pool: PoolRef) -> str:
        """Return why no node could hold a worker of the pool, even if empty; empty = a node could."""
        return UNREADABLE if pool in self._unreadable else self._misfits.get(pool, "")

    def _read_claim(self, pool: Pool, now: float, at: float) -> Claim[PoolRef] | None:
        """Return the claim of a pool; None for an unreadable template, which gets no room."""
        self._unreadable.discard(pool.ref)
        if pool.spec is None or pool.gpu is None:
            return None
        try:
            return self._claim(pool, pool.spec, pool.gpu, now, at)
        except Exception as error:  # noqa: BLE001 - one pool's template must not take the others' shares
            self._failures.note(pool.ref, error, doing="reading the node requirements of the pods")
            self._unreadable.add(pool.ref)
            return None

    def _claim(self, pool: Pool, spec: AgentPoolSpec, gpu: Gpu, now: float, at: float) -> Claim[PoolRef]:
        seen = observation_of(pool, now=now, at=at)
        busy_names = {worker.name for worker in seen.busy_workers}
        own = [holding for holding in self._inventory.holdings_of(pool.ref) if not holding.terminating]
        return Claim(
            pool=pool.ref,
            shape=self._shape(pool, spec),
            wanted=demanded_workers(seen, policy_of(spec), pool.scaling.memory, now),
            current=seen.replicas,
            priority=gpu.priority,
            busy=Counter(h.node for h in own if h.name in busy_names),
            idle=Counter(h.node for h in own if h.name not in busy_names),
        )

    def _shape(self, pool: Pool, spec: AgentPoolSpec) -> Shape:
        known = self._shapes.get(pool.ref)
        if known is None or known[0] is not spec:
            body = manifests.deployment(pool.ref, pool.uid, spec, default_image="")
            known = self._shapes[pool.ref] = spec, shape_of(body["spec"]["template"])
        return known[1]
