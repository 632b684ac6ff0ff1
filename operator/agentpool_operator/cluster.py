"""The operator's use of the Kubernetes client: a gate for writes, and a queue of requests.

Every write passes the gate, so an operator that may no longer lead writes nothing, and requests queue here instead of
in the API server. `applier`, `replicas`, `patch`, `events`, `election` and `capacity_watch` build on this.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import ClusterError
from agentpool_core.kube import paths

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from agentpool_core.kube import client

Json = dict[str, Any]
AT_ONCE = 32  # requests: when a thousand are sent at once, all of them time out, and are sent again


class NotLeadingError(ClusterError):
    """A write was stopped because this operator does not lead, or may not lead any more."""


def _always() -> bool:
    return True


class Cluster:
    """Connection to an API server, with the methods of `agentpool_core.kube.client.Cluster`."""

    def __init__(self, api: client.Cluster, *, may_write: Callable[[], bool] = _always) -> None:
        self._api = api
        self._turns = asyncio.Semaphore(AT_ONCE)
        self.may_write = may_write

    async def get(self, path: str, **query: str) -> Json:
        """Return an object, or a page of a collection."""
        async with self._turn(path):
            return await self._api.get(path, **query)

    async def list(self, path: str, **selectors: str) -> tuple[list[Json], str]:
        """Return all objects of a collection, and the resourceVersion to watch from."""
        async with self._turn(path):
            return await self._api.list(path, **selectors)

    def watch(self, path: str, since: str, **selectors: str) -> AsyncIterator[tuple[str, Json]]:
        """Yield changes after a resourceVersion. A watch takes no turn, because it lasts for minutes."""
        return self._api.watch(path, since, **selectors)

    async def create(self, path: str, body: Json, *, gated: bool = True) -> Json:
        """Create an object in the collection at `path`."""
        async with self._write("POST", path, gated=gated):
            return await self._api.create(path, body)

    async def dry_run(self, path: str, body: Json) -> Json:
        """Return the object that a creation would store, completed by admission; nothing is stored."""
        async with self._turn(path):
            return await self._api.dry_run(path, body)

    async def replace(self, path: str, body: Json, *, gated: bool = True) -> Json:
        """Replace an object."""
        async with self._write("PUT", path, gated=gated):
            return await self._api.replace(path, body)

    async def merge(self, path: str, patch: Json, *, manager: str) -> Json:
        """Apply a merge patch."""
        async with self._write("PATCH", path):
            return await self._api.merge(path, patch, manager=manager)

    async def apply(self, path: str, body: Json, *, manager: str) -> Json:
        """Apply server-side."""
        async with self._write("PATCH", path):
            return await self._api.apply(path, body, manager=manager)

    async def delete(self, path: str) -> None:
        """Delete an object in the background."""
        async with self._write("DELETE", path):
            await self._api.delete(path)

    @contextlib.asynccontextmanager
    async def _write(self, method: str, path: str, *, gated: bool = True) -> AsyncIterator[None]:
        """Wait for a turn, then ask the gate. Raises NotLeadingError."""
        async with self._turn(path):
            if gated and not self.may_write():
                raise NotLeadingError(f"{method} {path}: not sent, this operator does not lead")
            yield

    def _turn(self, path: str) -> contextlib.AbstractAsyncContextManager[None]:
        """Return the queue of a request; a Lease does not queue, so that the operator keeps leading."""
        return contextlib.nullcontext() if paths.is_of_lease(path) else self._turns
