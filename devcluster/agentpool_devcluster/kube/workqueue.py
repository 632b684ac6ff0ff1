"""A queue of keys: each key waits at most once, is never processed twice at a time, and is retried with growing delay.

`run` takes keys and calls a reconcile function until cancelled. A key added during its processing is processed again
afterwards, so no change is lost.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Generic, TypeVar

from agentpool_devcluster.kube.errors import ConflictError, KubeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 0.005
LONGEST_RETRY_SECONDS = 30.0

K = TypeVar("K")


class WorkQueue(Generic[K]):
    """A de-duplicating queue of keys."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: dict[K, None] = {}  # in order of arrival
        self._active: set[K] = set()
        self._again: set[K] = set()  # added while active
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()

    def add(self, key: K) -> None:
        """Process the key soon."""
        if key in self._active:
            self._again.add(key)
        else:
            self._waiting[key] = None
            self._wake.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Process the key after a delay; of several delays for a key the earliest counts."""
        loop = asyncio.get_running_loop()
        due = loop.time() + max(seconds, 0)
        timer = self._timers.get(key)
        if timer is not None and not timer.cancelled():
            if timer.when() <= due:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(due, self._ripen, key)

    async def run(self, reconcile: Callable[[K], Awaitable[None]], *, workers: int) -> None:
        """Process keys with `workers` tasks until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(workers):
                    group.create_task(self._work(reconcile), name=f"{self._name}-{number}")
        finally:
            for timer in self._timers.values():
                timer.cancel()

    async def _work(self, reconcile: Callable[[K], Awaitable[None]]) -> None:
        while True:
            key = await self._take()
            try:
                await reconcile(key)
                self._failures.pop(key, None)
            except ConflictError as error:
                self._retry(key, error, logging.DEBUG)  # ordinary: the cache was behind for a moment
            except KubeError as error:
                self._retry(key, error, logging.WARNING)
            except Exception as error:  # noqa: BLE001 - one bad object must not stop the controller for all others
                self._retry(key, error, logging.ERROR)
            finally:
                self._active.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)

    async def _take(self) -> K:
        while not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        key = next(iter(self._waiting))
        del self._waiting[key]
        self._active.add(key)
        return key

    def _retry(self, key: K, error: Exception, level: int) -> None:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(FIRST_RETRY_SECONDS * 2**failures, LONGEST_RETRY_SECONDS)
        trace = error if level >= logging.ERROR else None
        _log.log(level, "%s: %s: %s; again in %.3f s", self._name, key, error, delay, exc_info=trace)
        self.add_after(key, delay)

    def _ripen(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)
