"""The raw limit: XADD here, XREADGROUP BLOCK there, nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time

import redis.asyncio
import uvloop

APART_SECONDS = 0.02
STREAM, GROUP = "raw", "g"


async def work(url: str, jobs: int) -> None:
    """Read entries in sequence, blocking; print the delays."""
    client = redis.asyncio.Redis.from_url(url, socket_timeout=30, decode_responses=True)
    with contextlib.suppress(redis.ResponseError):
        await client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    delays = []
    while len(delays) < jobs:
        for _, entries in await client.xreadgroup(GROUP, "w", {STREAM: ">"}, count=1, block=10_000):
            for entry, fields in entries:
                delays.append((time.monotonic_ns() - int(fields["at"])) / 1e6)
                await client.xack(STREAM, GROUP, entry)
    await client.aclose()
    print(json.dumps(delays))


async def submit(url: str, jobs: int) -> None:
    """Add entries in sequence, once a reader listens."""
    client = redis.asyncio.Redis.from_url(url, socket_timeout=30, decode_responses=True)
    while not (await client.info("clients"))["blocked_clients"]:  # noqa: ASYNC110  # another process's state
        await asyncio.sleep(APART_SECONDS)
    for _ in range(jobs):
        await client.xadd(STREAM, {"at": str(time.monotonic_ns())})
        await asyncio.sleep(APART_SECONDS)
    await client.aclose()


if __name__ == "__main__":
    uvloop.run({"work": work, "submit": submit}[sys.argv[1]](sys.argv[2], int(sys.argv[3])))
