"""The fan-out through the gateway: every delegation is taken with a 202, and the queue does the waiting."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp

from agentpool.jobs import JobId, JobState
from agentpool.queue import PoolSettings
from agentpool_local.child import Child
from agentpool_local.redis_server import free_port
from bench.delegations import CONNECTIONS, SLOTS, TTL_MS, Delegation, Outcome, p99
from bench.stage import POOL, stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from agentpool.jobs import Job
    from bench.stage import Stage

ACCEPTED = 202  # HTTP status
READY_SECONDS = 30.0
WORKERS = 2


async def queued(sent: Sequence[Delegation]) -> Outcome:
    """One round."""
    async with (
        stage(PoolSettings(concurrency=SLOTS // WORKERS)) as place,
        place.workers(WORKERS),
        _gateway(place) as (url, token),
    ):
        answers, took_s = await _send(url, token, sent)
        while await place.left() > 0:  # noqa: ASYNC110 - nothing here could be awaited
            await asyncio.sleep(0.05)
        ids = {JobId(job_id) for job_id, _ in answers if job_id}
        jobs = [await place.record(job_id) for job_id in sorted(ids)]
    refused = sum(job_id is None for job_id, _ in answers)
    return _outcome(jobs, [answer_s for _, answer_s in answers], took_s, refused)


async def _send(url: str, token: str, sent: Sequence[Delegation]) -> tuple[list[tuple[str | None, float]], float]:
    """All at once; for each the job's id (None: refused) and the time until the answer; and the time of all."""
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector, headers={"Authorization": f"Bearer {token}"}) as session:

        async def one(delegation: Delegation) -> tuple[str | None, float]:
            document = {"kind": "delegation", "payload": delegation.seconds, "priority": delegation.priority}
            document["preemptible"] = delegation.priority != "critical"
            if delegation.priority == "info":
                document["ttl_ms"] = TTL_MS
            async with gate:
                begun = time.perf_counter()
                async with session.post(url, json=document, headers={"Idempotency-Key": delegation.key}) as answer:
                    body = await answer.json()
                    kept = body["job_id"] if answer.status == ACCEPTED else None
            return kept, time.perf_counter() - begun

        gate = asyncio.Semaphore(CONNECTIONS)  # so that a time is the gateway's, not the wait for a connection
        begun = time.perf_counter()
        answers = await asyncio.gather(*(one(delegation) for delegation in sent))
        return answers, time.perf_counter() - begun


def _outcome(jobs: Sequence[Job], answers_s: Sequence[float], took_s: float, refused: int) -> Outcome:
    expired = [job for job in jobs if job.state is JobState.EXPIRED]
    early = [job for job in expired if (job.finished_at_ms or 0) < job.submitted_at_ms + TTL_MS]
    lost = [job for job in jobs if job.state not in {JobState.SUCCEEDED, JobState.EXPIRED}]
    tasks = [job for job in jobs if job.priority.value == "task"]
    runs = [_times(job, "started") - _times(job, "preempted") for job in jobs]
    return Outcome(
        dropped=refused + len(lost) + len(early),
        run_twice=sum(count > 1 for count in runs),
        ran=sum(runs),
        makespan_s=(max(job.finished_at_ms or 0 for job in jobs) - min(job.submitted_at_ms for job in jobs)) / 1000,
        answer_p99_s=p99(answers_s),
        answers_per_s=len(answers_s) / took_s,
        critical_p99_s=p99([_wait_s(job) for job in jobs if job.priority.value == "critical"]),
        info_expired=len(expired),
        info_expired_early=len(early),
        tasks=len(tasks),
        tasks_ran=sum(job.state is JobState.SUCCEEDED for job in tasks),
        longest_task_wait_s=max(_wait_s(job) for job in tasks),
        yielded=sum(_times(job, "preempted") for job in jobs),
    )


def _times(job: Job, event: str) -> int:
    """How often it happened to the job."""
    return sum(entry.type == event for entry in job.history)


def _wait_s(job: Job) -> float:
    """Until it was first claimed, or ended without that."""
    started = next((entry.at_ms for entry in job.history if entry.type == "started"), job.finished_at_ms or 0)
    return (started - job.submitted_at_ms) / 1000


@asynccontextmanager
async def _gateway(place: Stage) -> AsyncIterator[tuple[str, str]]:
    """A gateway as a process of its own: where jobs are posted, and the token."""
    token, port = secrets.token_urlsafe(24), free_port()
    tokens = _tokens_file(place.directory, token)
    argv = [sys.executable, "-m", "agentpool", "gateway", "--redis", place.url, "--tokens", str(tokens)]
    argv += ["--port", str(port), "--log-level", "warning"]
    child = await Child.start("gateway", argv, cwd=place.directory, sink=lambda _name, line: print(line))
    base = f"http://127.0.0.1:{port}"
    try:
        await child.until_ready(lambda: _ready(base), seconds=READY_SECONDS, missing="it does not answer")
        yield f"{base}/v1/namespaces/{POOL.namespace}/pools/{POOL.name}/jobs", token
    finally:
        await child.stop(seconds=5)


def _tokens_file(directory: Path, token: str) -> Path:
    path = directory / "tokens.yaml"
    path.write_text(f"tokens:\n- {{name: lead, token: {token}}}\n", encoding="utf-8")
    return path


async def _ready(base: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{base}/readyz") as answer:
            return answer.ok
    except (aiohttp.ClientError, OSError):
        return False
