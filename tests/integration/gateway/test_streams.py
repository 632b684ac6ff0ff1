"""Server-Sent Events over real HTTP: live, resumable, and closed in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import yaml

from agentpool_core.jobs import JobRequest, PoolRef
from agentpool_core.process.cancellation import end
from agentpool_core.queue import Producer
from agentpool_core.queue.completions import Succeeded
from agentpool_core.queue.keys import Keys
from agentpool_gateway.access.static_tokens import StaticTokens
from agentpool_gateway.app import build
from agentpool_gateway.pools.locations import SingleRedis
from agentpool_gateway.settings import GatewaySettings
from tests.fixtures.gateways import serving
from tests.fixtures.redis import wait_until


class Stream:
    """An open stream and the received messages."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def message(self) -> dict[str, str]:
        """Return the next message's fields, or {} after the end of the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(10):
            async for line in self._lines:
                if not line and "data" in fields:
                    return fields
                if line and not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    fields[name] = value
        return {}

    async def comment(self) -> str:
        """Return the next comment."""
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
    """A watcher does not poll, and sees the end of the job."""
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
        # A reader that lost the connection meanwhile still gets the event.
        assert (await stream.message())["event"] == "succeeded"
        assert not await stream.message()


async def test_a_pools_stream_resumes_after_the_last_event_seen(http, consumer):
    """No event is lost and none repeated after a broken connection."""
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


async def test_a_stream_can_be_resumed_before_its_first_event(http):
    """Its first lines have an id; an event that came meanwhile is not lost."""
    await http.post("/jobs", json={"kind": "greet"})
    async with http.stream("GET", "/events") as answer:
        lines = answer.aiter_lines()
        name, _, place = (await anext(lines)).partition(": ")
        assert name == "id"
    job = (await http.post("/jobs", json={"kind": "greet"})).json()["job_id"]
    async with opened(http, "/events", **{"Last-Event-ID": place}) as stream:
        assert json.loads((await stream.message())["data"])["job_id"] == job
    async with opened(http, f"/jobs/{job}/events") as stream:
        assert (await stream.message())["id"]


async def test_a_client_that_was_away_too_long_is_notified(http, redis, pool: PoolRef):
    """The event `gap` names the last event seen and the oldest kept; without a loss there is none."""
    async with opened(http, "/events") as stream:
        await stream.comment()
        for _ in range(3):
            await http.post("/jobs", json={"kind": "greet"})
        seen = [await stream.message() for _ in range(3)]
    async with opened(http, "/events", **{"Last-Event-ID": seen[0]["id"]}) as stream:
        assert (await stream.message())["event"] == "queued"
    await redis.xtrim(Keys(pool).events, maxlen=1, approximate=False)
    async with opened(http, "/events", **{"Last-Event-ID": seen[0]["id"]}) as stream:
        gap = await stream.message()
        assert gap["event"] == "gap"
        assert json.loads(gap["data"]) == {"after": seen[0]["id"], "oldest": seen[2]["id"]}
        assert (await stream.message())["id"] == seen[2]["id"]


async def test_a_silent_stream_stays_open_by_comments(gateway_factory, pool: PoolRef):
    """Proxies close silent connections."""
    served = await gateway_factory(heartbeat_s=0.05)
    path = f"/v1/namespaces/{pool.namespace}/pools/{pool.name}/events"
    async with served.client() as client, opened(client, path) as stream:
        assert [await stream.comment() for _ in range(3)] == [": begun", ": still here", ": still here"]


async def test_one_reading_of_redis_serves_many_streams_and_ends_with_the_last(gateway, http, redis, pool: PoolRef):
    """Streams use the gateway's memory, not Redis's connections."""
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


TOKEN, OTHER = "a-token-of-more-than-16-characters", "another-token-of-more-than-16-characters"
REVOKED = {
    "removed": ({"name": "other", "token": OTHER}, 401),
    "expired": ({"name": "lead", "token": TOKEN, "expires": datetime(2020, 1, 1, tzinfo=UTC)}, 401),
    "without the verb": ({"name": "lead", "token": TOKEN, "verbs": ["submit"]}, 403),
    "of another namespace": ({"name": "lead", "token": TOKEN, "namespaces": ["other"]}, 403),
}


@pytest.fixture
async def revocable(redis_url: str, tmp_path: Path, pool: PoolRef):
    """A client with a good token, and a function that replaces the token's permissions."""
    file = tmp_path / "tokens.yaml"

    def grant(entry: dict[str, object]) -> None:
        file.with_suffix(".new").write_text(yaml.safe_dump({"tokens": [entry]}))
        file.with_suffix(".new").rename(file)

    grant({"name": "lead", "token": TOKEN})
    settings = GatewaySettings(recheck_s=0.05, heartbeat_s=0.1)
    app = build(settings, SingleRedis(redis_url), StaticTokens(file))
    async with serving(app, settings) as served, served.client(TOKEN) as client:
        client.base_url = f"{served.url}/v1/namespaces/{pool.namespace}/pools/{pool.name}"
        yield client, grant


