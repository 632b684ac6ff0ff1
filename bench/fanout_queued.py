"""The fan-out through the gateway: every delegation is taken with a 202, and the queue does the waiting."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import aiohttp

from agentpool_core.jobs import JobId
from agentpool_core.queue import PoolSettings
from bench.delegations import CONNECTIONS, SLOTS, TTL_MS, Delegation, Outcome
from bench.fanout_verdict import Answer, judged
from bench.gateway import Gateway, gateway_of
from bench.stage import stage

if TYPE_CHECKING:
    from collections.abc import Sequence

ACCEPTED = 202  # HTTP status
WORKERS = 2


async def queued(sent: Sequence[Delegation]) -> Outcome:
    """Run a round."""
    async with (
        stage(PoolSettings(concurrency=SLOTS // WORKERS)) as place,
        place.workers(WORKERS),
        gateway_of(place) as gateway,
    ):
        answers, took_s = await _send(gateway, sent)
        while await place.left() > 0:  # noqa: ASYNC110 - nothing here could be awaited
            await asyncio.sleep(0.05)
        ids = {answer.job_id for answer in answers if answer.job_id}
        jobs = {job_id: await place.record(job_id) for job_id in sorted(ids)}
    return judged(answers, jobs, took_s)


async def _send(gateway: Gateway, sent: Sequence[Delegation]) -> tuple[list[Answer], float]:
    """Send all at once, within the lead's connections; return the answers, and the time until the last."""
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    url, headers = f"{gateway.origin}{gateway.path}", {"Authorization": f"Bearer {gateway.token}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

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
