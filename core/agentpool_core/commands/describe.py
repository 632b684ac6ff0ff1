"""`agentpool describe`: everything about a job or a pool, for people; `agentpool get -o json` is for programs."""

from __future__ import annotations

import contextlib
from itertools import islice
from typing import TYPE_CHECKING

import click

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.fleet import PoolReading
from agentpool_core.cli.groups import Group
from agentpool_core.cli.output import EXIT_CODES, say
from agentpool_core.cli.target import Target, pool_argument_options, pool_options
from agentpool_core.errors import ClusterError, UnknownPoolError
from agentpool_core.jobs import JobId, JobState, PoolRef

if TYPE_CHECKING:
    from agentpool_core.kube.client import Object

MOST_DEAD = 1_000  # dead letters whose errors are counted
EVENTS = 10  # the newest so many
EPILOG = (
    """\b
Examples:
  agentpool describe job 0193f6c2a1b-9f86d081 --pool research/analysts
  agentpool describe pool research/analysts"""
    + EXIT_CODES
)


@click.group(cls=Group, epilog=EPILOG)
def describe() -> None:
    """Show everything about a job or a pool."""


@describe.command(epilog=EPILOG)
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@pool_options
def job(*, jobs: tuple[str, ...], target: Target) -> None:
    """Show jobs: their fields, payload, result, error, history, steps and webhooks."""
    say("\n\n".join(run(_jobs(target, [JobId(job_id) for job_id in jobs]))))


@describe.command(epilog=EPILOG)
@pool_argument_options
def pool(*, target: Target) -> None:
    """Show a pool: queue, limits, workers, settings, conditions, errors and latest events."""
    say(run(_pool(target)))


async def _jobs(target: Target, ids: list[JobId]) -> list[str]:
    from agentpool_core.cli.descriptions import describe_job
    from agentpool_core.queue.inspector import Inspector
    from agentpool_core.queue.webhooks import Webhooks

    async with open_redis(target) as redis:
        inspector = Inspector(redis)
        queue = await inspector.snapshot(target.pool)
        webhooks = Webhooks(redis, target.pool)
        jobs = [(await inspector.job(target.pool, job_id), await webhooks.of_job(job_id)) for job_id in ids]
        return [describe_job(job, target.pool, queue, *hooks) for job, hooks in jobs]


async def _pool(target: Target) -> str:
    from agentpool_core.cli.descriptions import describe_pool
    from agentpool_core.queue.history import PoolHistory
    from agentpool_core.queue.inspector import Inspector

    resource = await _resource(target.pool)
    async with open_redis(target) as redis:
        inspector = Inspector(redis)
        queue = await PoolHistory(redis, target.pool).snapshot()
        settings = await inspector.settings(target.pool)
        dead = await inspector.jobs(target.pool, JobState.FAILED, limit=MOST_DEAD, bodies=False)
        events = islice(await inspector.newest_events(target.pool, limit=EVENTS), EVENTS)
        reading = PoolReading(pool=target.pool, queue=queue, resource=resource)
        return describe_pool(reading, queue, settings, dead, events)


async def _resource(pool: PoolRef) -> Object | None:
    """Return the AgentPool; None without a kubeconfig, a cluster that answers, or an AgentPool of that name."""
    from agentpool_core.kube import kubeconfig
    from agentpool_core.kube.connection import open_cluster

    if not kubeconfig.files():
        return None
    with contextlib.suppress(UnknownPoolError, ClusterError):
        async with open_cluster() as cluster:
            return await cluster.agentpool(pool)
    return None
