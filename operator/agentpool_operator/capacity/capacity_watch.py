"""List and watch nodes, pods, and devices of Dynamic Resource Allocation to keep the inventory current.

Started when the first pool requests devices. An ended watch resumes at its last version; an expired or broken watch
starts again with a full list. Until both first lists are complete, nothing is known (`ready`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import ClusterError
from agentpool_core.kube import paths
from agentpool_core.kube.errors import ExpiredError, ForbiddenError
from agentpool_core.process.cancellation import run_until_first_end
from agentpool_operator.capacity import dra
from agentpool_operator.capacity.inventory import HOLDING_PODS, Inventory
from agentpool_operator.pools.registry import each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agentpool_operator.cluster import Cluster

Json = dict[str, Any]
FIRST_LISTS_SECONDS = 5.0  # to wait for the first lists
RETRY_SECONDS = 1.0  # before a list is tried again
FORBIDDEN_RETRY_SECONDS = 30.0  # where the operator's account may not read
DEVICE_PATHS = {
    dra.SLICES: paths.resource_slices(),
    dra.CLASSES: paths.device_classes(),
    dra.CLAIMS: paths.resource_claims(),
    dra.TEMPLATES: paths.resource_claim_templates(),
}
log = logging.getLogger(__name__)


class CapacityWatch:
    """Two watches that fill the inventory."""

    def __init__(self, cluster: Cluster, inventory: Inventory) -> None:
        self._cluster = cluster
        self.inventory = inventory
        self._wanted = asyncio.Event()
        self._listed = {"nodes": asyncio.Event(), "pods": asyncio.Event()}
        self.problem: str = ""  # why the inventory cannot be kept current; empty = no problem

    @property
    def ready(self) -> bool:
        """Whether both lists have been read at least once."""
        return all(event.is_set() for event in self._listed.values())

    def note_listed(self, kind: str) -> None:
        """Record that the list of `nodes` or `pods` has been read."""
        self._listed[kind].set()

    async def wait_until_ready(self) -> bool:
        """Wait for the first lists, for a few seconds at most; return whether they have been read."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.0 if self.problem else FIRST_LISTS_SECONDS):
                await asyncio.gather(*(event.wait() for event in self._listed.values()))
        return self.ready

    def start(self) -> None:
        """Let `run` begin to watch; a second call changes nothing."""
        self._wanted.set()

    async def run(self) -> None:
        """Watch for ever after the start. An unexpected error ends the watch, and so the operator."""
        await self._wanted.wait()
        seen = self.inventory
        await run_until_first_end(
            self._follow("nodes", paths.nodes(), {}, seen.see_node, seen.replace_nodes),
            self._follow("pods", paths.pods(), {"fieldSelector": HOLDING_PODS}, seen.see_pod, seen.replace_pods),
            *(self._follow_devices(kind, path) for kind, path in DEVICE_PATHS.items()),
        )

    async def _follow_devices(self, kind: str, path: str) -> None:
        """Follow a kind of Dynamic Resource Allocation, which a cluster may not serve, or not to this operator."""
        see, replace = partial(self.inventory.see_device, kind), partial(self.inventory.replace_devices, kind)
        since = ""
        while True:
            try:
                since = await self._follow_once(path, since, {}, see, replace)
            except ExpiredError:
                since = ""
            except ClusterError as error:
                log.debug("devices of %s are not counted: %s", path, error)
                self.inventory.note_unreadable(kind)
                since = ""
                await asyncio.sleep(FORBIDDEN_RETRY_SECONDS)

    async def _follow_once(
        self,
        path: str,
        since: str,
        selectors: dict[str, str],
        see: Callable[..., None],
        replace: Callable[[Iterable[Json]], None],
    ) -> str:
        """Follow a kind until its watch ends; return the version to go on from. An empty `since` begins with a list."""
        if not since:
            items, since = await self._cluster.list(path, **selectors)
            replace(items)
        async for type_, found in self._cluster.watch(path, since, **selectors):
            since = found["metadata"]["resourceVersion"]
            if type_ != "BOOKMARK":
                each(see, found, gone=type_ == "DELETED")
        return since

    async def _follow(
        self,
        kind: str,
        path: str,
        selectors: dict[str, str],
        see: Callable[..., None],
        replace: Callable[[Iterable[Json]], None],
    ) -> None:
        def replace_and_note(items: Iterable[Json]) -> None:
            replace(items)
            self.note_listed(kind)
            self.problem = ""

        since = ""
        while True:
            try:
                since = await self._follow_once(path, since, selectors, see, replace_and_note)
            except ExpiredError:
                since = ""
            except ForbiddenError as error:
                self.problem = f"the operator may not watch {kind}: {error.message}"
                since = ""
                await asyncio.sleep(FORBIDDEN_RETRY_SECONDS)
            except ClusterError as error:
                log.info("%s are listed again: %s", kind, error)
                since = ""
                await asyncio.sleep(RETRY_SECONDS)
