"""Workers as admission completes them: the shape that the scheduler sees.

A template lacks fields that the API server's admission adds: tolerations for extended resources (GKE's GPU nodes),
the overhead and the nodes of a RuntimeClass, the requests of a LimitRange, sidecars of a webhook. So a pod of the
template is created by a server-side dry run, which stores nothing, and its shape is kept. Without an answer, or without
the right to create pods, the template counts as it is. `placement` and `rollout_check` use the shapes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import ClusterError
from agentpool_core.kube import paths
from agentpool_operator.capacity.placement import takes_part
from agentpool_operator.children.manifests import DIGEST
from agentpool_operator.pools.resolve import shape_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentpool_operator.cluster import Cluster
    from agentpool_operator.pools.pool import Pool
    from agentpool_operator.pools.registry import Pools
    from agentpool_operator.scaling.nodes import Shape

Json = dict[str, Any]
PASS_SECONDS = 1.0  # between looks for templates without a shape
REFRESH_SECONDS = 300.0  # before a dry run is repeated: webhooks and policies change
RETRY_SECONDS = 30.0  # before a refused or failed dry run is repeated
AT_ONCE = 8  # dry runs side by side
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Admitted:
    shape: Shape | None  # None = no answer
    until: float  # seconds, monotonic: time of the next dry run


class Admission:
    """The shapes of pods after admission, by namespace and digest of the Deployment."""

    def __init__(self, cluster: Cluster, pools: Pools, *, leading: Callable[[], bool]) -> None:
        self._cluster = cluster
        self._pools = pools
        self._leading = leading
        self._known: dict[tuple[str, str], _Admitted] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)

    def known(self, pool: Pool) -> Shape | None:
        """Return the shape of the workers that the pool's live Deployment creates; None = not known."""
        admitted = None if pool.deployment is None else self._known.get(_key(pool.deployment.raw))
        return None if admitted is None else admitted.shape

    async def shape(self, deployment: Json) -> Shape | None:
        """Return the shape of the workers of a Deployment; None = no answer."""
        key = _key(deployment)
        known = self._known.get(key)
        if known is None or time.monotonic() >= known.until:
            async with self._turns:
                shape = await self._ask(deployment)
            pause_s = RETRY_SECONDS if shape is None else REFRESH_SECONDS
            known = self._known[key] = _Admitted(shape=shape, until=time.monotonic() + pause_s)
        return known.shape

    async def run(self) -> None:
        """Ask for the shapes of all pools that request devices, for ever."""
        while True:
            await asyncio.sleep(PASS_SECONDS)
            if self._leading():
                try:
                    await self.run_once()
                except Exception:
                    log.exception("the dry runs of pods failed and are repeated; please report this")

    async def run_once(self) -> None:
        """Ask for missing and old shapes; forget those that no pool has."""
        live = [pool.deployment.raw for pool in self._pools if takes_part(pool) and pool.deployment is not None]
        needed = {_key(deployment) for deployment in live}
        now = time.monotonic()
        self._known = {key: kept for key, kept in self._known.items() if key in needed or now < kept.until}
        await asyncio.gather(*(self.shape(deployment) for deployment in live))

    async def _ask(self, deployment: Json) -> Shape | None:
        metadata, template = deployment["metadata"], deployment["spec"].get("template") or {}
        labelled = {part: (template.get("metadata") or {}).get(part) or {} for part in ("labels", "annotations")}
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"generateName": f"{metadata['name']}-", "namespace": metadata["namespace"], **labelled},
            "spec": template.get("spec") or {},
        }
        try:
            return shape_of(await self._cluster.dry_run(paths.pods(metadata["namespace"]), body))
        except ClusterError as error:
            log.debug("the workers of %s count as their template says: %s", metadata["name"], error)
            return None


def _key(deployment: Json) -> tuple[str, str]:
    metadata = deployment["metadata"]
    return metadata["namespace"], str((metadata.get("annotations") or {}).get(DIGEST, metadata.get("uid", "")))
