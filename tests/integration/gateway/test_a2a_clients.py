"""The protocol's official client, a real gateway and a real worker: JSON-RPC and REST of A2A 1.0, JSON-RPC of 0.3."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from a2a.client import A2ACardResolver, Client, ClientConfig, ClientFactory
from a2a.client.errors import A2AClientError
from a2a.helpers import get_artifact_text, get_stream_response_text, new_data_message, new_text_message
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import (
    A2AError,
    PushNotificationNotSupportedError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from a2a.utils.signing import InvalidSignaturesError, create_signature_verifier
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt import PyJWK

from agentpool_core.jobs import PoolRef
from agentpool_core.queue import Inspector, PoolSettings, Route
from tests.fixtures.gateways import Served
from tests.fixtures.workers import until

COMPLETED, WORKING = pb.TASK_STATE_COMPLETED, pb.TASK_STATE_WORKING
SPOKEN = [("JSONRPC", "1.0"), ("HTTP+JSON", "1.0"), ("JSONRPC", "0.3")]


def text_message(text: str, **fields) -> pb.Message:
    return new_text_message(text, role=pb.ROLE_USER, **fields)


class Remote:
    """The official client of an agent."""

    def __init__(self, card: pb.AgentCard, client: Client) -> None:
        self.card = card
        self.client = client

    async def send(self, message: pb.Message, **configuration) -> pb.Task:
        """Send a message; return the task that the client reports at the end."""
        request = pb.SendMessageRequest(message=message, configuration=pb.SendMessageConfiguration(**configuration))
        seen = [update async for update in self.client.send_message(request)]
        task_id = seen[0].task.id or seen[-1].status_update.task_id
        return await self.client.get_task(pb.GetTaskRequest(id=task_id))

    def stream(self, message: pb.Message) -> AsyncIterator[pb.StreamResponse]:
        return self.client.send_message(pb.SendMessageRequest(message=message))

    async def begin(self, text: str, **fields) -> pb.Task:
        """Send a task, and leave the stream of that task."""
        async with aclosing(self.stream(text_message(text, **fields))) as updates:
            async for update in updates:
                return update.task
        raise AssertionError("the stream was empty")

    async def get(self, task_id: str, **params) -> pb.Task:
        return await self.client.get_task(pb.GetTaskRequest(id=task_id, **params))

    async def until_state(self, task_id: str, state: pb.TaskState) -> None:
        async def reached() -> bool:
            return (await self.get(task_id)).status.state == state

        await until(reached, f"the task is {pb.TaskState.Name(state)}")


@pytest.fixture
async def speak(http, gateway, workers):
    """Return the official client in one binding and version, after discovery by the agent card."""
    workers.start(app="a2a_app:app")
    opened = []

    async def start(
        binding: str = "JSONRPC", version: str = "1.0", *, streaming: bool = True, at: Served | None = None
    ) -> Remote:
        if at is not None:
            http.base_url = str(http.base_url).replace(gateway.url, at.url)
        card = await A2ACardResolver(http, f"{http.base_url}a2a").get_agent_card()
        kept = [i for i in card.supported_interfaces if (i.protocol_binding, i.protocol_version) == (binding, version)]
        chosen = pb.AgentCard.FromString(card.SerializeToString())
        del chosen.supported_interfaces[:]
        chosen.supported_interfaces.extend(kept)
        config = ClientConfig(httpx_client=http, supported_protocol_bindings=[binding], streaming=streaming)
        http.headers.pop("A2A-Version", None)
        opened.append(ClientFactory(config).create(chosen))
        if version == "0.3":
            del http.headers["A2A-Version"]  # a shared HTTP client of a process that also speaks 1.0
        return Remote(card, opened[-1])

    return start


@pytest.fixture(params=SPOKEN, ids=[f"{binding} {version}" for binding, version in SPOKEN])
async def remote(request: pytest.FixtureRequest, speak) -> Remote:
    """The official client in each binding and version."""
    return await speak(*request.param)


async def test_the_client_discovers_the_agent(http, gateway, speak, redis, pool: PoolRef):
    """The card is at the well-known address below the agent's URL in the catalogue, with the pool's kinds."""
    await Inspector(redis).configure(pool, PoolSettings(routes=(Route(name="text", kinds=("summarize", "greet")),)))
    agents = (await http.get(f"{gateway.url}/v1/a2a/agents")).json()["agents"]
    (agent,) = [each for each in agents if each["name"] == str(pool)]
    card = await A2ACardResolver(http, agent["url"]).get_agent_card()
    assert card.name == pool.name
    assert [(i.url, i.protocol_binding, i.protocol_version) for i in card.supported_interfaces] == [
        (agent["url"], binding, version) for binding, version in SPOKEN
    ]
    assert [skill.id for skill in card.skills] == ["summarize", "greet", "message"]
    assert card.capabilities.streaming
    assert not card.capabilities.push_notifications
    assert card.capabilities.extended_agent_card
    assert card.security_schemes["bearer"].http_auth_security_scheme.scheme == "bearer"
    assert "bearer" in card.security_requirements[0].schemes


async def test_a_sent_message_comes_back_completed(remote: Remote):
    """The client waits for the end, and gets the result as an artifact and the sent message as history."""
    task = await remote.send(text_message("hello"))
    assert (task.status.state, get_artifact_text(task.artifacts[0])) == (COMPLETED, "you said hello")
    assert task.status.timestamp.seconds > 0
    (sent,) = task.history
    assert (sent.role, sent.parts[0].text, sent.task_id) == (pb.ROLE_USER, "hello", task.id)
    assert sent.context_id == task.context_id


async def test_a_client_without_streams_waits_for_the_end(speak):
    """`SendMessage` returns the completed task; with `returnImmediately`, the running task."""
    remote = await speak(streaming=False)
    request = pb.SendMessageRequest(message=text_message("hello"))
    (answer,) = [update async for update in remote.client.send_message(request)]
    assert answer.task.status.state == COMPLETED
    waiting = pb.SendMessageRequest(message=text_message("wait"))
    waiting.configuration.return_immediately = True
    (answer,) = [update async for update in remote.client.send_message(waiting)]
    assert answer.task.status.state in {pb.TASK_STATE_SUBMITTED, WORKING}
    await remote.client.cancel_task(pb.CancelTaskRequest(id=answer.task.id))


async def test_a_stream_has_states_progress_and_result_in_order(remote: Remote):
    """The task comes first, then its changes; the artifact comes before the last status, which ends the stream."""
    seen = [update async for update in remote.stream(text_message("count"))]
    kinds = [update.WhichOneof("payload") for update in seen]
    assert kinds == ["task", *["status_update"] * 3, "artifact_update", "status_update"]
    assert seen[0].task.status.state == pb.TASK_STATE_SUBMITTED
    assert [update.status_update.status.state for update in seen[1:4]] == [WORKING] * 3
    texts = [get_stream_response_text(update) for update in seen[1:5]]
    assert texts == ["started", 'progress: "one"', 'progress: "two"', "three"]
    assert seen[-1].status_update.status.state == COMPLETED


async def test_data_arrives_with_the_numbers_that_were_sent(remote: Remote):
    """An integer stays an integer for the handler, although protobuf has floating-point numbers only."""
    task = await remote.send(new_data_message({"count": 42, "share": 0.5}, role=pb.ROLE_USER))
    seen = dict(task.artifacts[0].parts[0].data.struct_value["seen"])
    assert seen == {"count": 42, "share": 0.5}


async def test_a_failure_is_reported_without_a_traceback(remote: Remote, http):
    """The status has the first line of the error; the gateway's API has the rest."""
    message = text_message("break")
    message.metadata.update({"agentpool.dev/job": {"max_attempts": 1}, "somebody.else": {"x": 1}})
    task = await remote.send(message)
    assert task.status.state == pb.TASK_STATE_FAILED
    assert task.status.message.parts[0].text == "ValueError: the model was not found"
    assert "Traceback" not in str(task)
    assert "a2a_app.py" in (await http.get(f"/jobs/{task.id}")).json()["error"]


