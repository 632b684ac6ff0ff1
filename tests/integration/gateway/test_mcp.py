"""A pool as tools: the official client over HTTP (both eras of the protocol) and over stdio, with a real worker."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from agentpool_core.jobs import JobState, PoolRef
from agentpool_core.queue import Inspector, PoolSettings, Route, connect
from agentpool_core.queue.settings import JobSchema
from agentpool_gateway.access import table
from agentpool_gateway.mcp import tools, waiting
from tests.fixtures.gateways import ADMIN, READER, SUBMITTER, Served
from tests.fixtures.workers import until

KINDS = ("text/greet", "count", "wait", "break", "half")
FIXED = {name for name in table.MCP_TOOLS if name != table.MCP_KIND}
READING = {
    "get_job", "wait_for_job", "list_jobs", "read_output", "queue", "dead_letters", "usage", "schedules",
}  # fmt: skip
WAYS = ("http", "http of 2025", "stdio")


class Agent:
    """The official client of a pool."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def names(self) -> set[str]:
        return {tool.name for tool in (await self.client.list_tools()).tools}

    async def call(self, name: str, progress: list[str] | None = None, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool that must succeed; return the structured answer."""
        answer = await self._call(name, arguments, progress)
        assert not answer.is_error, answer.content
        return answer.structured_content

    async def error(self, name: str, /, **arguments: Any) -> str:
        """Return the text of a tool's error."""
        answer = await self._call(name, arguments, None)
        assert answer.is_error, answer.structured_content
        (content,) = answer.content
        assert "Traceback" not in content.text
        return content.text

    async def _call(self, name: str, arguments: dict[str, Any], progress: list[str] | None):
        async def heard(_progress: float, _total: float | None, message: str | None) -> None:
            progress.append(message)

        callback = None if progress is None else heard
        return await self.client.call_tool(name, arguments, progress_callback=callback)

    async def begin(self) -> str:
        """Submit a job that runs until a cancel."""
        job_id = (await self.call("submit", kind="wait"))["job_id"]

        async def running() -> bool:
            return (await self.call("get_job", job_id=job_id))["state"] == JobState.RUNNING

        await until(running, "the job runs")
        return job_id


@pytest.fixture
async def kinds(redis, pool: PoolRef) -> None:
    """Make the pool list the kinds of the worker."""
    routes = (Route(name="work", kinds=KINDS),)
    await Inspector(redis).configure(pool, PoolSettings(routes=routes, max_attempts=1))


@asynccontextmanager
async def over_http(url: str, token: str, mode: str) -> AsyncIterator[Client]:
    """Return the official client of an address."""
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


@asynccontextmanager
async def kept_open(opened: AbstractAsyncContextManager[Client]) -> AsyncIterator[Client]:
    """Keep a client in a task of its own, because only the task that entered the client's scopes may leave them."""
    ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
    closing = asyncio.Event()

    async def keep() -> None:
        async with opened as client:
            ready.set_result(client)
            await closing.wait()

    task = asyncio.create_task(keep())
    await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        ready.cancel()
        await task
    try:
        yield ready.result()
    finally:
        closing.set()
        await task


@pytest.fixture
async def connect_agent(redis_url: str, pool: PoolRef, kinds) -> AsyncIterator[Callable[..., Any]]:
    """Connect clients; all close with the test."""
    async with AsyncExitStack() as stack:

        async def connect(way: str, gateway: Served | None, token: str = ADMIN, *flags: str) -> Agent:
            if way == "stdio":
                arguments = ["-m", "agentpool_core", "mcp", "--pool", str(pool), "--redis", redis_url, *flags]
                opened = Client(StdioServerParameters(command=sys.executable, args=arguments))
            else:
                url = f"{gateway.url}/v1/namespaces/{pool.namespace}/pools/{pool.name}/mcp"
                opened = over_http(url, token, "legacy" if way == "http of 2025" else "auto")
            return Agent(await stack.enter_async_context(kept_open(opened)))

        yield connect


@pytest.fixture(params=WAYS)
async def agent(request: pytest.FixtureRequest, gateway: Served, connect_agent, workers) -> Agent:
    """The official client over each transport, beside a worker."""
    workers.start(app="mcp_app:app")
    return await connect_agent(request.param, gateway)


async def test_each_kind_is_a_tool_beside_the_fixed_tools(agent: Agent):
    """Tools have names that every client accepts, a schema, and hints that match the verb."""
    listed = {tool.name: tool for tool in (await agent.client.list_tools()).tools}
    of_kinds = {"run_text_greet", "run_count", "run_wait", "run_break", "run_half"}
    assert set(listed) == FIXED | of_kinds
    for name, tool in listed.items():
        assert tool.input_schema["type"] == "object"
        assert tool.annotations.read_only_hint is (name in READING)
        assert tool.annotations.destructive_hint is (name in {"cancel_job", "delete_schedule"})
    assert listed["run_text_greet"].title == "Run text/greet"


async def test_a_tool_of_a_kind_returns_the_result(agent: Agent):
    """The arguments are the payload, and the answer is the outcome."""
    answer = await agent.call("run_text_greet", name="Ada")
    assert (answer["state"], answer["ended"], answer["result"]) == ("succeeded", True, {"hello": "Ada"})
    record = await agent.call("get_job", job_id=answer["job_id"])
    assert (record["kind"], record["payload"]) == ("text/greet", {"name": "Ada"})


async def test_the_schema_of_results_is_in_the_tool_of_its_kind(gateway, connect_agent, workers, redis, pool):
    """Definitions are found from the result, which may be null; the client checks the structured answer by it."""
    greeted = {"$ref": "#/$defs/Greeted", "$defs": {"Greeted": {"type": "object", "required": ["hello"]}}}
    schemas = [JobSchema(kinds=("text/greet",), output=json.dumps(greeted)),
               JobSchema(kinds=("count",), output=json.dumps({"items": {"$ref": "#"}}))]  # fmt: skip
    settings = PoolSettings(routes=(Route(name="work", kinds=KINDS),), schemas=tuple(schemas))
    await Inspector(redis).configure(pool, settings)
    workers.start(app="mcp_app:app")
    agent = await connect_agent("http", gateway)
    listed = {tool.name: tool.output_schema for tool in (await agent.client.list_tools()).tools}
    assert listed["run_text_greet"]["$defs"] == greeted["$defs"]
    assert listed["run_text_greet"]["properties"]["result"]["anyOf"][0] == {"$ref": "#/$defs/Greeted"}
    assert listed["run_count"] == listed["run_wait"]  # a reference to the top cannot move
    assert (await agent.call("run_text_greet", name="Ada"))["result"] == {"hello": "Ada"}


async def test_a_failed_job_is_an_error_of_its_tool(agent: Agent):
    """The error has the first line of the job's error and the remedy.

    The record has the rest, and a replay runs again.
    """
    words = await agent.error("run_break")
    assert "ValueError: the model was not found; get_job shows its record" in words
    (dead,) = (await agent.call("dead_letters"))["jobs"]
    assert dead["error"] == "ValueError: the model was not found"
    assert "mcp_app.py" in (await agent.call("get_job", job_id=dead["job_id"]))["error"]
    replayed = await agent.call("replay", job_id=dead["job_id"], downstream=True)
    assert replayed == {"job_id": dead["job_id"], "outcome": "queued"}
    waited = await agent.call("wait_for_job", job_id=dead["job_id"])
    assert (waited["state"], waited["error"]) == ("failed", "ValueError: the model was not found")


async def test_a_call_reports_the_changes_of_its_job(agent: Agent):
    """The first progress notification names the job, and the following report changes."""
    heard: list[str] = []
    submitted = await agent.call("submit", kind="wait", delay_ms=3_600_000)
    waiting_for = asyncio.create_task(agent.call("wait_for_job", heard, job_id=submitted["job_id"], wait_seconds=30))
    await until(lambda: heard, "the call has reported")
    await agent.call("cancel_job", job_id=submitted["job_id"], reason="enough")
    assert (await waiting_for)["state"] == "cancelled"
    assert heard[0] == f"job {submitted['job_id']} scheduled"
    counted: list[str] = []
    answer = await agent.call("run_count", counted, to=3)
    assert answer["result"] == 3
    assert all(answer["job_id"] in line for line in counted)


async def test_a_wait_that_ends_before_its_job_leaves_the_job(agent: Agent):
    """The answer names the tool that continues the wait; a cancellation then ends the job."""
    job_id = await agent.begin()
    waited = await agent.call("wait_for_job", job_id=job_id, wait_seconds=0.1)
    assert (waited["state"], waited["ended"]) == ("running", False)
    assert "wait_for_job" in waited["hint"]
    (row,) = (await agent.call("list_jobs", state=["running"]))["jobs"]
    assert (row["job_id"], "payload" in row) == (job_id, False)
    assert (await agent.call("queue"))["running"] == 1
    assert (await agent.call("cancel_job", job_id=job_id))["outcome"] == "requested"
    assert (await agent.call("wait_for_job", job_id=job_id))["state"] == "cancelled"
    assert "had ended before; read its record with get_job" in await agent.error("cancel_job", job_id=job_id)


async def test_a_list_is_selected_and_paged(gateway, connect_agent):
    """Lists filter by kind, tag and state, as over HTTP; the cursor continues after the page."""
    agent = await connect_agent("http", gateway)
    sent = [(await agent.call("submit", kind="count", tags=["nightly"]))["job_id"] for _ in range(3)]
    await agent.call("submit", kind="wait", tags=["nightly"])
    await agent.call("submit", kind="count")
    query = {"kind": ["count"], "tag": ["nightly"], "limit": 2}
    first = await agent.call("list_jobs", **query)
    second = await agent.call("list_jobs", **query, cursor=first["cursor"])
    assert [job["job_id"] for page in (first, second) for job in page["jobs"]] == sent
    assert second["cursor"] is None
    assert (await agent.call("list_jobs", state=["succeeded"]))["jobs"] == []
    assert (await agent.call("list_jobs", error="no job has this error"))["jobs"] == []


async def test_a_signal_resumes_a_waiting_job(gateway, connect_agent, workers):
    """By its name, with a value; the same signal again changes nothing, and a wrong name is refused."""
    workers.start(app="mcp_app:app")
    agent = await connect_agent("http", gateway)
    job_id = (await agent.call("submit", kind="approve"))["job_id"]

    async def waits() -> bool:
        return bool((await agent.call("list_jobs", state=["waiting"]))["jobs"])

    await until(waits, "the job waits for its signal")
    sent = {"job_id": job_id, "signal": "approval", "value": {"by": "Ada"}, "signal_id": "s-1"}
    assert (await agent.call("signal_job", **sent))["outcome"] == "stored"
    assert (await agent.call("wait_for_job", job_id=job_id))["result"] == {"by": "Ada"}
    assert "not a name of a signal" in await agent.error("signal_job", job_id=job_id, signal="a b")


async def test_a_wait_ends_with_the_question_of_the_job(agent: Agent):
    """The answer has the question and names the tool that answers it; the tool of the kind goes on from there."""
    asked = await agent.call("submit", kind="ask", wait_seconds=30)
    assert (asked["state"], asked["waits_for"], asked["question"]) == ("waiting", ["message"], "Which city?")
    assert "signal_job" in asked["hint"]
    await agent.call("signal_job", job_id=asked["job_id"], signal="message", value="Oslo")
    assert (await agent.call("wait_for_job", job_id=asked["job_id"]))["result"] == "Oslo"


async def test_output_is_read_from_place_to_place(agent: Agent):
    """A call waits for the first chunk, and the next one goes on after the last."""
    submitted = await agent.call("submit", kind="emit")
    first = await agent.call("read_output", job_id=submitted["job_id"], wait_seconds=30)
    assert first["chunks"][0]["value"] == {"n": 0}
    await agent.call("wait_for_job", job_id=submitted["job_id"])
    rest = await agent.call("read_output", job_id=submitted["job_id"], after=first["after"], wait_seconds=30)
    values = [chunk["value"]["n"] for page in (first, rest) for chunk in page["chunks"]]
    assert (values, rest["ended"]) == ([0, 1, 2], True)


async def test_schedules_are_put_paused_and_deleted(gateway, connect_agent):
    """The fields are those of the HTTP API, and an unusable one is refused by name."""
    agent = await connect_agent("http", gateway)
    await agent.call("put_schedule", name="nightly", kind="count", cron="0 3 * * *")
    await agent.call("pause_schedule", name="nightly", paused=True)
    (schedule,) = (await agent.call("schedules"))["schedules"]
    assert (schedule["name"], schedule["cron"], schedule["paused"]) == ("nightly", "0 3 * * *", True)
    assert "cron" in await agent.error("put_schedule", name="other", kind="count", cron="soon")
    await agent.call("delete_schedule", name="nightly")
    assert (await agent.call("schedules"))["schedules"] == []
    assert (await agent.call("usage", days=2, by=["kind"]))["rows"] == []


async def test_a_repeated_submit_with_a_key_is_the_same_job(agent: Agent):
    """All fields of the HTTP API exist; a different body under the key is refused."""
    first = await agent.call("submit", kind="count", payload={"to": 1}, idempotency_key="k", wait_seconds=30)
    again = await agent.call("submit", kind="count", payload={"to": 1}, idempotency_key="k")
    assert (again["job_id"], again["duplicate"], first["result"]) == (first["job_id"], True, 1)
    words = await agent.error("submit", kind="count", payload={"to": 2}, idempotency_key="k")
    assert first["job_id"] in words


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("get_job", {}, "'job_id' is a required property"),
        ("get_job", {"job_id": 5}, "arguments.job_id: 5 is not of type 'string'"),
        ("get_job", {"job_id": "../../queue"}, "arguments.job_id: '../../queue' does not match"),
        ("get_job", {"job_id": "x" * 5_000}, "does not match"),
        ("get_job", {"job_id": "stranger"}, "stranger"),
        ("get_job", {"job_id": "a", "pool": "other/pool"}, "'pool' was unexpected"),
        ("list_jobs", {"limit": 10**9}, "arguments.limit: 1000000000 is greater than the maximum of 100"),
        ("list_jobs", {"state": ["gone"]}, "arguments.state.0: 'gone' is not one of"),
        ("wait_for_job", {"job_id": "a", "wait_seconds": 1e9}, "arguments.wait_seconds"),
        ("submit", {"kind": "count", "nonsense": 1}, "'nonsense' was unexpected"),
        ("submit", {"kind": "\u202e"}, "arguments.kind"),
        ("submit", {"kind": "count", "priority": "now"}, "arguments.priority: 'now' is not one of"),
        ("submit", {"kind": "count", "after": ["nobody"]}, "after[0]: no job of that id is in the pool"),
        ("submit", {"kind": "count", "payload": "x" * 2**20}, "payload"),
        ("list_jobs", {"cursor": "mine"}, "cursor: not a cursor of this list"),
        ("list_jobs", {"kind": [""]}, "arguments.kind.0"),
        ("dead_letters", {"state": ["queued"]}, "'state' was unexpected"),
        ("replay", {"job_id": "stranger"}, "stranger"),
        ("signal_job", {"job_id": "a", "name": "go"}, "in tools/list: job_id, signal, value, signal_id"),
    ],
)
async def test_arguments_that_do_not_fit_are_refused_by_name(gateway, connect_agent, tool, arguments, expected):
    """The tool error names the argument, and contains no part of a server or a traceback."""
    agent = await connect_agent("http", gateway)
    words = await agent.error(tool, **arguments)
    assert expected in words
    assert len(words) < 1_000
    assert (await agent.call("queue"))["totals"]["submitted"] == 0


