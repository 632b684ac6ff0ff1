"""Agents that send messages to a pool, by JSON-RPC over real HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentpool_core.jobs import PoolRef
from agentpool_core.queue import Inspector, PoolSettings


def message(identity: str = "m1", **metadata: Any) -> dict[str, Any]:
    parts = [{"kind": "text", "text": "hello"}]
    return {"kind": "message", "role": "user", "messageId": identity, "parts": parts, "metadata": metadata}


@pytest.fixture
def call(http):
    """One JSON-RPC call; returns the whole response."""

    async def send(method: str, **params: Any) -> dict[str, Any]:
        answer = await http.post("/a2a", json={"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
        assert answer.status_code == 200
        assert answer.json()["id"] == 7
        return answer.json()

    return send


async def test_a_message_to_a_busy_pool_becomes_a_submitted_task(call):
    """No worker is there, and still nobody is refused; sending again returns the same task."""
    task = (await call("message/send", message=message(priority="critical")))["result"]
    assert (task["kind"], task["status"]["state"]) == ("task", "submitted")
    assert (await call("message/send", message=message(priority="critical")))["result"]["id"] == task["id"]
    assert (await call("tasks/get", id=task["id"]))["result"] == task


async def test_a_fan_out_to_a_pool_whose_slots_are_all_taken_is_queued(call, http, consumer):
    """Sixty messages at once, a tenth of them twice: each is a task of its own, and none is refused."""
    await http.post("/jobs", json=[{"kind": "greet"}] * 10)
    assert len(await consumer.claim(10)) == 10
    numbers = [*range(60), *range(6)]
    answers = await asyncio.gather(*(call("message/send", message=message(f"m{number}")) for number in numbers))
    assert {answer["result"]["status"]["state"] for answer in answers} == {"submitted"}
    assert len({answer["result"]["id"] for answer in answers}) == 60
    queue = (await http.get("/queue")).json()
    assert (queue["running"], queue["queued"]) == (10, 60)


async def test_a_blocking_message_returns_the_result(call, consumer):
    """The worker gets the whole message; its result is the task's artifact."""
    sending = asyncio.create_task(call("message/send", message=message(kind="chat"), configuration={"blocking": True}))
    lease = await consumer.serve_one(result="hi")
    assert (lease.kind, lease.payload["message"]["parts"][0]["text"]) == ("chat", "hello")
    task = (await sending)["result"]
    assert task["status"]["state"] == "completed"
    assert task["artifacts"][0]["parts"] == [{"kind": "text", "text": "hi"}]


async def test_a_task_can_be_cancelled_once(call):
    """Then it is canceled, and cannot be again."""
    task = (await call("message/send", message=message()))["result"]
    assert (await call("tasks/cancel", id=task["id"]))["result"]["status"]["state"] == "canceled"
    assert (await call("tasks/cancel", id=task["id"]))["error"]["code"] == -32002


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("message/stream", {}, -32601),
        ("message/send", {}, -32602),
        ("message/send", {"message": message(priority="urgent")}, -32602),
        ("tasks/get", {"id": "stranger"}, -32001),
        ("tasks/get", {}, -32602),
        ("message/send", {"message": message() | {"messageId": ["m1"]}}, -32602),
        ("message/send", {"message": message() | {"messageId": 1.0}}, -32602),
        ("message/send", {"message": message(), "metadata": "text"}, -32602),
        ("message/send", {"message": message(), "configuration": [1]}, -32602),
    ],
)
async def test_errors_have_the_protocols_codes(call, method: str, params: dict, code: int):
    """What was wrong is said in the message."""
    error = (await call(method, **params))["error"]
    assert error["code"] == code
    assert error["message"]


@pytest.mark.parametrize(
    ("identity", "task", "code"), [("1e999", '"t"', -32600), ("[]", '"t"', -32600), ("1", '"\\ud800"', -32602)]
)
async def test_what_json_can_write_and_nobody_means_is_refused(http, identity: str, task: str, code: int):
    """A number beyond all numbers, half a character: an answer comes all the same."""
    body = f'{{"jsonrpc": "2.0", "id": {identity}, "method": "tasks/get", "params": {{"id": {task}}}}}'
    answer = await http.post("/a2a", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (200, code)


async def test_a_full_queue_says_when_to_come_again(call, redis, pool: PoolRef):
    """Only maxDepth refuses; the error's data is the problem."""
    await Inspector(redis).configure(pool, PoolSettings(max_depth=1))
    await call("message/send", message=message("m1"))
    error = (await call("message/send", message=message("m2")))["error"]
    assert error["code"] == -32050
    assert error["data"]["retry_after_ms"] > 0


async def test_the_agent_card_names_the_endpoint(http):
    """As A2A clients look for it."""
    card = (await http.get("/a2a/agent-card.json")).json()
    assert card["url"].endswith("/a2a")
    assert card["preferredTransport"] == "JSONRPC"
