"""Everything that reaches the product from outside a schedule: clocks, random numbers, threads, the machine's devices.

The product has no seams for these; the module's functions and five names of the worker's wiring are replaced while a
schedule runs. Left out of a simulated worker are its supervisor, its probes, and its guards of memory and of the event
loop: they deal with the operating system, which the simulation does not have.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.metadata
import random
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from agentpool_core.process.cancellation import end
from agentpool_worker.lease.heartbeat import Heartbeat
from agentpool_worker.maintenance import MaintenanceLoop
from tests.simulation.clock import BEGIN_SECONDS

if TYPE_CHECKING:
    from tests.simulation.virtual_loop import VirtualLoop

UPTIME_SECONDS = 1_000.0  # of every machine at the begin
_LEFT_OUT = "run", "_adapt", "follow_supervisor"


class SideTasks:
    """The services of a worker's side loop, as tasks of the simulation's loop."""

    def __init__(self, services: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
        self._services = [service for service in services if _is_simulated(service)]
        self._tasks: list[asyncio.Task[None]] = []
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        self._tasks = [asyncio.create_task(service()) for service in self._services]
        for task in self._tasks:
            task.add_done_callback(self._report)

    def _report(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not self.failed.done():
            self.failed.set_exception(error)

    async def ask(self, call: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await call()

    async def stop(self) -> None:
        for task in self._tasks:
            await end(task)
        if self.failed.done() and not self.failed.cancelled():
            self.failed.exception()  # seen


def _is_simulated(service: Any) -> bool:
    return (
        isinstance(getattr(service, "__self__", None), Heartbeat | MaintenanceLoop) or service.__name__ not in _LEFT_OUT
    )


class _NoGuard:
    def __init__(self, clients: object) -> None:
        """Guard nothing: no handler forks."""

    def close(self) -> None:
        """Do nothing."""


def _replacements(loop: VirtualLoop, seed: str) -> Iterator[tuple[str, Any]]:
    ids = random.Random(f"{seed}/ids")

    def uptime() -> float:
        return UPTIME_SECONDS + loop.now

    def time_of_day() -> float:
        return BEGIN_SECONDS + loop.now

    yield "time.monotonic", uptime
    yield "time.perf_counter", uptime
    yield "time.time", time_of_day
    yield "time.time_ns", lambda: round(time_of_day() * 1e9)
    yield "secrets.token_hex", lambda size=32: ids.randbytes(size).hex()
    yield "uuid.uuid4", lambda: uuid.UUID(int=ids.getrandbits(128), version=4)
    yield "importlib.metadata.version", _version  # redis-py asks with every connection
    yield "redis.asyncio.connection.AbstractConnection.on_connect_check_health", _greet
    yield "agentpool_worker.wiring.SideLoop", SideTasks
    yield "agentpool_worker.wiring.open_memory", lambda limit_bytes: None
    yield "agentpool_worker.worker.open_reader", lambda: None
    yield "agentpool_worker.worker.ForkGuard", _NoGuard
    yield "agentpool_worker.lease.watchdog.MARK_SECONDS", 60.0  # no one looks at the marks


_version = cache(importlib.metadata.version)


async def _greet(connection: Any, *, check_health: bool = True) -> None:
    """Send no greeting: the server speaks RESP3 from the start, and a fault of a greeting would test nothing."""
    connection._parser.on_connect(connection)  # as the greeting of redis-py begins


@contextmanager
def surroundings(loop: VirtualLoop, seed: str) -> Iterator[None]:
    """Give the product a schedule's clocks and random numbers."""
    state = random.getstate()
    random.seed(f"{seed}/product")
    gc.disable()  # what it collects may run code, at moments that no seed decides
    with ExitStack() as stack:
        for name, replacement in _replacements(loop, seed):
            stack.enter_context(patch(name, replacement))
        try:
            yield
        finally:
            random.setstate(state)
            gc.enable()