async def test_an_unknown_tool_is_an_error_of_the_protocol(agent: Agent):
    """A kind without a route has no tool."""
    for name in ("run_stranger", "purge", "run_", "\u202e" * 500):
        with pytest.raises(MCPError, match="there is no tool"):
            await agent._call(name, {}, None)


async def test_half_characters_reach_the_agent_escaped(agent: Agent):
    """UTF-8 cannot encode half a surrogate pair, and a result may contain one."""
    answer = await agent.call("run_half", name="\ufffd")
    assert answer["result"] == {"\\ud800": ["half a character \\udfff", 1e300]}


@pytest.mark.parametrize("way", ["http", "http of 2025"])
async def test_a_token_sees_and_calls_only_the_tools_of_its_verbs(gateway, connect_agent, way: str):
    """A reader has the reading tools; a submitter also has the submitting tools; HTTP refuses the rest."""
    reader, submitter = [await connect_agent(way, gateway, token) for token in (READER, SUBMITTER)]
    assert await reader.names() == READING
    assert await submitter.names() == READING | {"submit", "run_text_greet"} | {
        f"run_{kind}" for kind in KINDS if "/" not in kind
    }
    for name in ("cancel_job", "replay"):
        with pytest.raises(MCPError, match="submitter may not manage in pool"):
            await submitter._call(name, {"job_id": "x"}, None)
    with pytest.raises(MCPError, match="reader may not submit in pool"):
        await reader._call("run_count", {"to": 1}, None)


