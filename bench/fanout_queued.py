"""The fan-out through the gateway: every delegation is taken with a 202, and the queue does the waiting."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp

from agentpool_core.jobs import JobId
from agentpool_core.queue import PoolSettings
from agentpool_local.stack.child import Child
from agentpool_local.stack.redis_server import free_port
from bench.delegations import CONNECTIONS, SLOTS, TTL_MS, Delegation, Outcome
from bench.fanout_verdict import Answer, judged
from bench.stage import POOL, stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from bench.stage import Stage

ACCEPTED = 202  # HTTP status
READY_SECONDS = 30.0
WORKERS = 2


async def queued(sent: Sequence[Delegation]) -> Outcome:
    """Run a round."""
    async with (
        stage(PoolSettings(concurrency=SLOTS // WORKERS)) as place,
        place.workers(WORKERS),
        _gateway(place) as (url, token),
    ):
        answers, took_s = await _send(url, token, sent)
        while await place.left() > 0:  # noqa: ASYNC110 - nothing here could be awaited
            await asyncio.sleep(0.05)
        ids = {answer.job_id for answer in answers if answer.job_id}
        jobs = {job_id: await place.record(job_id) for job_id in sorted(ids)}
    return judged(answers, jobs, took_s)


async def _send(url: str, token: str, sent: Sequence[Delegation]) -> tuple[list[Answer], float]:
    """Send all at once, within the lead's connections; return the answers, and the time until the last."""
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector, headers={"Authorization": f"Bearer {token}"}) as session:

        async def one(delegation: Delegation) -> Answer:
            document = {"kind": "delegation", "payload": delegation.seconds, "priority": delegation.priority}
            document["preemptible"] = delegation.priority != "critical"
            if delegation.priority == "info":
                document["ttl_ms"] = TTL_MS
            async with gate:
                begun, sent_ms = time.perf_counter(), int(time.time() * 1000)
                async with session.post(url, json=document, headers={"Idempotency-Key": delegation.key}) as answer:
                    body = await answer.json()
                    kept = JobId(body["job_id"]) if answer.status == ACCEPTED else None
            return Answer(key=delegation.key, job_id=kept, sent_ms=sent_ms, took_s=time.perf_counter() - begun)

        gate = asyncio.Semaphore(CONNECTIONS)  # keeps the wait for a connection out of the gateway's time
        begun = time.perf_counter()
        answers = await asyncio.gather(*(one(delegation) for delegation in sent))
        return answers, time.perf_counter() - begun


@asynccontextmanager
async def _gateway(place: Stage) -> AsyncIterator[tuple[str, str]]:
    """Run a gateway in a separate process; yield the URL for jobs, and the token."""
    token, port = secrets.token_urlsafe(24), free_port()
    tokens = _tokens_file(place.directory, token)
    argv = [sys.executable, "-m", "agentpool_core", "gateway", "--redis", place.url, "--tokens", str(tokens)]
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
