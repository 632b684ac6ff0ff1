"""A run of kopf in a thread and an event loop of its own.

kopf's documentation asks for an event loop that kopf does not share: at the end, kopf cancels every task that was
started after it. The thread also has the stack that decoding a deeply nested object takes. `watch_handlers` has the
handlers and settings; `watches` starts a new run when a run has ended.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import kopf

from agentpool_operator.pools.watch_handlers import Discovery, handlers, watch_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from kubernetes.aio import client as kube

    from agentpool_operator.pools.registry import Pools

STOP_SECONDS = 1.5  # for kopf to close its watches; a connection that stays open ends with the process
DISCOVERY_SECONDS = 20.0  # for kopf to find all kinds, which it looks for once at the start
CANCEL_AGAIN_SECONDS = 1.0  # between cancellations of kopf's tasks
RECURSION_LIMIT = 12_000  # frames: the decoder takes one for each of the 10,000 levels that an API server accepts
STACK_BYTES = 64 * 2**20
log = logging.getLogger(__name__)


class KindsNotFoundError(Exception):
    """kopf has not found a kind that it is to watch, and does not look for it again."""


class WatchThread:
    """The thread. `run` once, `stop` at any time."""

    def __init__(
        self,
        pools: Pools,
        connection: kube.Configuration,
        *,
        namespaces: Sequence[str],
        on_ready: Callable[[], None],
    ) -> None:
        self._pools = pools
        self._connection = connection
        self._namespaces = list(namespaces)
        self._on_ready = on_ready
        self._stop: Future[None] = Future()
        self._ended: Future[None] = Future()

    async def run(self) -> None:
        """Watch until `stop`. Raises the error of the first watch that breaks."""
        owner = asyncio.get_running_loop()
        sys.setrecursionlimit(max(sys.getrecursionlimit(), RECURSION_LIMIT))
        before = threading.stack_size(STACK_BYTES)
        try:
            threading.Thread(target=self._in_thread, args=[owner], name="watches", daemon=True).start()
        finally:
            threading.stack_size(before)
        await asyncio.shield(asyncio.wrap_future(self._ended))

    async def stop(self) -> None:
        """End the watches; return after their end, or after `STOP_SECONDS`."""
        if not self._stop.done():
            self._stop.set_result(None)
        await asyncio.wait([asyncio.wrap_future(self._ended)], timeout=STOP_SECONDS)

    def _in_thread(self, owner: asyncio.AbstractEventLoop) -> None:
        try:
            asyncio.run(self._watch(owner))
        except BaseException as error:  # noqa: BLE001 - `run` raises the error
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)

    async def _watch(self, owner: asyncio.AbstractEventLoop) -> None:
        """Run kopf until its first task ends or `stop`, and end the rest."""
        asyncio.get_running_loop().set_exception_handler(_log_secondary)
        pass_on = owner.call_soon_threadsafe
        discovery = Discovery()
        tasks = await kopf.spawn_tasks(
            registry=handlers(self._pools, self._connection, discovery, pass_on),
            settings=watch_settings(),
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
        )
        ready = asyncio.create_task(_report_ready(discovery, lambda: pass_on(self._on_ready)))
        stopped = asyncio.wrap_future(self._stop)
        ended, _ = await asyncio.wait([*tasks, ready, stopped], return_when=asyncio.FIRST_COMPLETED)
        await _end([*tasks, ready])
        for task in ended:
            task.result()


async def _report_ready(discovery: Discovery, report: Callable[[], object]) -> None:
    """Report once kopf has found all kinds, then wait for ever. Raises KindsNotFoundError."""
    try:
        await asyncio.wait_for(discovery.complete.wait(), DISCOVERY_SECONDS)
    except TimeoutError:
        missing = ", ".join(sorted(kind.plural for kind in discovery.missing))
        raise KindsNotFoundError(f"kopf has not found {missing} within {DISCOVERY_SECONDS:g} s") from None
    report()
    await asyncio.Event().wait()


async def _end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel these tasks, and repeatedly all tasks of the event loop that are left.

    kopf's own ending cancels each task once and waits for it without limit. A watch that was retrying on a closed
    session has been seen to lose the cancellation (see `agentpool_core.process.cancellation`); then nothing restarted,
    and the operator saw nothing.
    """
    while tasks:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=CANCEL_AGAIN_SECONDS)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}


def _log_secondary(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log errors that kopf ignores: of several simultaneous failures of watches it raises the first."""
    log.debug("kopf: %s: %s", context["message"], context.get("exception"))