async def test_a_task_is_cancelled_once(remote: Remote):
    """The answer has the task canceled; a second cancellation is refused with the protocol's error."""
    task = await remote.begin("wait")
    await remote.until_state(task.id, WORKING)
    cancelled = await remote.client.cancel_task(pb.CancelTaskRequest(id=task.id))
    assert cancelled.status.state == pb.TASK_STATE_CANCELED
    with pytest.raises(TaskNotCancelableError):
        await remote.client.cancel_task(pb.CancelTaskRequest(id=task.id))


async def test_a_subscriber_sees_the_end_of_a_task(remote: Remote):
    """Any number of subscribers start at the current state; an ended task has no stream."""
    task = await remote.begin("wait")
    await remote.until_state(task.id, WORKING)
    heard: list[list[pb.StreamResponse]] = [[], []]

    async def subscribe(to: list[pb.StreamResponse]) -> None:
        async for update in remote.client.subscribe(pb.SubscribeToTaskRequest(id=task.id)):
            to.append(update)  # noqa: PERF401 - while the stream is open

    subscribers = [asyncio.create_task(subscribe(to)) for to in heard]
    await until(lambda: all(heard), "both have the task")
    await remote.client.cancel_task(pb.CancelTaskRequest(id=task.id))
    await asyncio.gather(*subscribers)
    for updates in heard:
        assert updates[0].task.status.state == WORKING
        assert updates[-1].status_update.status.state == pb.TASK_STATE_CANCELED
    with pytest.raises((UnsupportedOperationError, A2AClientError), match="ended"):
        await anext(remote.client.subscribe(pb.SubscribeToTaskRequest(id=task.id)))


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
async def test_tasks_are_listed_newest_first_page_by_page(speak, binding: str):
    """Lists filter by context and state, with or without artifacts; a page continues after the last page."""
    remote = await speak(binding)
    context = str(uuid.uuid4())
    sent = [(await remote.send(text_message(f"no {number}", context_id=context))).id for number in range(5)]
    await remote.send(text_message("elsewhere"))
    listed, token, pages = [], "", 0
    while pages == 0 or token:
        request = pb.ListTasksRequest(context_id=context, page_size=2, page_token=token)
        answer = await remote.client.list_tasks(request)
        listed += [task.id for task in answer.tasks]
        assert not any(task.artifacts for task in answer.tasks)
        token, pages = answer.next_page_token, pages + 1
        assert answer.total_size == 5
    assert (listed, pages) == (sent[::-1], 3)
    request = pb.ListTasksRequest(context_id=context, status=COMPLETED, include_artifacts=True, history_length=0)
    answer = await remote.client.list_tasks(request)
    assert len(answer.tasks) > 0
    assert all(task.artifacts and not task.history for task in answer.tasks)
    assert not (await remote.client.list_tasks(pb.ListTasksRequest(status=WORKING))).tasks


