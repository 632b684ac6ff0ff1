"""Server-Sent Events over real HTTP: live, resumable, and cut off in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from agentpool.jobs import PoolRef
from tests.fixtures.redis import wait_until


class Stream:
    """One open stream and what it has told."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def message(self) -> dict[str, str]:
        """The next message's fields; {} when the stream has ended."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            async for line in self._lines:
                if not line and fields:
                    return fields
                if line and not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    fields[name] = value
        return {}

    async def comment(self) -> str:
        """The next comment."""
        async with asyncio.timeout(10):
            async for line in self._lines:
                if line.startswith(":"):
                    return line
        return ""


@contextlib.asynccontextmanager
async def opened(http: httpx.AsyncClient, path: str, **headers: str) -> AsyncIterator[Stream]:
    async with http.stream("GET", path, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Stream(answer)


async def test_a_jobs_stream_begins_with_the_job_and_ends_with_its_end(http, consumer):
    """A watcher needs no polling, and knows when to stop."""
    job = (await http.post("/jobs", json={"kind": "greet"})).json()["job_id"]
    async with opened(http, f"/jobs/{job}/events") as stream:
        first = await stream.message()
        assert (first["event"], json.loads(first["data"])["state"]) == ("job", "queued")
        await stream.comment()  # from here on the listener is in place
        await consumer.serve_one()
        seen = []
        while message := await stream.message():
            seen.append(message)
        assert [message["event"] for message in seen] == ["started", "succeeded"]
    over = await http.get(f"/jobs/{job}/events", headers={"Last-Event-ID": seen[-1]["id"]})
    assert over.status_code == 204
    async with opened(http, f"/jobs/{job}/events", **{"Last-Event-ID": seen[0]["id"]}) as stream:
        assert (await stream.message())["event"] == "succeeded"  # who lost his connection meanwhile still hears of it
        assert not await stream.message()


async def test_a_pools_stream_resumes_after_the_last_event_seen(http, consumer):
    """Nothing is lost and nothing is told twice across a broken connection."""
    async with opened(http, "/events") as stream:
        await stream.comment()
        first = (await http.post("/jobs", json={"kind": "greet"})).json()["job_id"]
        seen = await stream.message()
        assert (seen["event"], json.loads(seen["data"])["job_id"]) == ("queued", first)
    second = (await http.post("/jobs", json={"kind": "greet"})).json()["job_id"]
    async with opened(http, "/events", **{"Last-Event-ID": seen["id"]}) as stream:
        missed = await stream.message()
        assert (missed["event"], json.loads(missed["data"])["job_id"]) == ("queued", second)
        await consumer.serve_one()
        assert [(await stream.message())["event"] for _ in range(2)] == ["started", "succeeded"]


async def test_a_silent_stream_stays_open_by_comments(gateway_factory, pool: PoolRef):
    """Proxies close what is silent."""
    served = await gateway_factory(heartbeat_s=0.05)
    path = f"/v1/namespaces/{pool.namespace}/pools/{pool.name}/events"
    async with served.client() as client, opened(client, path) as stream:
        assert [await stream.comment() for _ in range(3)] == [": begun", ": still here", ": still here"]


async def test_one_reading_of_redis_serves_many_streams_and_ends_with_the_last(gateway, http, redis, pool: PoolRef):
    """Streams cost the gateway's memory, not Redis's connections."""
    hub = (await gateway.app.state.gateway.queues.of(pool)).hub
    async with contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(opened(http, "/events")) for _ in range(5)]
        for stream in streams:
            await stream.comment()
        blocked = [c for c in await redis.client_list() if c["cmd"] == "xread"]
        await http.post("/jobs", json={"kind": "greet"})
        assert {(await stream.message())["event"] for stream in streams} == {"queued"}
        assert len(blocked) <= 1
    await wait_until(lambda: hub._reader is None, "the reading ends with the last stream")


@pytest.mark.parametrize("last", ["x", "1-0-0", "-1", "1-0.x", "9" * 40])
async def test_a_made_up_place_is_refused(http, last: str):
    """400 with the remedy, before anything is streamed."""
    answer = await http.get("/events", headers={"Last-Event-ID": last})
    assert answer.status_code == 400
    assert answer.json()["type"].endswith("bad-event-id")
