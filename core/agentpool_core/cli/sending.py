"""Submit many jobs to a queue that may be full: wait for room, and send nothing twice.

A call may be refused midway, with the first part kept; only the rest is sent again. Jobs that wait for jobs of the same
slice are kept in a different order than given, so they get their ids beforehand, which makes a second submit harmless.
`agentpool_core.queue.webhook_submits` takes over next.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from agentpool_core.errors import InvalidJobError, QueueFullError
from agentpool_core.jobs import Receipt

if TYPE_CHECKING:
    from agentpool_core.queue.webhook_submits import Submission, Submitter


async def send_slice(
    submitter: Submitter, batch: Sequence[Submission], *, full: Callable[[], None] = lambda: None
) -> AsyncIterator[Sequence[Receipt]]:
    """Yield the receipts as they come; call `full` after each wait for a full queue.

    Raises the errors of the submitter; `index` of an InvalidJobError is the job's place in the batch.
    """
    named = any(submission.request.after for submission in batch)
    rest = _with_ids(batch) if named else list(batch)
    while rest:
        try:
            yield await submitter.submit_many(rest)
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


def _with_ids(batch: Sequence[Submission]) -> list[Submission]:
    from agentpool_core.queue.codec.requests import new_id

    return [each._replace(request=replace(each.request, job_id=each.request.job_id or new_id())) for each in batch]
