"""Webhooks of jobs: their messages are stored with the change, reserved for one sender, and retried."""

from __future__ import annotations

import pytest

from agentpool_core.client import Client
from agentpool_core.errors import InvalidJobError, UnknownJobError
from agentpool_core.jobs import JobId, JobRequest
from agentpool_core.queue import Inspector, Producer
from agentpool_core.queue.completions import Waiting
from agentpool_core.queue.webhooks import MOST_WEBHOOKS, Change, DeliveryOutcome, Webhook, Webhooks

URL = "https://receiver.example.org/jobs"


@pytest.fixture
def webhooks(redis, pool) -> Webhooks:
    return Webhooks(redis, pool)


@pytest.fixture
def producer(redis, pool) -> Producer:
    return Producer(redis, pool)


async def submit(producer: Producer, **fields) -> JobId:
    return (await producer.submit(JobRequest(kind="greet", **fields))).job_id


async def take(webhooks: Webhooks, *, reserve_ms: int = 60_000):
    return await webhooks.take(limit=10, reserve_ms=reserve_ms)


@pytest.mark.parametrize("late", [False, True])
async def test_the_end_of_a_job_is_a_message_to_its_webhook(webhooks, producer, consumer, late):
    """Also for a webhook that comes after the end; a message that was delivered does not come again."""
    job_id = await submit(producer)
    hook = Webhook(name="mine", url=URL, options={"a": 1})
    if not late:
        await webhooks.put(job_id, hook)
        assert await take(webhooks) == []
    await consumer.serve_one()
    if late:
        await webhooks.put(job_id, hook)
    (message,) = await take(webhooks)
    assert (message.job_id, message.webhook, message.change, message.tries) == (job_id, hook, Change.SUCCEEDED, 0)
    await webhooks.report(message, DeliveryOutcome.DELIVERED, "204")
    assert await take(webhooks) == []
    hooks, (delivery,) = await webhooks.of_job(job_id)
    assert hooks == [hook]
    assert (delivery.webhook, delivery.change, delivery.outcome) == (
        "mine",
        Change.SUCCEEDED,
        DeliveryOutcome.DELIVERED,
    )
    assert (delivery.tries, delivery.answer) == (1, "204")


async def test_a_message_is_reserved_for_one_sender_and_due_again_after_its_death(webhooks, producer, consumer):
    """A second sender gets nothing while the reservation lasts, and the same message with the same id afterwards."""
    await webhooks.put(await submit(producer), Webhook(name="mine", url=URL))
    await consumer.serve_one(error="no")
    (first,) = await take(webhooks, reserve_ms=0)
    (second,) = await take(webhooks)
    assert first.message_id(webhooks.pool) == second.message_id(webhooks.pool)
    assert second.change is Change.FAILED
    assert await take(webhooks) == []


async def test_a_retried_message_counts_its_tries(webhooks, producer, consumer):
    """The number of tries is kept; a replayed job that fails again sends a new message, which counts from the start."""
    job_id = await submit(producer)
    await webhooks.put(job_id, Webhook(name="mine", url=URL))
    await consumer.serve_one(error="no")
    (message,) = await take(webhooks)
    await webhooks.report(message, DeliveryOutcome.RETRYING, "503\n\nbusy", retry_after_ms=0)
    (again,) = await take(webhooks)
    assert (again.key, again.tries) == (message.key, 1)
    await webhooks.report(again, DeliveryOutcome.FAILED, "x" * 1_000)
    _, (delivery,) = await webhooks.of_job(job_id)
    assert (delivery.outcome, delivery.tries, delivery.answer) == (DeliveryOutcome.FAILED, 2, "x" * 200)
    assert await take(webhooks) == []


async def test_a_message_that_was_given_up_is_sent_again_on_request(webhooks, producer, consumer):
    """The message has the same id and counts its tries from the start; a delivered message is not sent again."""
    job_id = await submit(producer)
    for name in ("mine", "other"):
        await webhooks.put(job_id, Webhook(name=name, url=URL))
    await consumer.serve_one(error="no")
    first, second = sorted(await take(webhooks, reserve_ms=0), key=lambda message: message.webhook.name)
    with pytest.raises(InvalidJobError, match="no message of this webhook was given up"):
        await webhooks.redeliver(job_id, "mine")
    await webhooks.report(first, DeliveryOutcome.FAILED, "410 Gone")
    await webhooks.report(second, DeliveryOutcome.DELIVERED, "204")
    assert await take(webhooks) == []
    assert await webhooks.redeliver(job_id, "mine") == 1
    (again,) = await take(webhooks)
    assert (again.key, again.tries) == (first.key, 0)
    for wrong in ("mine", "other"):
        with pytest.raises(InvalidJobError, match="was given up"):
            await webhooks.redeliver(job_id, wrong)
    with pytest.raises(InvalidJobError, match="no such webhook"):
        await webhooks.redeliver(job_id, "nobody")
    with pytest.raises(UnknownJobError):
        await webhooks.redeliver(JobId("nobody"), "mine")