async def test_a_follow_up_never_becomes_a_new_task(remote: Remote, http):
    """An unknown task, an ended task, a running task and a wrong context each have a specific error."""
    with pytest.raises(TaskNotFoundError):
        await remote.send(text_message("more", task_id="stranger"))
    ended = await remote.send(text_message("hello"))
    with pytest.raises((UnsupportedOperationError, A2AClientError), match="has ended"):
        await remote.send(text_message("more", task_id=ended.id))
    running = await remote.begin("wait")
    with pytest.raises((UnsupportedOperationError, A2AClientError), match="does not wait for a message"):
        await remote.send(text_message("more", task_id=running.id, context_id=running.context_id))
    with pytest.raises(A2AError, match="contextId"):
        await remote.send(text_message("more", task_id=running.id, context_id="another"))
    assert (await http.get("/queue")).json()["totals"]["submitted"] == 2
    await remote.client.cancel_task(pb.CancelTaskRequest(id=running.id))


async def test_a_task_asks_and_goes_on_with_the_answer(remote: Remote):
    """A wait for a message is a question; the follow-up with the task's id answers it, and the history has both."""
    asked = await remote.send(text_message("ask"))
    assert asked.status.state == pb.TASK_STATE_INPUT_REQUIRED
    assert asked.status.message.parts[0].text == "Which city?"
    answer = text_message("Oslo", task_id=asked.id, context_id=asked.context_id)
    again = await remote.send(answer)
    assert (again.id, again.status.state) == (asked.id, pb.TASK_STATE_INPUT_REQUIRED)
    assert dict(again.status.message.parts[0].data.struct_value) == {"unit": ["C", "F"]}
    assert (await remote.send(answer)).status.state == pb.TASK_STATE_INPUT_REQUIRED  # repeated: delivered once
    done = await remote.send(new_data_message({"unit": "C"}, role=pb.ROLE_USER, task_id=asked.id))
    assert (done.status.state, get_artifact_text(done.artifacts[0])) == (COMPLETED, "weather in Oslo, in C")
    said = [(message.role, message.parts[0].text) for message in done.history]
    assert said[:3] == [(pb.ROLE_USER, "ask"), (pb.ROLE_AGENT, "Which city?"), (pb.ROLE_USER, "Oslo")]
    assert [message.role for message in done.history[3:]] == [pb.ROLE_AGENT, pb.ROLE_USER]
    assert {message.task_id for message in done.history} == {asked.id}
    assert len((await remote.get(asked.id, history_length=2)).history) == 2


