"""A client's load: jobs of each kind, signals to those that wait, exit code 0 once each result is as expected.

It runs under either release: `python -m load REDIS POOL NAME COUNT`.
"""

from __future__ import annotations

import asyncio
import sys

from agentpool_core import Client

RESULT_WITHIN_SECONDS = 120.0


async def main(redis: str, pool: str, name: str, count: int) -> None:
    """Submit, one family of jobs at a time; then read all results."""
    async with Client(redis, pool=pool) as client:
        expected = {}
        for number in range(count):
            expected |= await family(client, f"{name}-{number}")
            print(number, flush=True)  # noqa: T201  # the test follows the progress
        results = await asyncio.gather(*(client.result(job, timeout=RESULT_WITHIN_SECONDS) for job in expected))
        wrong = [pair for pair in zip(expected.values(), results, strict=True) if pair[0] != pair[1]]
        if wrong:
            sys.exit(f"expected and found: {wrong[:5]}")


async def family(client: Client, name: str) -> dict[str, object]:
    """Submit jobs that use the queue's parts; return the expected result of each."""
    tenant = f"tenant-{len(name) % 3}"
    echo = await client.submit("echo", name, tenant=tenant, limit_key="model", tags=["upgrade"])
    flaky = await client.submit("flaky", name, priority="info", max_attempts=5)
    late = await client.submit("echo", name, delay=0.3, idempotency_key=name)
    child = await client.submit("echo", name, after=[echo, flaky])
    agent = await client.submit("agent", name)
    many = await client.submit_many([{"kind": "echo", "payload": n, "tenant": tenant} for n in range(3)])
    await client.signal(agent.job_id, "go", name)
    jobs = {receipt.job_id: name for receipt in (echo, flaky, late, child)}
    return jobs | {agent.job_id: [name, name, name]} | {receipt.job_id: n for n, receipt in enumerate(many)}


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
