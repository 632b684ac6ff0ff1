"""The watches that keep the registry current: started once AgentPools are served, and restarted when they fail.

kopf looks for the served kinds once, at the start, and ends as a whole when one watch gets an unexpected answer, such
as 404 after the removal of the definition. So `Watches` asks the API server before each start, and reports a missing
definition. `watch_thread` runs kopf; `resync` lists everything from time to time.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import aiohttp

from agentpool_core.errors import ClusterError, ClusterUnreachableError
from agentpool_core.kube import paths
from agentpool_core.kube.errors import NotThereError
from agentpool_core.kube.paths import group
from agentpool_core.spec import GROUP, PLURAL, VERSION
from agentpool_operator.pools.watch_handlers import quiet_kopf
from agentpool_operator.pools.watch_thread import WatchThread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubernetes.aio import client as kube

    from agentpool_operator.cluster import Cluster
    from agentpool_operator.pools.registry import Pools

RESTART_SECONDS = 1.0  # before failed watches start again, and between checks for the definition
DISCOVERY = group(f"{GROUP}/{VERSION}")  # where the API server lists the kinds of this group
log = logging.getLogger(__name__)


class Watches:
    """The watches of AgentPools, their Deployments and their pods."""

    def __init__(
        self, cluster: Cluster, pools: Pools, connection: kube.Configuration, *, namespaces: Sequence[str]
    ) -> None:
        self._cluster = cluster
        self._pools = pools
        self._connection = connection
        self._namespaces = namespaces
        self._missing_reported = False
        self._thread: WatchThread | None = None
        self._closed = False
        self.ready = False  # kopf has found all kinds, and AgentPools have not gone since

    async def run(self) -> None:
        """Watch until `close`."""
        quiet_kopf()
        while not self._closed:
            try:
                if await self._are_pools_served():
                    await self._watch()
            except ClusterError as error:
                log.warning("the watches start when the API server answers: %s", error)
            except Exception as error:  # noqa: BLE001 - an answer that kopf does not expect, such as 410 to a watch
                log.warning("the watches failed and start again: %s", error)
            if not self._closed:
                await asyncio.sleep(RESTART_SECONDS)

    async def close(self) -> None:
        """End the watches."""
        self._closed = True
        if self._thread is not None:
            await self._thread.stop()

    async def _watch(self) -> None:
        """Run kopf until it ends. Raises the error that ended kopf."""
        if self._closed:
            return
        self._thread = WatchThread(
            self._pools, self._connection, namespaces=self._namespaces, on_ready=self._become_ready
        )
        try:
            await self._thread.run()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ClusterUnreachableError(f"the watches failed: {error}") from error

    async def _are_pools_served(self) -> bool:
        """Return whether the API server serves AgentPools now; report the first answer that it does not.

        The list needs the server's storage: kopf is not started while only discovery answers.
        """
        try:
            found = await self._cluster.get(DISCOVERY)
            served = any(kind.get("name") == PLURAL for kind in found.get("resources") or [])
            if served:
                await self._cluster.get(paths.agentpools(next(iter(self._namespaces), None)), limit="1")
        except NotThereError:
            served = False
        if not served:
            self._report_missing()
        return served

    def _become_ready(self) -> None:
        if self._missing_reported:
            log.info("the API server serves %s of %s/%s now", PLURAL, GROUP, VERSION)
        self._missing_reported = False
        self.ready = True

    def _report_missing(self) -> None:
        self.ready = False
        if not self._missing_reported:
            log.error(
                "the API server does not serve %s of %s/%s, so no pool is served; install the "
                "CustomResourceDefinition (crds/agentpools.yaml, or the chart's crds.enabled)",
                PLURAL,
                GROUP,
                VERSION,
            )
        self._missing_reported = True
