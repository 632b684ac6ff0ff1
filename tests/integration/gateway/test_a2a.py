"""Agents send messages to a pool by JSON-RPC over real HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agentpool_core.jobs import PoolRef
from agentpool_core.queue import Inspector, PoolSettings
from agentpool_core.queue.completions import Succeeded
from tests.fixtures.gateways import SUBMITTER

AT_ONCE = {"configuration": {"returnImmediately": True}}
REST = {"A2A-Version": "1.0", "Content-Type": "application/a2a+json"}


OPTIONS = "agentpool.dev/job"


def message(identity: str = "m1", **options: Any) -> dict[str, Any]:
    """Return a message of A2A 0.3, with fields of a job in the metadata."""
    parts = [{"kind": "text", "text": "hello"}]
    metadata = {OPTIONS: options, "somebody.else": 1} if options else {"kind": "of somebody else"}
    return {"kind": "message", "role": "user", "messageId": identity, "parts": parts, "metadata": metadata}


def current(identity: str = "m1", **fields: Any) -> dict[str, Any]:
    """Return a message of A2A 1.0."""
    return {"role": "ROLE_USER", "messageId": identity, "parts": [{"text": "hello"}], **fields}


async def posted(http, method: str, params: Any, version: str) -> dict[str, Any]:
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
    headers = {"A2A-Version": version, "Content-Type": "application/json"}
    answer = await http.post("/a2a", content=json.dumps(body), headers=headers)
    assert answer.status_code == 200
    assert answer.json()["id"] == 7
    return answer.json()


@pytest.fixture
def call(http):
    """Send a call of A2A 0.3; return the whole response."""

    async def send(method: str, **params: Any) -> dict[str, Any]:
        return await posted(http, method, params, "0.3")

    return send


async def test_a_message_to_a_busy_pool_becomes_a_submitted_task(call):
    """Without a worker no sender is refused; a repeated message returns the same task."""
    task = (await call("message/send", message=message(priority="critical")))["result"]
    assert (task["kind"], task["status"]["state"]) == ("task", "submitted")
    assert (await call("message/send", message=message(priority="critical")))["result"]["id"] == task["id"]
    assert (await call("tasks/get", id=task["id"]))["result"] == task


async def test_a_fan_out_to_a_full_pool_is_queued(call, http, consumer):
    """Sixty concurrent messages, a tenth of them repeated: each becomes a task of its own, and none is refused."""
    await http.post("/jobs", json=[{"kind": "greet"}] * 10)
    assert len(await consumer.claim(10)) == 10
    numbers = [*range(60), *range(6)]
    answers = await asyncio.gather(*(call("message/send", message=message(f"m{number}")) for number in numbers))
    assert {answer["result"]["status"]["state"] for answer in answers} == {"submitted"}
    assert len({answer["result"]["id"] for answer in answers}) == 60
    queue = (await http.get("/queue")).json()
    assert (queue["running"], queue["queued"]) == (10, 60)


async def test_a_blocking_message_returns_the_result(call, consumer):
    """The worker gets the whole message; the worker's result is the task's artifact."""
    sending = asyncio.create_task(call("message/send", message=message(kind="chat"), configuration={"blocking": True}))
    lease = await consumer.serve_one(result="hi")
    assert (lease.kind, lease.payload["message"]["parts"][0]["text"]) == ("chat", "hello")
    task = (await sending)["result"]
    assert task["status"]["state"] == "completed"
    assert task["artifacts"][0]["parts"] == [{"kind": "text", "text": "hi"}]


async def test_a_task_can_be_cancelled_once(call):
    """The task is canceled; a second cancellation is refused."""
    task = (await call("message/send", message=message()))["result"]
    assert (await call("tasks/cancel", id=task["id"]))["result"]["status"]["state"] == "canceled"
    assert (await call("tasks/cancel", id=task["id"]))["error"]["code"] == -32002


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("message/push", {}, -32601),
        ("message/send", {}, -32602),
        ("message/send", [], -32602),
        ("message/send", {"message": message(priority="urgent")}, -32602),
        ("message/send", {"message": message(payload=1)}, -32602),
        ("message/send", {"message": message() | {"metadata": {OPTIONS: []}}}, -32602),
        ("tasks/get", {"id": "stranger"}, -32001),
        ("tasks/get", {"id": "stränger"}, -32001),
        ("tasks/get", {}, -32602),
        ("message/send", {"message": message() | {"messageId": ["m1"]}}, -32602),
        ("message/send", {"message": message() | {"messageId": 1.0}}, -32602),
        ("message/send", {"message": message(), "metadata": "text"}, -32602),
        ("message/send", {"message": message(), "configuration": [1]}, -32602),
        ("SendMessage", {"message": current()}, -32009),
        ("tasks/pushNotificationConfig/set", {}, -32602),
        ("tasks/pushNotificationConfig/list", {"id": "t"}, -32003),
    ],
)
async def test_errors_of_0_3_have_the_protocols_codes(call, http, method: str, params: Any, code: int):
    """The message of the error explains the fault, and the gateway submits nothing."""
    error = (await posted(http, method, params, "0.3"))["error"]
    assert error["code"] == code
    assert error["message"]
    assert (await http.get("/queue")).json()["totals"]["submitted"] == 0


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("SendMail", {}, -32601),
        ("message/send", {"message": message()}, -32009),
        ("SendMessage", {}, -32602),
        ("SendMessage", {"message": current(parts=[])}, -32602),
        ("SendMessage", {"message": current(identity="")}, -32602),
        ("SendMessage", {"message": current(role="ROLE_NOBODY")}, -32602),
        ("SendMessage", {"message": current(parts=[{"text": "\ud800"}])}, -32602),
        ("SendMessage", {"message": current(metadata={"x": "\ud800"})}, -32602),
        ("SendMessage", {"message": current(), "configuration": {"historyLength": -1}}, -32602),
        ("SendMessage", {"message": current(taskId="stranger")}, -32001),
        ("SendStreamingMessage", {"message": current(taskId="stranger")}, -32001),
        ("SubscribeToTask", {"id": "stranger"}, -32001),
        ("GetTask", {"id": ""}, -32602),
        ("GetTask", {"id": "stranger"}, -32001),
        ("CancelTask", {"id": "stranger"}, -32001),
        ("ListTasks", {"pageSize": 0}, -32602),
        ("ListTasks", {"pageSize": 101}, -32602),
        ("ListTasks", {"pageToken": "Zm9v"}, -32602),
        ("ListTasks", {"historyLength": -1}, -32602),
        ("CreateTaskPushNotificationConfig", {"taskId": "t", "url": "https://example.org"}, -32003),
        ("GetTaskPushNotificationConfig", {"taskId": "t", "id": "c"}, -32003),
        ("ListTaskPushNotificationConfigs", {"taskId": "t"}, -32003),
        ("DeleteTaskPushNotificationConfig", {"taskId": "t", "id": "c"}, -32003),
    ],
)
async def test_errors_of_1_0_have_the_protocols_codes(http, method: str, params: dict, code: int):
    """Each error has a typed reason and an explanation, and the gateway submits nothing."""
    error = (await posted(http, method, params, "1.0"))["error"]
    assert error["code"] == code
    assert error["message"]
    assert error["data"][0]["@type"].endswith("google.rpc.ErrorInfo")
    assert (await http.get("/queue")).json()["totals"]["submitted"] == 0


@pytest.mark.parametrize(
    ("body", "code"),
    [("{", -32700), ("[]", -32600), ('"text"', -32600), ('{"jsonrpc": "1.0", "method": "GetTask"}', -32600),
     ('{"jsonrpc": "2.0"}', -32600), ('{"jsonrpc": "2.0", "id": true, "method": "GetTask"}', -32600)],
)  # fmt: skip
async def test_invalid_calls_have_the_codes_of_json_rpc(http, body: str, code: int):
    """Malformed JSON, a batch, a wrong version, a missing method, an invalid id."""
    answer = await http.post("/a2a", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["id"], answer.json()["error"]["code"]) == (200, None, code)


@pytest.mark.parametrize("version", ["", "0.3", "0.3.0", "1.0", "1.0.1"])
async def test_the_version_of_a_request_is_negotiated(http, version: str):
    """The default is 0.3, the patch level does not count, the query may name the version.

    Unknown versions are refused.
    """
    method = "GetTask" if version.startswith("1.0") else "tasks/get"
    assert (await posted(http, method, {"id": "stranger"}, version))["error"]["code"] == -32001
    assert (await posted(http, method, {"id": "stranger"}, "2.0"))["error"]["code"] == -32009
    body = {"jsonrpc": "2.0", "id": 7, "method": "GetTask", "params": {"id": "stranger"}}
    assert (await http.post("/a2a?A2A-Version=1.0", json=body)).json()["error"]["code"] == -32001


async def test_a_message_belongs_to_its_caller(http, gateway):
    """A repeated message is the same task.

    A message with different content or from a different caller is a new task.
    """
    params = {"message": current(), **AT_ONCE}
    task = (await posted(http, "SendMessage", params, "1.0"))["result"]["task"]
    assert (await posted(http, "SendMessage", params, "1.0"))["result"]["task"] == task
    other = {"message": current(parts=[{"text": "another"}]), **AT_ONCE}
    async with gateway.client(SUBMITTER) as another:
        another.base_url = http.base_url
        answers = [await posted(http, "SendMessage", other, "1.0"), await posted(another, "SendMessage", params, "1.0")]
    assert len({task["id"], *(answer["result"]["task"]["id"] for answer in answers)}) == 3


async def test_a_conflict_is_no_internal_error(http):
    """The error names the sender's own key, which was used with different content before."""
    for text, code in (("hello", None), ("another", -32602)):
        message = current(parts=[{"text": text}], metadata={OPTIONS: {"idempotency_key": "order-7"}})
        answer = await posted(http, "SendMessage", {"message": message, **AT_ONCE}, "1.0")
        assert answer.get("error", {}).get("code") == code


