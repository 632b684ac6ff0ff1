"""`agentpool logs`: a job's log lines from the logs of its workers' pods, and the job's last error.

A worker's lines carry the job's id (`ctx.log`), so the lines of a job can be selected. Output of print() in a
handler has no job id, and the log of a removed pod is gone, which the command reports. A log collector
keeps the same lines under the same `job_id`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import click

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.output import say
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.errors import ClusterError, SettingError
from agentpool_core.jobs import Job, JobId, PoolRef
from agentpool_core.kube import kubeconfig

if TYPE_CHECKING:
    from agentpool_core.kube.client import Cluster

EPILOG = """\b
Examples:
  agentpool logs 0193f6c2a1b-9f86d081 --pool research/analysts
  agentpool logs 0193f6c2a1b-9f86d081 -f

`agentpool stream` prints the output of a job, which its handler emits.

\b
Exit codes: 0 printed all lines, 1 Redis or cluster unreachable, 2 wrong usage, 5 a part of the log is missing."""
GONE_EXIT = 5
COLLECTOR = "a log collector keeps the lines of removed pods, under job_id"
FOLLOW_SECONDS = 1.0  # between two reads
CONTAINER = "worker"
_FIELDS = frozenset({"time", "level", "logger", "message", "job_id", "kind", "attempt", "traceback"})


@click.command(epilog=EPILOG)
@click.argument("job")
@pool_options
@click.option("-f", "--follow", is_flag=True, help="Continue until the job has ended.")
def logs(*, job: str, target: Target, follow: bool) -> int:
    """Print the log lines of one JOB, all its attempts."""
    return run(_print(target, JobId(job), follow=follow))


def lines_of(text: str, job_id: JobId) -> list[str]:
    """Return a worker's log lines about a job: JSON lines made readable, text lines unchanged."""
    found = []
    for line in text.splitlines():
        if job_id not in line:
            continue
        try:
            fields = json.loads(line)
        except ValueError:
            found.append(line)
            continue
        if isinstance(fields, dict) and (fields.get("job_id") == job_id or job_id in str(fields.get("message"))):
            found.append(_readable(fields))
    return found


async def _print(target: Target, job_id: JobId, *, follow: bool) -> int:
    from agentpool_core.queue.inspector import Inspector

    async with AsyncExitStack() as stack:
        inspector = Inspector(await stack.enter_async_context(open_redis(target)))
        job = await inspector.job(target.pool, job_id)
        cluster = await _cluster(stack)
        printed: dict[str, int] = {}  # lines of each pod that were printed
        missing: dict[str, str] = {}  # pods without a readable log, with the reason
        while True:
            await _print_new_lines(cluster, target.pool, job, printed, missing)
            if not follow or job.state.terminal:
                break
            await asyncio.sleep(FOLLOW_SECONDS)
            job = await inspector.job(target.pool, job_id)
    if job.error:
        attempt = "an earlier attempt" if job.error_attempt is None else f"attempt {job.error_attempt}"
        say(f"{attempt} failed: {job.error}")
    for worker, why in missing.items():
        say(f"no log of {worker}: {why}", err=True)
    if not workers_of(job):
        say(f"job {job_id} is {job.state}, and no worker has started it", err=True)
    return GONE_EXIT if missing else 0


async def _print_new_lines(
    cluster: Cluster | None, pool: PoolRef, job: Job, printed: dict[str, int], missing: dict[str, str]
) -> None:
    """Print new lines in the logs of the job's workers."""
    for worker in workers_of(job):
        if cluster is None:
            missing[worker] = "no kubeconfig for the worker's pod; outside Kubernetes, read the worker's own output"
            continue
        try:
            found = lines_of(await _log_of(cluster, pool, worker), job.job_id)
        except SettingError:
            missing[worker] = "not a valid name of a pod; outside Kubernetes, read the worker's own output"
            continue
        except ClusterError as error:
            missing[worker] = _why_unread(error)
            continue
        for line in found[printed.get(worker, 0) :]:
            say(line)
        printed[worker] = len(found)


async def _log_of(cluster: Cluster, pool: PoolRef, worker: str) -> str:
    """Return the log of a worker's pod. Raises SettingError where the worker's name cannot be a pod's."""
    from agentpool_core.kube import paths

    return await cluster.text(paths.pods(pool.namespace, worker, "log"), container=CONTAINER)


def _why_unread(error: ClusterError) -> str:
    from agentpool_core.kube.errors import NotThereError

    if isinstance(error, NotThereError):
        return f"no such pod; {COLLECTOR}; outside Kubernetes, read the worker's own output"
    return f"{error.detail}; {COLLECTOR}"


def workers_of(job: Job) -> Sequence[str]:
    """Return the workers that held the job, in the order of their first attempts."""
    return list(dict.fromkeys(entry.worker for entry in job.history if entry.worker))


async def _cluster(stack: AsyncExitStack) -> Cluster | None:
    if not kubeconfig.files():
        return None
    from agentpool_core.kube.connection import open_cluster

    return await stack.enter_async_context(open_cluster())


def _readable(fields: dict[str, Any]) -> str:
    more = " ".join(f"{name}={value}" for name, value in fields.items() if name not in _FIELDS)
    head = f"{fields.get('time', '-')} {fields.get('level', '-'):<7} attempt {fields.get('attempt', '-')}"
    lines = [f"{head}: {fields.get('message', '')}" + (f" {more}" if more else "")]
    if fields.get("traceback"):
        lines.append(str(fields["traceback"]))
    return "\n".join(lines)