@pytest.mark.parametrize("how", REVOKED)
@pytest.mark.parametrize("path", ["/events", "/jobs/{job}/events"])
async def test_a_stream_ends_with_the_token(revocable, how: str, path: str):
    """The last event of each stream in the table is a problem document, and the connection closes."""
    http, grant = revocable
    job = (await http.post("/jobs", json={"kind": "greet"})).json()["job_id"]
    entry, status = REVOKED[how]
    async with opened(http, path.format(job=job)) as stream:
        await stream.comment()
        grant(entry)
        last = {}
        while message := await stream.message():
            last = message
    problem = json.loads(last["data"])
    assert last["event"] == "error"
    assert "id" not in last
    assert (problem["status"], problem["instance"].endswith("/events")) == (status, True)
    assert problem["remedy"]
    assert TOKEN not in last["data"]


async def test_a_busy_stream_ends_with_its_token_too(revocable, redis, pool: PoolRef):
    """Endless events do not keep the stream open."""
    http, grant = revocable
    producer = Producer(redis, pool)

    async def submit_for_ever() -> None:
        while True:
            await producer.submit(JobRequest(kind="greet"))

    async with opened(http, "/events") as stream:
        await stream.comment()
        submitting = asyncio.create_task(submit_for_ever())
        assert (await stream.message())["event"] == "queued"
        grant(REVOKED["removed"][0])
        last = {}
        while message := await stream.message():
            last = message
        await end(submitting)
    assert last["event"] == "error"


async def test_a_long_poll_ends_with_its_token(revocable, consumer):
    """The holder of an expired token gets no result, not even of a job that ends in the same moment."""
    http, grant = revocable
    job = (await http.post("/jobs", json={"kind": "greet"})).json()["job_id"]
    waiting = asyncio.create_task(http.get(f"/jobs/{job}/result?wait=60s"))
    submitting = asyncio.create_task(http.post("/jobs?wait=60s", json={"kind": "greet"}))
    await consumer.take_one()
    grant(REVOKED["removed"][0])
    assert ((await waiting).status_code, (await submitting).status_code) == (401, 401)


async def test_a_stream_lives_on_while_its_token_holds(revocable, consumer):
    """The token is checked many times, and no event is lost."""
    http, _ = revocable
    job = (await http.post("/jobs", json={"kind": "greet"})).json()["job_id"]
    async with opened(http, f"/jobs/{job}/events") as stream:
        for _ in range(4):
            assert (await stream.comment()) in {": begun", ": still here"}
        await consumer.serve_one()
        seen = []
        while message := await stream.message():
            seen.append(message["event"])
    assert seen == ["started", "succeeded"]


@pytest.mark.parametrize("last", ["x", "1-0-0", "-1", "1-0.x", "9" * 40])
async def test_a_made_up_place_is_refused(http, last: str):
    """400 has the remedy, before the stream starts."""
    answer = await http.get("/events", headers={"Last-Event-ID": last})
    assert answer.status_code == 400
    assert answer.json()["type"].endswith("bad-event-id")


async def test_the_output_of_a_job_is_a_stream(http, consumer):
    """Chunks have ids and can be resumed; after the end no chunk remains, which stops a browser."""
    job_id = (await http.post("/jobs", json={"kind": "greet"})).json()["job_id"]
    (lease,) = await consumer.claim(1)
    await consumer.emit(lease, 1, ['"Hel"', '"lo"'])
    await consumer.settle([Succeeded(job_id=lease.job_id, token=lease.token)])
    text = (await http.get(f"/jobs/{job_id}/stream")).text
    assert text.startswith("id: 0\n\n")
    events = [block.splitlines() for block in text.strip().split("\n\n") if "event: " in block]
    assert [json.loads(event[-1].removeprefix("data: ")).get("value") for event in events] == ["Hel", "lo", None]
    assert [line for event in events for line in event if line.startswith("event: ")] == [
        "event: chunk",
        "event: chunk",
        "event: end",
    ]
    ids = [line.removeprefix("id: ") for event in events for line in event if line.startswith("id: ")]
    rest = await http.get(f"/jobs/{job_id}/stream", headers={"Last-Event-ID": ids[0]})
    assert '"value":"lo"' in rest.text.replace(" ", "")
    assert '"Hel"' not in rest.text
    assert (await http.get(f"/jobs/{job_id}/stream", headers={"Last-Event-ID": ids[1]})).status_code == 204
    assert "event: end" in (await http.get(f"/jobs/{job_id}/stream", headers={"Last-Event-ID": "0"})).text
    assert (await http.get("/jobs/nobody/stream")).status_code == 404


async def test_a_reader_of_output_that_was_away_too_long_is_notified(http, redis, consumer, pool: PoolRef):
    """The event `gap` comes before the oldest chunk that is kept; without a loss there is none."""
    job_id = (await http.post("/jobs", json={"kind": "greet"})).json()["job_id"]
    (lease,) = await consumer.claim(1)
    await consumer.emit(lease, 1, ["1", "2", "3"])
    async with opened(http, f"/jobs/{job_id}/stream") as stream:
        seen = [await stream.message() for _ in range(3)]
    async with opened(http, f"/jobs/{job_id}/stream", **{"Last-Event-ID": seen[0]["id"]}) as stream:
        assert (await stream.message())["id"] == seen[1]["id"]
    await redis.xtrim(Keys(pool).chunks(job_id), maxlen=1, approximate=False)
    async with opened(http, f"/jobs/{job_id}/stream", **{"Last-Event-ID": seen[0]["id"]}) as stream:
        gap = await stream.message()
        assert (gap["event"], json.loads(gap["data"])) == ("gap", {"after": seen[0]["id"], "oldest": seen[2]["id"]})
        assert (await stream.message())["id"] == seen[2]["id"]