async def test_a_handler_may_answer_with_a_message(http, consumer):
    """A waiting sender gets the message instead of a task."""
    sending = asyncio.create_task(posted(http, "SendMessage", {"message": current()}, "1.0"))
    await consumer.serve_one(result={"message": {"parts": [{"text": "at once"}]}})
    reply = (await sending)["result"]["message"]
    assert (reply["role"], reply["parts"]) == ("ROLE_AGENT", [{"text": "at once"}])


async def test_the_card_has_the_fields_of_the_version_that_is_spoken(http):
    """A request without a version speaks 0.3: clients of 0.3 expect a single address at the top."""
    at = "/a2a/.well-known/agent-card.json"
    card = (await http.get(at, headers={"A2A-Version": "1.0"})).json()
    old = (await http.get(at)).json()
    assert not {"url", "protocolVersion", "preferredTransport"} & card.keys()
    assert (old["url"], old["protocolVersion"]) == (card["supportedInterfaces"][0]["url"], "0.3")
    assert old["securitySchemes"]["bearer"]["type"] == "http"
    assert card["skills"] == old["skills"]


async def test_a_repeated_message_returns_the_same_task_and_context(http):
    """The gateway assigns the same context to a repeated message."""
    params = {"message": current(metadata={OPTIONS: {"ttl_ms": 60000.0}}), **AT_ONCE}
    first, again = [(await posted(http, "SendMessage", params, "1.0"))["result"]["task"] for _ in range(2)]
    assert (first["id"], first["contextId"]) == (again["id"], again["contextId"])
    assert first["status"]["message"]["parts"] == [{"text": "waits for a free slot"}]