async def test_stdio_can_be_read_only(connect_agent):
    """No further tool is listed, and a call of such a tool is refused with the remedy."""
    agent = await connect_agent("stdio", None, ADMIN, "--read-only")
    assert await agent.names() == READING
    assert (await agent.call("queue"))["queued"] == 0
    words = await agent.error("submit", kind="count")
    assert "served read-only; serve it without --read-only" in words


async def test_a_wait_goes_on_after_a_restart_of_the_gateway(gateway_factory, connect_agent, workers):
    """The closing gateway answers at once that the job continues.

    A second gateway returns the outcome by the job's id.
    """
    workers.start(app="mcp_app:app")
    first, second = await gateway_factory(), await gateway_factory()
    agent = await connect_agent("http", first)
    job_id = await agent.begin()
    heard: list[str] = []
    waiting_for = asyncio.create_task(agent.call("wait_for_job", heard, job_id=job_id, wait_seconds=60))
    await until(lambda: heard, "the wait has begun")
    first.app.state.gateway.draining.close()
    left = await waiting_for
    assert (left["ended"], left["job_id"]) == (False, job_id)
    later = await connect_agent("http", second)
    going_on = asyncio.create_task(later.call("wait_for_job", job_id=job_id, wait_seconds=60))
    await later.call("cancel_job", job_id=job_id)
    assert (await going_on)["state"] == "cancelled"


