"""`agentpool webhooks`: the messages of a job to its webhooks, and sending them again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.groups import Group
from agentpool_core.cli.output import EXIT_CODES, Output, emit, output_option, say
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.jobs import JobId
from agentpool_core.queue.webhooks import OF_SUBMIT
from agentpool_core.text import format_count

if TYPE_CHECKING:
    from agentpool_core.queue.webhooks import Delivery, Webhook

EPILOG = (
    """\b
Examples:
  agentpool webhooks list 0193f6c2a1b-9f86d081 --pool research/analysts
  agentpool webhooks redeliver 0193f6c2a1b-9f86d081

A gateway sends the messages, and tries for about ten hours. `agentpool submit
--webhook URL` brings a webhook of the name `submit`."""
    + EXIT_CODES
)


@click.group(cls=Group, epilog=EPILOG)
def webhooks() -> None:
    """Look at a job's messages to webhooks, and send them again."""


@webhooks.command("list")
@click.argument("job")
@pool_options
@output_option
def list_(*, job: str, target: Target, output: Output) -> None:
    """List the webhooks of a JOB, with the latest try of each message."""
    from agentpool_core.cli.descriptions import webhooks_table
    from agentpool_core.webhook_documents import delivery_document, webhook_document

    found, deliveries, now_ms = run(_of_job(target, JobId(job)))
    document = {
        "webhooks": [webhook_document(each) for each in found],
        "deliveries": [delivery_document(each) for each in deliveries],
    }
    text = webhooks_table(found, deliveries, now_ms) if found else f"job {job} has no webhooks"
    emit(output, document, names=[each.name for each in found], text=text)


@webhooks.command()
@click.argument("job")
@click.argument("name", default=OF_SUBMIT)
@pool_options
def redeliver(*, job: str, name: str, target: Target) -> None:
    """Send the messages of a JOB's webhook NAME that were given up again; the tries begin again."""
    again = run(_redeliver(target, JobId(job), name))
    say(f"{format_count(again, 'message')} of the webhook {name!r} {'is' if again == 1 else 'are'} due again")


async def _of_job(target: Target, job_id: JobId) -> tuple[list[Webhook], list[Delivery], int]:
    from agentpool_core.queue.inspector import Inspector
    from agentpool_core.queue.webhooks import Webhooks

    async with open_redis(target) as redis:
        now_ms = (await Inspector(redis).snapshot(target.pool)).taken_at_ms
        return (*await Webhooks(redis, target.pool).of_job(job_id), now_ms)


async def _redeliver(target: Target, job_id: JobId, name: str) -> int:
    from agentpool_core.queue.webhooks import Webhooks

    async with open_redis(target) as redis:
        return await Webhooks(redis, target.pool).redeliver(job_id, name)