@pytest.mark.parametrize(
    ("result", "parts"),
    [
        ("text", [{"text": "text"}]),
        ({"a": 1}, [{"data": {"a": 1}, "mediaType": "application/json"}]),
        ([1, None], [{"data": [1, None], "mediaType": "application/json"}]),
        ({"parts": [{"url": "https://example.org/a.png"}]}, [{"url": "https://example.org/a.png"}]),
        ({"artifacts": [{"artifactId": "a", "parts": [{"raw": "aGk="}]}]}, [{"raw": "aGk="}]),
        ({"parts": "of a car"}, [{"data": {"parts": "of a car"}, "mediaType": "application/json"}]),
        ({"parts": [{}]}, [{"data": {"parts": [{}]}, "mediaType": "application/json"}]),
        ("\ud800", [{"text": '"\\ud800"', "mediaType": "application/json"}]),  # protobuf has no half characters
        ({"n": 10**400}, [{"text": f'{{"n": {10**400}}}', "mediaType": "application/json"}]),  # and floats only
    ],
)
async def test_a_result_becomes_an_artifact(http, consumer, result: Any, parts: list[dict[str, Any]]):
    """Text and data stay as they are; a handler may return the protocol's own parts and artifacts."""
    sending = asyncio.create_task(posted(http, "SendMessage", {"message": current()}, "1.0"))
    await consumer.serve_one(result=result)
    (artifact,) = (await sending)["result"]["task"]["artifacts"]
    assert artifact["parts"] == parts