async def test_silence_is_reported_too(gateway_factory, connect_agent):
    """A client that resets a timeout on progress keeps waiting while the job reports nothing."""
    agent = await connect_agent("http", await gateway_factory(heartbeat_s=0.05))
    job_id = (await agent.call("submit", kind="wait", delay_ms=3_600_000))["job_id"]
    heard: list[str] = []
    waiting_for = asyncio.create_task(agent.call("wait_for_job", heard, job_id=job_id, wait_seconds=60))
    await until(lambda: len(heard) >= 4, "the same words, again and again")
    assert set(heard) == {f"job {job_id} scheduled"}
    await agent.call("cancel_job", job_id=job_id)
    assert (await waiting_for)["state"] == "cancelled"


async def test_a_body_is_checked_as_over_http(gateway: Served, http, kinds):
    """The checks cover type, size and JSON.

    Each refusal is a JSON-RPC error with the HTTP status and a problem as data.
    """
    accept = {"Accept": "application/json, text/event-stream"}
    as_json = {**accept, "Content-Type": "application/json"}
    cases = [
        (await http.post("/mcp", content=b"{", headers=as_json), HTTPStatus.BAD_REQUEST, -32700),
        (await http.post("/mcp", content=b'{"id": NaN}', headers=as_json), HTTPStatus.BAD_REQUEST, -32700),
        (await http.post("/mcp", content=b"{}", headers=accept), HTTPStatus.UNSUPPORTED_MEDIA_TYPE, -32600),
        (
            await http.post("/mcp", content=b" " * (9 * 2**20), headers=as_json),
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            -32600,
        ),
    ]
    for answer, status, code in cases:
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
        assert answer.json()["error"]["data"]["type"].startswith("urn:agentpool:problem:")
    for body in ("[]", "1", "null", '"x"', "{}", '{"jsonrpc": "2.0", "id": {"a": 1}, "method": "tools/call"}'):
        answer = await http.post("/mcp", content=body, headers=as_json)
        assert answer.status_code == HTTPStatus.BAD_REQUEST, body
        assert "error" in answer.json()
    answer = await http.get("/mcp", headers=accept)
    assert (answer.status_code, answer.headers["allow"]) == (HTTPStatus.METHOD_NOT_ALLOWED, "POST")


