"""kopf's watches in a thread of their own, restarted whenever they break.

A kopf operator treats its event loop as its own: at its end, it cancels every task that was started later, including
ours. So it gets a separate loop, and its handlers pass their events on to our loop.

kopf checks the served kinds once, at its start. Its own way to follow changes checks when a definition changes, but an
API server serves the new kind a moment later, and the operator saw nothing any more. So kopf is restarted until all
kinds are served, and a removed definition breaks its watches. `watch_handlers` names the watches, `registry` keeps the
observed objects.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import kopf
from kopf._cogs.structs.references import Insights  # taken by `spawn_tasks`; it has no public name

from agentpool_core.process.cancellation import end
from agentpool_operator.pools.watch_handlers import WATCHED, quiet_kopf, watch_settings, watches

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from kubernetes.aio import client as kube

    from agentpool_operator.pools.registry import Pools
    from agentpool_operator.pools.watch_handlers import PassOn

STOP_WITHIN_S = 1.5  # seconds for kopf to close its watches
AGAIN_S = 1.0  # seconds before broken watches restart, or before the next check for an unserved kind
RECURSION_LIMIT = 25_000  # frames: an API server takes objects of 10,000 levels, and kopf copies them with two for each
STACK_BYTES = 64 * 2**20  # of the thread that decodes them
INSIST_S = 1.0  # seconds between the calls for kopf's tasks to end
log = logging.getLogger(__name__)


class NotServedError(Exception):
    """The API server does not serve a kind that is to be watched."""


class Watching:
    """The watches that keep the registry fed."""

    def __init__(self, pools: Pools, connection: kube.Configuration, *, namespaces: Sequence[str]) -> None:
        self._pools = pools
        self._connection = connection
        self._namespaces = list(namespaces)
        self._loop = asyncio.new_event_loop()  # kopf's, run by the thread
        self._stop = asyncio.Event()  # used in that loop only
        self._ended: Future[None] = Future()
        self._told = ""  # last logged unserved kinds
        self.ready = threading.Event()  # set while all that is to be watched is served

    async def run(self) -> None:
        """Watch for ever; `close` ends it. Raises the error that ends the thread, which is a bug."""
        quiet_kopf()
        sys.setrecursionlimit(max(sys.getrecursionlimit(), RECURSION_LIMIT))
        pass_on = asyncio.get_running_loop().call_soon_threadsafe
        before = threading.stack_size(STACK_BYTES)
        try:
            threading.Thread(target=self._in_thread, args=[pass_on], name="watches", daemon=True).start()
        finally:
            threading.stack_size(before)
        await asyncio.shield(asyncio.wrap_future(self._ended))

    async def close(self) -> None:
        """Ends the watches; a connection that does not close in time ends with the process."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: they have ended
            self._loop.call_soon_threadsafe(self._stop.set)
        await asyncio.wait([asyncio.wrap_future(self._ended)], timeout=STOP_WITHIN_S)

    def _in_thread(self, pass_on: PassOn) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._follow(pass_on))
        except BaseException as error:  # noqa: BLE001 - how a thread ends is told to who waits for it
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)

    async def _follow(self, pass_on: PassOn) -> None:
        """Run kopf until stopped; restart broken watches with full lists."""
        self._loop.set_exception_handler(_note)
        while not self._stop.is_set():
            try:
                await self._once(pass_on)
            except NotServedError as error:
                self._tell_missing(str(error))
                await asyncio.sleep(AGAIN_S)
            except Exception as error:  # noqa: BLE001 - an answer that kopf does not expect, such as 410 to a watch
                log.warning("the watches failed and start again: %s", error)
                await asyncio.sleep(AGAIN_S)

    async def _once(self, pass_on: PassOn) -> None:
        """Run kopf until its first task ends, and end the rest. Raises the error of the first task."""
        others = asyncio.all_tasks()
        insights = Insights()
        spawned = await kopf.spawn_tasks(
            registry=watches(self._pools, self._connection, pass_on),
            settings=watch_settings(),
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=self._stop,
            insights=insights,
        )
        tasks = [*spawned, asyncio.create_task(self._check(insights))]
        insisting = asyncio.create_task(_insist(tasks, others))
        try:
            await kopf.run_tasks(tasks, ignored=[*others, insisting])
        finally:
            await end(insisting)

    async def _check(self, insights: Insights) -> None:
        """Run for ever, as kopf requires of its tasks. Raises NotServedError if a kind is not served."""
        await insights.ready_resources.wait()
        found = {(kind.group, kind.version, kind.plural) for kind in insights.watched_resources}
        missing = [kind for kind in WATCHED if kind not in found]
        if missing:
            raise NotServedError(", ".join(f"{plural} of {group}/{version}" for group, version, plural in missing))
        if self._told:
            log.info("the API server serves %s now", self._told)
        self._told = ""
        self.ready.set()
        await asyncio.Event().wait()

    def _tell_missing(self, missing: str) -> None:
        self.ready.clear()
        if self._told != missing:
            self._told = missing
            log.error(
                "the API server does not serve %s, so no pool is served; install the CustomResourceDefinition "
                "(crds/agentpools.yaml, or the chart's crds.enabled)",
                missing,
            )


async def _insist(tasks: Collection[asyncio.Task[Any]], others: Collection[asyncio.Task[Any]]) -> None:
    """Cancel all of kopf's tasks repeatedly once one of them has ended.

    kopf cancels each task once and waits for it without limit. A watch that was retrying on a closed session has been
    seen to lose the cancellation (see `agentpool_core.process.cancellation`); then nothing restarted, and the operator
    saw nothing.
    """
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    while True:
        await asyncio.sleep(INSIST_S)
        for task in asyncio.all_tasks().difference(others, [asyncio.current_task()]):
            task.cancel()


def _note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log a line for errors that kopf ignores: of several simultaneous watch failures it raises only the first."""
    log.info("the watches: %s: %s", context["message"], context.get("exception"))