async def test_a_stream_ends_with_the_question(remote: Remote):
    """The answer has a stream of its own, which goes on to the next question."""
    seen = [update async for update in remote.stream(text_message("ask"))]
    task_id, last = seen[0].task.id, seen[-1].status_update.status
    assert (last.state, last.message.parts[0].text) == (pb.TASK_STATE_INPUT_REQUIRED, "Which city?")
    seen = [update async for update in remote.stream(text_message("Oslo", task_id=task_id))]
    assert seen[0].task.id == task_id
    last = seen[-1].status_update.status if seen[1:] else seen[0].task.status
    assert (last.state, last.message.parts[0].WhichOneof("content")) == (pb.TASK_STATE_INPUT_REQUIRED, "data")
    await remote.client.cancel_task(pb.CancelTaskRequest(id=task_id))


def chunk_of(update: pb.StreamResponse) -> tuple:
    found = update.artifact_update
    (part,) = found.artifact.parts
    content = part.text if part.WhichOneof("content") == "text" else dict(part.data.struct_value)
    return found.artifact.artifact_id.partition("-")[0], content, found.append, found.last_chunk


async def test_output_is_streamed_as_artifacts(remote: Remote):
    """Each run of the handler has an artifact, to which its chunks are appended; the task has them all."""
    seen = [update async for update in remote.stream(text_message("emit"))]
    chunks = [chunk_of(update) for update in seen if update.HasField("artifact_update")]
    assert chunks == [
        ("output", "one ", False, False),
        ("output", "two ", True, False),
        ("output", {"three": 3}, True, False),
        ("output", "", True, True),
    ]
    task_id = seen[0].task.id
    task = await remote.send(text_message("go on", task_id=task_id))
    assert [artifact.artifact_id.partition("-")[0] for artifact in task.artifacts] == ["output", "output", "result"]
    assert [part.text for part in task.artifacts[0].parts] == ["one two ", ""]
    assert [get_artifact_text(artifact) for artifact in task.artifacts[1:]] == ["four", "done"]


async def test_a_subscriber_goes_on_after_a_restart_of_the_gateway(
    speak, gateway: Served, gateway_factory, workers, tmp_path
):
    """The closing gateway ends the stream; at the next one the task has what was sent, and the rest follows."""
    remote = await speak()
    updates = remote.stream(text_message("drip"))
    task_id = ""
    async with aclosing(updates):
        async for update in updates:
            task_id = task_id or update.task.id
            if update.HasField("artifact_update"):
                gateway.app.state.gateway.draining.close()
    second = await speak(at=await gateway_factory())
    stream = second.client.subscribe(pb.SubscribeToTaskRequest(id=task_id))
    (first, *rest) = [await anext(stream)]
    assert get_artifact_text(first.task.artifacts[0]) == "before "
    (tmp_path / "go").touch()
    rest = [chunk_of(update)[1:] async for update in stream if update.HasField("artifact_update")]
    assert rest == [("after", True, False), ("", True, True)]
    assert (await second.get(task_id)).status.state == COMPLETED


async def test_a_message_whose_task_was_closed_is_a_new_one(speak):
    """A repeated message returns its task, until its sender has ended that task."""
    remote = await speak()
    sent = text_message("ask")
    first = await remote.send(sent)
    assert (await remote.send(sent)).id == first.id
    await remote.client.cancel_task(pb.CancelTaskRequest(id=first.id))
    second = await remote.send(sent)
    assert (second.id != first.id, second.status.state) == (True, pb.TASK_STATE_INPUT_REQUIRED)
    assert (await remote.send(sent)).id == second.id


async def test_history_has_the_requested_length(speak):
    """The default is the whole history; 0 returns none."""
    remote = await speak()
    task = await remote.send(text_message("hello"))
    assert len((await remote.get(task.id, history_length=5)).history) == 1
    assert not (await remote.get(task.id, history_length=0)).history


async def test_push_notifications_are_refused_as_the_card_says(remote: Remote):
    """A single call and a message with a push configuration get the specification's error."""
    config = pb.TaskPushNotificationConfig(task_id="t", url="https://example.org/push")
    with pytest.raises((PushNotificationNotSupportedError, A2AClientError), match="not supported"):
        await remote.client.create_task_push_notification_config(config)
    with pytest.raises((PushNotificationNotSupportedError, A2AClientError), match="not supported"):
        await remote.send(text_message("hello"), task_push_notification_config=config)