async def test_the_client_submits_with_a_webhook(redis, pool, webhooks, consumer):
    """A URL asks for all ends, an object for some; a wrong one refuses the submit before the job is stored."""
    async with Client(redis, pool=pool) as client:
        with pytest.raises(InvalidJobError, match="changes"):
            await client.submit("greet", webhook={"url": URL, "changes": ["started"]})
        assert (await Inspector(redis).snapshot(pool)).submitted_total == 0
        receipt = await client.submit("greet", webhook={"url": URL, "changes": ["failed"]})
        await client.submit("greet", webhook=URL)
    (hook,), _ = await webhooks.of_job(receipt.job_id)
    assert (hook.name, hook.url, hook.changes) == ("submit", URL, (Change.FAILED,))
    for _ in range(2):
        await consumer.serve_one()
    (message,) = await take(webhooks)
    assert message.change is Change.SUCCEEDED


async def test_a_wait_and_a_cancellation_are_messages_for_webhooks_that_ask_for_them(webhooks, producer, consumer):
    """Each webhook gets only its own changes; one that comes during the wait hears of that wait."""
    job_id = await submit(producer)
    await webhooks.put(job_id, Webhook(name="waits", url=URL, changes=(Change.WAITING,)))
    await webhooks.put(job_id, Webhook(name="ends", url=URL, changes=(Change.CANCELLED,)))
    lease = await consumer.take_one()
    await consumer.settle([Waiting(job_id=job_id, token=lease.token, signals=(("go", 1),))])
    (message,) = await take(webhooks)
    assert (message.webhook.name, message.change) == ("waits", Change.WAITING)
    await webhooks.put(job_id, Webhook(name="late", url=URL, changes=(Change.WAITING,)))
    (message,) = await take(webhooks)
    assert (message.webhook.name, message.change) == ("late", Change.WAITING)
    await producer.cancel(job_id)
    (message,) = await take(webhooks)
    assert (message.webhook.name, message.change) == ("ends", Change.CANCELLED)


async def test_a_message_goes_with_its_webhook_and_with_its_job(webhooks, producer, consumer, redis):
    """Neither a deleted webhook nor a deleted job is delivered, and a report about either writes no record."""
    job_id = await submit(producer)
    await webhooks.put(job_id, Webhook(name="mine", url=URL))
    await consumer.serve_one(error="no")
    (message,) = await take(webhooks, reserve_ms=0)
    await webhooks.delete(job_id, "mine")
    assert await take(webhooks) == []
    await webhooks.put(job_id, Webhook(name="mine", url=URL))
    (message,) = await take(webhooks, reserve_ms=0)
    await Inspector(redis).discard(webhooks.pool, [job_id])
    await webhooks.report(message, DeliveryOutcome.RETRYING, "503", retry_after_ms=0)
    assert await take(webhooks) == []
    with pytest.raises(UnknownJobError):
        await webhooks.of_job(job_id)


async def test_webhooks_that_cannot_be_used_are_refused(webhooks, producer):
    """Unknown jobs and names, too many webhooks, wrong names, no changes, large options."""
    job_id = await submit(producer)
    with pytest.raises(UnknownJobError):
        await webhooks.put(JobId("nobody"), Webhook(name="mine", url=URL))
    with pytest.raises(InvalidJobError, match="no such webhook"):
        await webhooks.delete(job_id, "absent")
    for number in range(MOST_WEBHOOKS):
        await webhooks.put(job_id, Webhook(name=f"h{number}", url=URL))
    await webhooks.put(job_id, Webhook(name="h0", url=URL))
    with pytest.raises(InvalidJobError, match="has 5 webhooks"):
        await webhooks.put(job_id, Webhook(name="sixth", url=URL))
    for wrong in ({"name": "A B"}, {"changes": ()}, {"options": {"a": "x" * 9_000}}):
        with pytest.raises(InvalidJobError):
            await webhooks.put(job_id, Webhook(**{"name": "mine", "url": URL} | wrong))
