"""Waiting for jobs to end: a list in Redis for each client, a task that reads the list, a future for each wait.

A wait marks the job with the inbox's name (`scripts/watch.lua`), or finds that the job has already ended. The script
that ends the job writes its id into the list. After a lost connection, every wait asks again, so none is forgotten.
`client` takes over next.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Any

from agentpool_core.errors import (
    JobEndedError,
    QueueError,
    QueueMemoryError,
    QueueReplyError,
    QueueUnreachableError,
    ResultTimeoutError,
    UnknownJobError,
)
from agentpool_core.process.cancellation import end, raise_lost
from agentpool_core.queue import scripts
from agentpool_core.queue.codec.json_text import decode
from agentpool_core.queue.connection.client import ask, call, longest_block_s
from agentpool_core.queue.connection.error_translation import Asking, Reading
from agentpool_core.queue.connection.loop_ownership import Owner, Use
from agentpool_core.queue.keys import Keys

if TYPE_CHECKING:
    from agentpool_core.jobs import JobId, Json, PoolRef
    from agentpool_core.queue.connection.client import RedisClient

NAME_BYTES = 8  # of an inbox's random name
RETRY_SECONDS = 0.2  # between tries while Redis does not answer
ASK_AGAIN_SECONDS = 30.0  # a slow second look, should the list have expired or been removed


class Inbox:
    """Waits of a client."""

    def __init__(self, redis: RedisClient, pool: PoolRef) -> None:
        self._redis = redis
        self._pool = pool
        self._conf = Keys(pool).conf
        self._owner = Owner()
        self._begin()

    def _begin(self) -> None:
        self._name = secrets.token_hex(NAME_BYTES)
        self._key = Keys(self._pool).inbox(self._name)
        self._waits: dict[JobId, set[asyncio.Event]] = {}
        self._reader: asyncio.Task[None] | None = None

    def _own(self) -> None:
        """Start again in a new event loop or process: two readers of a list would each get half of the entries."""
        if self._owner.check() is not Use.SAME:
            self._begin()

    async def result(self, job_id: JobId, *, timeout_s: float | None) -> Json:
        """Return the result of a job after the end; see `Receipt.result`."""
        self._own()
        try:
            async with asyncio.timeout(timeout_s) as limit:
                return await self._await_end(job_id, limit)
        except TimeoutError as error:
            raise ResultTimeoutError(job_id, timeout_s or 0.0) from error

    async def close(self) -> None:
        """End the reading task; waits end with their own time limits."""
        self._own()
        if self._reader is not None:
            await end(self._reader)
            self._reader = None

    async def _await_end(self, job_id: JobId, limit: asyncio.Timeout) -> Json:
        bell = asyncio.Event()
        self._waits.setdefault(job_id, set()).add(bell)
        try:
            while True:
                bell.clear()
                reply = await self._watch(job_id)
                if reply[:1] == ["ended"]:
                    with Reading("watch"):
                        return self._outcome(job_id, *reply[1:])
                if reply == ["unknown"]:
                    raise UnknownJobError(str(self._pool), job_id)
                if reply != ["waiting"]:
                    raise QueueReplyError(doing="watch", problem="an unknown outcome")
                if limit.expired():
                    raise asyncio.CancelledError  # which the call lost: the wait would end half a minute late
                self._read_along()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(ASK_AGAIN_SECONDS):  # wait_for of Python 3.11 may lose a cancellation
                        await bell.wait()
                raise_lost()
        finally:
            waits = self._waits[job_id]
            waits.discard(bell)
            if not waits:
                del self._waits[job_id]

    async def _watch(self, job_id: JobId) -> Any:
        while True:
            try:
                return await scripts.WATCH.run(self._redis, self._conf, (job_id, self._name))
            except (QueueUnreachableError, QueueMemoryError):  # a full Redis takes no mark, and jobs end all the same
                raise_lost()
                await asyncio.sleep(RETRY_SECONDS)

    @staticmethod
    def _outcome(job_id: JobId, state: str, result: str, error: str, reason: str) -> Json:
        if state == "succeeded":
            return decode(result) if result else None
        raise JobEndedError(job_id=job_id, state=state, reason=error if state == "failed" else reason)

    def _read_along(self) -> None:
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read(), name="agentpool-inbox")

    async def _read(self) -> None:
        """Wake the waits of each job in the list, as long as there are waits."""
        block_s = longest_block_s(self._redis)
        while self._waits:
            try:
                ended = await self._ended(block_s)
            except QueueError:
                raise_lost()
                await asyncio.sleep(RETRY_SECONDS)
                ended = list(self._waits)
            for job_id in ended:
                for bell in self._waits.get(job_id, ()):
                    bell.set()

    async def _ended(self, block_s: float) -> list[JobId]:
        """Return the jobs in the list; jobs of a lost answer are found later, because each wait asks again."""
        with Asking("blpop"):
            found = await call(self._redis, "BLPOP", self._key, block_s)
        if not found:
            return []
        rest = await ask(self._redis, "LPOP", self._key, 1_000)
        with Reading("blpop"):
            return [found[1], *(rest or ())]
