"""`agentpool describe`: everything about a job, a pool, a worker or a schedule, for people.

`agentpool get -o json` is for programs.
"""

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
MOST_RUNNING = 10_000  # running jobs, among which those of a worker are looked for
EVENTS = 10  # the newest so many
EVENTS_READ = 1_000  # entries, among which those of a worker are looked for
EPILOG = (
    """\b
Examples:
  agentpool describe job 0193f6c2a1b-9f86d081 --pool research/analysts
  agentpool describe pool research/analysts
  agentpool describe worker analysts-5c9f7d-x2x7k --pool research/analysts
  agentpool describe schedule report --pool research/analysts"""
    + EXIT_CODES
)


@click.group(cls=Group, epilog=EPILOG)
def describe() -> None:
    """Show everything about a job, a pool, a worker or a schedule."""


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


@describe.command(epilog=EPILOG)
@click.argument("name")
@pool_options
def worker(*, name: str, target: Target) -> None:
    """Show a worker: lease, slots, kinds, running jobs, latest failure and latest events."""
    say(run(_worker(target, name)))


@describe.command(epilog=EPILOG)
@click.argument("name")
@pool_options
def schedule(*, name: str, target: Target) -> None:
    """Show a schedule: its fields, payload, last run and next due times."""
    say(run(_schedule(target, name)))


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


async def _worker(target: Target, name: str) -> str:
    from agentpool_core.cli.resource_descriptions import describe_worker
    from agentpool_core.queue.inspector import Inspector
    from agentpool_core.queue.worker_details import read_worker

    async with open_redis(target) as redis:
        inspector = Inspector(redis)
        queue, detail = await read_worker(redis, target.pool, name)
        running = await inspector.jobs(target.pool, JobState.RUNNING, limit=MOST_RUNNING, bodies=False)
        events = await inspector.newest_events(target.pool, limit=EVENTS_READ)
        jobs = [job for job in running if job.worker == name]
        mine = islice((event for event in events if event.worker == name), EVENTS)
        return describe_worker(detail, target.pool, queue, jobs, mine)


async def _schedule(target: Target, name: str) -> str:
    from agentpool_core.cli.resource_descriptions import describe_schedule
    from agentpool_core.queue.inspector import Inspector

    async with open_redis(target) as redis:
        inspector = Inspector(redis)
        state = await inspector.schedules(target.pool).read(name)
        return describe_schedule(state, target.pool, (await inspector.snapshot(target.pool)).taken_at_ms)


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
