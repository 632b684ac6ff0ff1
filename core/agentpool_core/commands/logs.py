"""`agentpool logs`: a job's log lines from the logs of its workers' pods, its output, and its last error.

A worker's lines carry the job's id (`ctx.log`), so the lines of a job can be selected. Output of print() in a
handler has no job id, and the log of a removed pod is gone, which the command reports. A log collector
keeps the same lines under the same `job_id`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import click

from agentpool_core.cli.connection import open_redis, run
from agentpool_core.cli.output import say
from agentpool_core.cli.output_text import OutputText
from agentpool_core.cli.target import Target, pool_options
from agentpool_core.errors import ClusterError, SettingError
from agentpool_core.jobs import Job, JobId, PoolRef
from agentpool_core.kube import kubeconfig

if TYPE_CHECKING:
    from agentpool_core.kube.client import Cluster
    from agentpool_core.queue.connection.client import RedisClient

EPILOG = """\b
Examples:
  agentpool logs 0193f6c2a1b-9f86d081 --pool research/analysts
  agentpool logs 0193f6c2a1b-9f86d081 -f

The output that the handler emits is printed between the log lines as it comes. Without access to the pods' logs, the
output is printed alone. `agentpool stream` always prints the output alone.

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
    """Print the log lines and the output of one JOB, all its attempts."""
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
        redis = await stack.enter_async_context(open_redis(target))
        inspector = Inspector(redis)
        job = await inspector.job(target.pool, job_id)
        log = JobLog(await _cluster(stack), redis, target.pool)
        while True:
            await log.print_new(job)
            if not follow or job.state.terminal:
                break
            await asyncio.sleep(FOLLOW_SECONDS)
            job = await inspector.job(target.pool, job_id)
    log.end()
    return _print_end(job, log.missing)


def _print_end(job: Job, missing: Mapping[str, str]) -> int:
    """Print the job's last error and the missing logs; return the exit code."""
    if job.last_error:
        number = job.last_error_attempt
        attempt = "an earlier attempt" if number is None else f"attempt {number}"
        say(f"{attempt} failed: {job.last_error}")
    for worker, why in missing.items():
        say(f"no log of {worker}: {why}", err=True)
    if not workers_of(job):
        say(f"job {job.job_id} is {job.state}, and no worker has started it", err=True)
    return GONE_EXIT if missing else 0


class JobLog:
    """The parts of a job's log and output that were printed."""

    def __init__(self, cluster: Cluster | None, redis: RedisClient, pool: PoolRef) -> None:
        from agentpool_core.queue.chunks import START, JobOutput

        self.missing: dict[str, str] = {}  # pods without a readable log, with the reason
        self._cluster = cluster
        self._pool = pool
        self._printed: dict[str, int] = {}  # lines of each pod
        self._output = JobOutput(redis, pool)
        self._place = START  # of the latest chunk
        self._text = OutputText()

    async def print_new(self, job: Job) -> None:
        """Print new lines in the logs of the job's workers, then new output."""
        for worker in workers_of(job):
            for line in await self._new_lines(worker, job.job_id):
                self._text.end_line()
                say(line)
        async for chunk in self._output.after(job.job_id, self._place):
            self._place = chunk.id
            self._text.show(chunk)

    def end(self) -> None:
        """End the last line of the output."""
        self._text.end_line()

    async def _new_lines(self, worker: str, job_id: JobId) -> Sequence[str]:
        """Return the lines of a worker about the job that were not returned before; note a log that is missing."""
        if self._cluster is None:
            self.missing[worker] = (
                "no kubeconfig for the worker's pod; outside Kubernetes, read the worker's own output"
            )
            return ()
        try:
            found = lines_of(await _log_of(self._cluster, self._pool, worker), job_id)
        except SettingError:
            self.missing[worker] = "not a valid name of a pod; outside Kubernetes, read the worker's own output"
            return ()
        except ClusterError as error:
            self.missing[worker] = _why_unread(error)
            return ()
        before, self._printed[worker] = self._printed.get(worker, 0), len(found)
        return found[before:]


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
