"""Jobs that are submitted together with their webhooks.

A webhook is stored after its job. If a call is refused midway, the jobs that were kept before get their webhooks
all the same; after a lost answer the caller submits again with the same keys or ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from agentpool_core.errors import QueueError
from agentpool_core.queue.codec.requests import parents_first

if TYPE_CHECKING:
    from agentpool_core.jobs import Durability, JobRequest, Receipt
    from agentpool_core.queue.producer import Producer
    from agentpool_core.queue.webhooks import Webhook, Webhooks


class Submission(NamedTuple):
    """A job to submit."""

    request: JobRequest
    webhook: Webhook | None = None  # receives messages about the job; None: no address does


class Submitter:
    """Submits jobs of a pool, with their webhooks."""

    def __init__(self, producer: Producer, webhooks: Webhooks) -> None:
        self._producer = producer
        self._webhooks = webhooks

    async def submit_many(
        self, submissions: Sequence[Submission], *, durability: Durability | None = None
    ) -> list[Receipt]:
        """As `Producer.submit_many`; raises the same errors, and those of `Webhooks.put`."""
        requests = [submission.request for submission in submissions]
        try:
            receipts = await self._producer.submit_many(requests, durability=durability)
        except QueueError as error:
            kept: Sequence[Any] = error.accepted
            if kept:  # in the order of their storage, or all of them in the given order
                order = range(len(requests)) if len(kept) == len(requests) else parents_first(requests)
                await self._put([submissions[index] for index in order[: len(kept)]], kept)
            raise
        await self._put(submissions, receipts)
        return receipts

    async def _put(self, submissions: Sequence[Submission], receipts: Sequence[Receipt]) -> None:
        pairs = zip(submissions, receipts, strict=True)
        await self._webhooks.put_all(
            [(kept.job_id, submission.webhook) for submission, kept in pairs if submission.webhook is not None]
        )