async def test_rest_errors_are_statuses_with_a_reason(http):
    """The error is a google.rpc.Status with the specification's reason, in the version that REST speaks."""
    answer = await http.get("/a2a/tasks/stranger", headers={"A2A-Version": "1.0", "Accept": "application/a2a+json"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/a2a+json")
    error = answer.json()["error"]
    assert (error["code"], error["status"], error["details"][0]["reason"]) == (404, "NOT_FOUND", "TASK_NOT_FOUND")
    old = await http.get("/a2a/tasks/stranger")
    assert old.headers["content-type"] == "application/json"
    assert (old.status_code, old.json()["error"]["details"][0]["reason"]) == (400, "VERSION_NOT_SUPPORTED")
    odd = await http.get("/a2a/tasks?pageSize=many", headers={"A2A-Version": "1.0"})
    assert (odd.status_code, odd.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    cut = await http.post("/a2a/message:send", content="{", headers=REST)
    assert (cut.status_code, cut.json()["error"]["code"]) == (400, 400)


async def test_a_stream_ends_when_its_token_does(gateway_factory, pool: PoolRef, tmp_path, consumer):
    """The stream ends with an error of the protocol, not with an end that looks like success."""
    gateway = await gateway_factory(recheck_s=0.1)
    async with gateway.client(SUBMITTER) as client:
        client.base_url = f"{gateway.url}/v1/namespaces/{pool.namespace}/pools/{pool.name}"
        body = {"jsonrpc": "2.0", "id": 7, "method": "SendStreamingMessage", "params": {"message": current()}}
        async with client.stream("POST", "/a2a", json=body, headers={"A2A-Version": "1.0"}) as answer:
            lines = (line async for line in answer.aiter_lines() if line.startswith("data: "))
            assert "task" in json.loads((await anext(lines))[6:])["result"]
            tokens = tmp_path / "tokens.yaml"
            tokens.write_text(tokens.read_text().replace(SUBMITTER, "x" * 32))
            last = [json.loads(line[6:]) async for line in lines][-1]
    assert (last["id"], last["error"]["code"]) == (7, -32051)


@pytest.mark.parametrize(
    ("identity", "task", "code"), [("1e999", '"t"', -32700), ("[]", '"t"', -32600), ("1", '"\\ud800"', -32602)]
)
async def test_meaningless_json_values_are_refused(http, identity: str, task: str, code: int):
    """A number out of range and a half character still get an answer."""
    body = f'{{"jsonrpc": "2.0", "id": {identity}, "method": "tasks/get", "params": {{"id": {task}}}}}'
    answer = await http.post("/a2a", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (200, code)


async def test_a_whole_number_beyond_floats_is_refused(call):
    """Protobuf has floats only: the answer names the parameters, and is no internal error."""
    sent = message("m1") | {"metadata": {"agentpool.dev/job": {"payload": 10**400}}}
    error = (await call("message/send", message=sent))["error"]
    assert error["code"] == -32602


async def test_a_full_queue_says_when_to_come_again(call, redis, pool: PoolRef):
    """Only maxDepth refuses; the error's data is the problem."""
    await Inspector(redis).configure(pool, PoolSettings(max_depth=1))
    await call("message/send", message=message("m1"))
    error = (await call("message/send", message=message("m2")))["error"]
    assert error["code"] == -32050
    assert int(error["data"][0]["metadata"]["retryAfterMs"]) > 0


async def asking_task(http, text: str = "approve") -> str:
    """Send a message whose task waits for a signal; return the task's id."""
    sent = current(identity=text, parts=[{"text": text}])
    task = (await posted(http, "SendMessage", {"message": sent}, "1.0"))["result"]["task"]
    assert task["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
    return task["id"]


async def test_an_approval_by_a_message_needs_the_verb_of_signals(http, gateway, workers):
    """A wait for a message is open to submitters; one for another signal is not, and gets the bare content."""
    workers.start(app="a2a_app:app")
    task_id = await asking_task(http)
    answer = {"message": current(identity="a", taskId=task_id, parts=[{"data": {"by": "Ada"}}])}
    async with gateway.client(SUBMITTER) as client:
        client.base_url = http.base_url
        refused = await client.post("/a2a/message:send", json=answer, headers={"A2A-Version": "1.0"})
        assert (refused.status_code, "manage" in refused.text) == (403, True)
        turn = {"message": current(identity="b", taskId=await asking_task(http, "ask"))}
        assert (await client.post("/a2a/message:send", json=turn, headers={"A2A-Version": "1.0"})).status_code == 200
    task = (await posted(http, "SendMessage", answer, "1.0"))["result"]["task"]
    assert task["artifacts"][0]["parts"][0]["data"] == {"approval": {"by": "Ada"}}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"signal": "another"}, "not a signal of the task; name one of approval"),
        ({"priority": "critical"}, "priority: not a field of a follow-up"),
        ({"signal": ["approval"]}, "not a signal of the task"),
    ],
)
async def test_a_follow_up_has_only_the_signal_as_option(http, workers, options: dict, expected: str):
    """The error names the field, and the task still waits."""
    workers.start(app="a2a_app:app")
    task_id = await asking_task(http)
    answer = current(identity="a", taskId=task_id, metadata={OPTIONS: options})
    error = (await posted(http, "SendMessage", {"message": answer}, "1.0"))["error"]
    assert (error["code"], expected in error["message"]) == (-32602, True), error
    job = (await http.get(f"/jobs/{task_id}")).json()
    assert (job["state"], job["waits_for"]) == ("waiting", ["approval"])


async def test_a_list_has_all_tasks_that_ended(http, consumer):
    """Also those that ended long ago; a filter by state reads the jobs of that state only."""
    await http.post("/jobs", json=[{"kind": "greet"}] * 250)
    while leases := await consumer.claim(100):
        await consumer.settle([Succeeded(job_id=each.job_id, token=each.token, result=None) for each in leases])
    query = {"status": "TASK_STATE_COMPLETED", "pageSize": 100}
    first = (await posted(http, "ListTasks", query, "1.0"))["result"]
    assert (first["totalSize"], len(first["tasks"]), bool(first["nextPageToken"])) == (250, 100, True)
    query["status"] = "TASK_STATE_INPUT_REQUIRED"
    assert (await posted(http, "ListTasks", query, "1.0"))["result"]["tasks"] == []