@pytest.mark.parametrize(("binding", "version"), SPOKEN)
async def test_a_push_brings_the_task_and_its_credentials(
    binding: str, version: str, gateway_factory, delivering, receiver, speak
):
    """A question and the end arrive at the address of a message, signed, with the token and the credentials."""
    remote = await speak(binding, version, at=await gateway_factory(**delivering))
    assert remote.card.capabilities.push_notifications
    config = pb.TaskPushNotificationConfig(id="mine", url=receiver.url, token="t-1")
    config.authentication.scheme, config.authentication.credentials = "Bearer", "secret"
    task = await remote.send(text_message("approve"), task_push_notification_config=config)
    await until(lambda: receiver.requests, "the question has arrived")
    await remote.send(text_message("yes", task_id=task.id))
    await until(lambda: len(receiver.requests) == 2, "the end has arrived")
    found = [json.loads(body) for _, body in receiver.requests]
    tasks = [each if version == "0.3" else each["task"] for each in found]
    states = [each["status"]["state"].lower().removeprefix("task_state_").replace("-", "_") for each in tasks]
    assert (states, {each["id"] for each in tasks}) == (["input_required", "completed"], {task.id})
    assert tasks[1]["artifacts"][0]["parts"][0]["data"] == {"approval": "yes"}
    headers = receiver.requests[0][0].headers
    assert (headers["Authorization"], headers["X-A2A-Notification-Token"]) == ("Bearer secret", "t-1")
    assert headers["webhook-signature"].startswith("v1,")


async def test_push_configurations_are_kept_without_their_secrets_shown(gateway_factory, delivering, receiver, speak):
    """Create, get, list and delete; an unknown one is not found, and a deletion may be repeated."""
    remote = await speak(at=await gateway_factory(**delivering))
    task = await remote.begin("wait")
    config = pb.TaskPushNotificationConfig(id="mine", task_id=task.id, url=receiver.url, token="t-1")
    config.authentication.scheme, config.authentication.credentials = "Bearer", "secret"
    made = await remote.client.create_task_push_notification_config(config)
    assert (made.id, made.task_id, made.url, made.authentication.scheme) == ("mine", task.id, receiver.url, "Bearer")
    assert not made.authentication.credentials + made.token
    wanted = pb.GetTaskPushNotificationConfigRequest(task_id=task.id, id="mine")
    assert await remote.client.get_task_push_notification_config(wanted) == made
    listed = pb.ListTaskPushNotificationConfigsRequest(task_id=task.id)
    assert list((await remote.client.list_task_push_notification_configs(listed)).configs) == [made]
    elsewhere = pb.TaskPushNotificationConfig(task_id=task.id, url="https://elsewhere.example.org/push")
    with pytest.raises(A2AError, match="not allowed"):
        await remote.client.create_task_push_notification_config(elsewhere)
    for _ in range(2):
        gone = pb.DeleteTaskPushNotificationConfigRequest(task_id=task.id, id="mine")
        await remote.client.delete_task_push_notification_config(gone)
    with pytest.raises(TaskNotFoundError, match="no push configuration"):
        await remote.client.get_task_push_notification_config(wanted)
    await remote.client.cancel_task(pb.CancelTaskRequest(id=task.id))


async def test_the_extended_card_has_limits_and_options(remote: Remote, redis, pool: PoolRef):
    """For readers of the pool: how much runs at once, and the schema of the fields in a message's metadata."""
    routes = (Route(name="text", kinds=("greet",), max_running=2),)
    await Inspector(redis).configure(pool, PoolSettings(routes=routes))
    card = await remote.client.get_extended_agent_card(pb.GetExtendedAgentCardRequest())
    (skill,) = [skill for skill in card.skills if skill.id == "greet"]
    assert "At most 2 at once." in skill.description


async def test_a_signed_card_verifies_with_the_public_keys(gateway_factory, http, tmp_path):
    """The official verifier accepts the card as it is, and no changed card; the same card keeps its signature."""
    file = tmp_path / "card-key.pem"
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    file.write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(pem, pkcs8, serialization.NoEncryption()))
    signing = await gateway_factory(a2a_card_key=file)
    url = f"{signing.url}/v1/namespaces/{http.base_url.path.split('/')[3]}/pools/{http.base_url.path.split('/')[5]}/a2a"
    keys = {key["kid"]: PyJWK(key) for key in (await http.get(f"{signing.url}/v1/a2a/jwks.json")).json()["keys"]}
    verify = create_signature_verifier(lambda kid, jku: keys[kid], ["ES256"])
    card = await A2ACardResolver(http, url).get_agent_card(signature_verifier=verify)
    assert (await A2ACardResolver(http, url).get_agent_card()).signatures == card.signatures
    card.description = "another"
    with pytest.raises(InvalidSignaturesError):
        verify(card)