async def test_an_unexpected_error_shows_nothing(gateway, connect_agent, monkeypatch, caplog):
    """The agent sees neither the text of the error nor a traceback."""
    agent, secret = await connect_agent("http", gateway), "redis://:password@secret-host"

    async def fail(*_args: Any, **_more: Any) -> None:
        raise KeyError(secret)

    monkeypatch.setattr(Inspector, "find", fail)
    assert await agent.error("list_jobs") == "the gateway failed; see its log"
    assert secret not in caplog.text
    assert "KeyError" in caplog.text


async def test_a_lost_redis_is_named_with_its_remedy(gateway_factory, connect_agent, redis_server_factory, pool):
    """The error does not show the address of Redis."""
    server = redis_server_factory()
    own = connect(server.url)
    await Inspector(own).configure(pool, PoolSettings())
    await own.aclose()
    agent = await connect_agent("http", await gateway_factory(server.url))
    assert (await agent.call("queue"))["queued"] == 0
    server.kill()
    words = await agent.error("queue")
    assert "the Redis of the pool is unreachable; send the request again" in words
    assert str(server.socket_path) not in words


def test_names_of_kinds_are_short_and_different():
    """Characters that clients refuse are replaced; equal or long names end with a digest."""
    kinds = ["a.b", "a/b", "plain", "x" * 63]
    names = tools.names_of(kinds)
    assert names["plain"] == "run_plain"
    assert len(set(names.values())) == len(kinds)
    assert all(len(name) <= tools.LONGEST_NAME for name in names.values())
    assert names["a.b"].startswith("run_a_b_")
    assert names == tools.names_of(kinds[::-1])


def test_the_default_wait_is_shorter_than_clients_wait():
    """Clients give up after 60 s by default, and would start the job again."""
    assert waiting.WAIT_SECONDS < waiting.MOST_SECONDS <= 60
