"""Which pool may have how many workers on the nodes there are: joins registry, inventory and the pure sharing.

Only pools that ask for devices take part. `scaling_loop` calls it before it decides.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from agentpool_operator import manifests
from agentpool_operator.resolve import policy_of, shape_of
from agentpool_operator.scaling.capacity import Claim, share
from agentpool_operator.scaling.decide import wanted_workers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agentpool.jobs import PoolRef
    from agentpool_operator.inventory import Holding, Inventory
    from agentpool_operator.registry import Pool
    from agentpool_operator.scaling.observation import Observation


def place(pools: Iterable[tuple[Pool, Observation]], inventory: Inventory, now: float) -> dict[PoolRef, int]:
    """Workers that each of the pools may have, those it has included."""
    contenders = [(pool, seen) for pool, seen in pools if pool.spec is not None and pool.spec.gpu is not None]
    if not contenders:
        return {}
    holdings = inventory.holdings_of({pool.ref for pool, _ in contenders})
    claims = [_claim(pool, seen, holdings[pool.ref], now) for pool, seen in contenders]
    return share(inventory.nodes(), [claim for claim in claims if claim is not None])


def _claim(pool: Pool, seen: Observation, holdings: list[Holding], now: float) -> Claim[PoolRef] | None:
    if pool.spec is None or pool.spec.gpu is None:
        return None
    body = manifests.deployment(pool.ref, pool.uid, pool.spec, default_image="")
    busy_names = {worker.name for worker in seen.busy_workers}
    own = [holding for holding in holdings if not holding.terminating]
    return Claim(
        pool=pool.ref,
        shape=shape_of(body["spec"]["template"]),
        wanted=wanted_workers(seen, policy_of(pool.spec), pool.memory, now),
        current=seen.replicas,
        priority=pool.spec.gpu.priority,
        busy=Counter(h.node for h in own if h.name in busy_names),
        idle=Counter(h.node for h in own if h.name not in busy_names),
    )
