"""Schemas of kinds at every door of the gateway: HTTP, A2A and MCP refuse by path, and publish the schemas."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agentpool_core.queue import Inspector, PoolSettings, Route
from agentpool_core.queue.settings import JobSchema

INPUT = {"type": "object", "properties": {"items": {"type": "array", "items": {"type": "integer"}}}}
OUTPUT = {"type": "integer"}
WRONG = {"items": [1, "two"]}
MCP = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}


@pytest.fixture
async def described(redis, pool) -> None:
    """Make the pool describe the kind `add`, and the kind `say` whose payloads are texts."""
    schemas = (
        JobSchema(kinds=("add",), input=json.dumps(INPUT), output=json.dumps(OUTPUT)),
        JobSchema(kinds=("say",), input=json.dumps({"type": "string"})),
    )
    routes = (Route(name="sums", kinds=("add", "say", "free")),)
    await Inspector(redis).configure(pool, PoolSettings(routes=routes, schemas=schemas))


async def test_http_answers_422_with_the_path(http, described):
    """A single job, a job of many, and a schedule are refused as problems with field and remedy."""
    single = await http.post("/jobs", json={"kind": "add", "payload": WRONG})
    assert single.status_code == 422
    assert single.json()["type"] == "urn:agentpool:problem:schema-mismatch"
    assert single.json()["field"] == "payload.items[1]"
    assert single.json()["remedy"]
    many = await http.post("/jobs", json=[{"kind": "free"}, {"kind": "add", "payload": WRONG}])
    assert (many.status_code, many.json()["field"]) == (422, "[1].payload.items[1]")
    schedule = await http.put("/schedules/daily", json={"kind": "add", "every_ms": 60_000, "payload": WRONG})
    assert (schedule.status_code, schedule.json()["field"]) == (422, "payload.items[1]")
    assert (await http.post("/jobs", json={"kind": "add", "payload": {"items": [1]}})).status_code == 202


async def test_the_kinds_are_listed_with_their_schemas(http, described):
    """The list of kinds has route and schemas; null where any value is accepted."""
    found = (await http.get("/kinds")).json()
    assert found["unlisted_kinds"] == "accept"
    assert found["kinds"][0] == {"kind": "add", "route": "sums", "input": INPUT, "output": OUTPUT}
    assert found["kinds"][2] == {"kind": "free", "route": "sums", "input": None, "output": None}


async def rpc(http, path: str, method: str, params: Any, headers: dict[str, str]) -> dict[str, Any]:
    """Send a JSON-RPC call, and return the response."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = await http.post(path, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    text = answer.text
    if answer.headers["content-type"].startswith("text/event-stream"):
        text = next(line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {"))
    return json.loads(text)


async def test_an_agent_sends_the_payload_as_data(http, described, redis, pool):
    """A message's data is the payload of a kind with a schema; a wrong one is refused by its path."""

    async def send(data: Any, **fields: Any) -> dict[str, Any]:
        options = {"agentpool.dev/job": {"kind": "add"}}
        message = {"role": "ROLE_USER", "messageId": f"m-{data}", "parts": [{"data": data}], "metadata": options}
        params = {"message": message | fields, "configuration": {"returnImmediately": True}}
        return await rpc(http, "/a2a", "SendMessage", params, {"A2A-Version": "1.0"})

    refused = (await send(WRONG))["error"]
    assert refused["code"] == -32602
    assert "payload.items[1]" in json.dumps(refused)
    assert "contextId" in json.dumps((await send({}, contextId="c"))["error"])
    task = (await send({"items": [1, 2]}))["result"]["task"]
    assert (await Inspector(redis).job(pool, task["id"])).payload == {"items": [1, 2]}
    card = (await http.get("/a2a/.well-known/agent-card.json", headers={"A2A-Version": "1.0"})).json()
    extension = card["capabilities"]["extensions"][1]
    assert extension["params"]["skills"]["add"]["output"] == OUTPUT


async def test_the_tool_of_a_kind_has_its_schema(http, described):
    """Arguments that do not fit are a tool error with the path; a kind of texts has no tool of its own."""
    tools = (await rpc(http, "/mcp", "tools/list", {}, MCP))["result"]["tools"]
    listed = {tool["name"]: tool["inputSchema"] for tool in tools}
    assert listed["run_add"] == INPUT
    assert "run_say" not in listed
    assert "run_free" in listed
    called = await rpc(http, "/mcp", "tools/call", {"name": "run_add", "arguments": WRONG}, MCP)
    assert called["result"]["isError"]
    assert "payload.items[1]" in called["result"]["content"][0]["text"]
