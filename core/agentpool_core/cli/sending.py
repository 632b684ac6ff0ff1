"""Submit many jobs to a queue that may be full: wait for room, and send nothing twice.

A call may be refused midway, with the first part kept; only the rest is sent again. Jobs that wait for jobs of the same
slice are kept in a different order than given, so they get their ids beforehand, which makes a second submit harmless.
`agentpool_core.queue.producer` takes over next.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from agentpool_core.errors import InvalidJobError, QueueFullError
from agentpool_core.jobs import JobRequest, Receipt

if TYPE_CHECKING:
    from agentpool_core.queue.producer import Producer


async def send_slice(
    producer: Producer, batch: Sequence[JobRequest], *, full: Callable[[], None] = lambda: None
) -> AsyncIterator[Sequence[Receipt]]:
    """Yield the receipts as they come; call `full` after each wait for a full queue.

    Raises the producer's errors; `index` of an InvalidJobError is the job's place in the batch.
    """
    named = any(request.after for request in batch)
    rest = _with_ids(batch) if named else list(batch)
    while rest:
        try:
            yield await producer.submit_many(rest)
        except QueueFullError as error:
            full()
            if error.accepted and not named:
                yield cast("Sequence[Receipt]", error.accepted)
                rest = rest[len(error.accepted) :]
            await asyncio.sleep(error.retry_after_ms / 1000)
        except InvalidJobError as error:
            if error.index is not None:
                error.index += len(batch) - len(rest)
            raise
        else:
            return


def _with_ids(batch: Sequence[JobRequest]) -> list[JobRequest]:
    from agentpool_core.queue.codec.requests import new_id

    return [replace(request, job_id=request.job_id or new_id()) for request in batch]
