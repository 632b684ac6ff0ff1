"""Webhooks over a real gateway: to a real receiver, signed, retried, and to no other place."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import pytest
from aiohttp import web

from agentpool_core.jobs import PoolRef
from agentpool_gateway.delivery.destinations import Destinations
from agentpool_gateway.delivery.resolving import CheckedResolver
from agentpool_gateway.delivery.sending import CONNECTIONS_A_HOST, Sender
from agentpool_gateway.message_descriptions import CLOUD_EVENT
from tests.fixtures import gateways as tokens
from tests.fixtures.redis import wait_until


@pytest.fixture
async def base(gateway_factory, delivering, pool):
    """A client of such a gateway, based at the test's pool."""
    gateway = await gateway_factory(**delivering)
    async with gateway.client() as client:
        client.base_url = f"{gateway.url}/v1/namespaces/{pool.namespace}/pools/{pool.name}"
        yield client


async def deliveries_of(client, job_id: str, outcome: str):
    """The deliveries of a job once one has this outcome."""

    async def found():
        listed = (await client.get(f"/jobs/{job_id}/webhooks")).json()["deliveries"]
        return [each for each in listed if each["outcome"] == outcome]

    return await wait_until(found, f"a delivery is {outcome}")


async def test_the_end_of_a_job_arrives_as_a_signed_cloud_event(base, receiver, consumer, pool):
    """The event has the job's record with the result; the secret of the pool verifies the signature."""
    job_id = (await base.post("/jobs", json={"kind": "greet", "webhook": {"url": receiver.url}})).json()["job_id"]
    await consumer.serve_one(result={"text": "done"})
    (delivery,) = await deliveries_of(base, job_id, "delivered")
    assert (delivery["webhook"], delivery["change"], delivery["answer"]) == ("submit", "succeeded", "204 No Content")
    ((request, body),) = receiver.requests
    event = json.loads(body)
    jsonschema.validate(event, CLOUD_EVENT)  # as /openapi.json describes the message
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert (event["specversion"], event["type"], event["subject"]) == ("1.0", "dev.agentpool.job.succeeded", job_id)
    assert event["source"] == f"/v1/namespaces/{pool.namespace}/pools/{pool.name}"
    assert (event["data"]["state"], event["data"]["result"]) == ("succeeded", {"text": "done"})
    assert event["id"] == request.headers["webhook-id"]
    (secret,) = (await base.get("/webhook-secrets")).json()["secrets"]
    signed = f"{event['id']}.{request.headers['webhook-timestamp']}.".encode() + body
    expected = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    assert request.headers["webhook-signature"] == "v1," + base64.b64encode(expected).decode()


async def test_a_receiver_that_fails_gets_the_same_message_again(base, receiver, consumer):
    """After an error and after a redirect, which is not followed; with the same id; the state shows the tries."""
    receiver.answers = [web.Response(status=500), web.Response(status=302, headers={"Location": "/elsewhere"})]
    jobs = [{"kind": "greet", "webhook": {"url": receiver.url}}]
    job_id = (await base.post("/jobs", json=jobs)).json()["jobs"][0]["job_id"]
    await consumer.serve_one(error="no")
    (delivery,) = await deliveries_of(base, job_id, "delivered")
    assert (delivery["change"], delivery["tries"]) == ("failed", 3)
    assert {request.path for request, _ in receiver.requests} == {"/hook"}
    assert len({request.headers["webhook-id"] for request, _ in receiver.requests}) == 1


async def test_a_receiver_that_wants_no_more_is_left_alone(base, receiver, consumer):
    """410 ends the tries until the message is sent again on request; the state has the answer."""
    receiver.answers = [web.Response(status=410)]
    job_id = (await base.post("/jobs", json={"kind": "greet", "webhook": {"url": receiver.url}})).json()["job_id"]
    await consumer.serve_one()
    (delivery,) = await deliveries_of(base, job_id, "failed")
    assert (delivery["tries"], delivery["answer"]) == (1, "410 Gone")
    again = await base.post(f"/jobs/{job_id}/webhooks/submit/redeliver")
    assert (again.status_code, again.json()) == (200, {"name": "submit", "messages": 1})
    await deliveries_of(base, job_id, "delivered")
    assert (await base.post(f"/jobs/{job_id}/webhooks/submit/redeliver")).status_code == 422
    for method, path in (("POST", "stranger/redeliver"), ("DELETE", "stranger")):
        unknown = await base.request(method, f"/jobs/{job_id}/webhooks/{path}")
        assert (unknown.status_code, unknown.json()["field"]) == (404, "name")
        assert unknown.json()["type"] == "urn:agentpool:problem:unknown-webhook"


async def test_two_gateways_share_the_messages(gateway_factory, delivering, receiver, base, consumer):
    """Each message arrives once, although both look at the outbox."""
    await gateway_factory(**delivering)
    for _ in range(10):
        await base.post("/jobs", json={"kind": "greet", "webhook": {"url": receiver.url}})
    ids = [(await consumer.serve_one()).job_id for _ in range(10)]
    for job_id in ids:
        await deliveries_of(base, job_id, "delivered")
    assert sorted(json.loads(body)["subject"] for _, body in receiver.requests) == sorted(ids)


async def test_a_webhook_of_a_present_job_is_put_listed_and_deleted(base, receiver, consumer):
    """An ended job sends its message at once; a deleted webhook sends none."""
    job_id = (await base.post("/jobs", json={"kind": "greet"})).json()["job_id"]
    hook = {"url": receiver.url, "changes": ["succeeded"]}
    put = await base.put(f"/jobs/{job_id}/webhooks/mine", json=hook)
    assert put.json() == {"name": "mine", "format": "cloudevents", **hook}
    assert (await base.get(f"/jobs/{job_id}/webhooks")).json() == {"webhooks": [put.json()], "deliveries": []}
    assert (await base.delete(f"/jobs/{job_id}/webhooks/mine")).json()["outcome"] == "deleted"
    await consumer.serve_one()
    assert receiver.requests == []
    await base.put(f"/jobs/{job_id}/webhooks/mine", json=hook)
    await deliveries_of(base, job_id, "delivered")


async def test_a_private_address_is_not_reached_by_name_or_number(
    gateway_factory, delivering, receiver, pool, consumer
):
    """An allowed name that leads to a private address is given up at once, and no connection is made."""
    gateway = await gateway_factory(**delivering | {"webhook_networks": ()})
    async with gateway.client() as client:
        client.base_url = f"{gateway.url}/v1/namespaces/{pool.namespace}/pools/{pool.name}"
        for host in ("localhost", "127.0.0.1"):
            hook = {"url": f"https://{host}:{receiver.port}/"}
            answer = await client.post("/jobs", json={"kind": "greet", "webhook": hook})
            await consumer.serve_one()
            (delivery,) = await deliveries_of(client, answer.json()["job_id"], "failed")
            assert "no address" in delivery["answer"]
    assert receiver.requests == []


@pytest.mark.parametrize(
    ("hook", "field"),
    [
        ({"url": "https://elsewhere.example/"}, "url"),
        ({"url": "https://localhost/", "changes": ["started"]}, "changes"),
        ({"url": "https://localhost/", "changes": []}, "changes"),
        ({"url": "https://localhost/", "secret": "x"}, "secret"),
        ({}, "url"),
        (5, "webhook"),
    ],
)
async def test_a_webhook_that_cannot_be_used_refuses_the_submit(base, hook, field):
    """422 names the field, and no job is stored."""
    answer = await base.post("/jobs", json={"kind": "greet", "webhook": hook})
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert (await base.get("/jobs:count")).json() == {"count": 0}


async def test_webhooks_are_off_by_default_and_secrets_need_a_verb(gateway, http, pool):
    """The refusal names the option; a reader may not see the secrets."""
    answer = await http.post("/jobs", json={"kind": "greet", "webhook": {"url": "https://localhost/"}})
    assert answer.status_code == 422
    assert "--webhook-host" in answer.json()["remedy"]
    async with gateway.client(tokens.READER) as reader:
        refused = await reader.get(f"/v1/namespaces/{pool.namespace}/pools/{pool.name}/webhook-secrets")
    assert refused.status_code == 403


async def test_a_slow_receiver_delays_no_other(gateway_factory, delivering, receiver, pool, consumer):
    """While one receiver does not answer, the message to another arrives."""
    gateway = await gateway_factory(**delivering)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        async with gateway.client() as client:
            client.base_url = f"{gateway.url}/v1/namespaces/{pool.namespace}/pools/{pool.name}"
            await client.post("/jobs", json={"kind": "greet", "webhook": {"url": f"http://127.0.0.1:{port}/"}})
            quick = (await client.post("/jobs", json={"kind": "greet", "webhook": {"url": receiver.url}})).json()
            await consumer.serve_one()
            await consumer.serve_one()
            await deliveries_of(client, quick["job_id"], "delivered")


async def test_a_slow_receiver_of_a_pool_delays_no_other_pool(delivering, receiver):
    """While requests of one pool wait on all its connections to a host, a request of another pool goes through."""
    waiting, answered = asyncio.Semaphore(0), asyncio.Event()

    async def hold(request: web.Request) -> web.Response:
        waiting.release()
        await answered.wait()
        return web.Response(status=204)

    receiver.holds = hold
    destinations = Destinations.parse(delivering["webhook_hosts"], delivering["webhook_networks"])
    sender = Sender(destinations, timeout_s=60.0)
    try:
        async with asyncio.TaskGroup() as sends:
            for _ in range(2 * CONNECTIONS_A_HOST):
                sends.create_task(sender.send(PoolRef("test", "slow"), receiver.url, b"", {}))
            for _ in range(CONNECTIONS_A_HOST):
                await waiting.acquire()
            receiver.holds = None
            assert (await sender.send(PoolRef("test", "quick"), receiver.url, b"", {})).ok
            answered.set()
    finally:
        await sender.close()


async def test_a_name_server_that_hangs_delays_only_its_pool(monkeypatch):
    """Look-ups of a pool wait for two threads; another pool's look-up, and the gateway's own threads, go on."""
    hanging, looked_up = threading.Event(), socket.getaddrinfo
    asked: list[str] = []

    def look_up(host: str, *rest: object, **more: object) -> object:
        asked.append(host)
        if host == "slow.example.org":
            hanging.wait(timeout=60)
        return looked_up("127.0.0.1", *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    destinations = Destinations.parse(("*.example.org",), ("127.0.0.0/8",))
    with ThreadPoolExecutor(3) as threads:
        slow, quick = (CheckedResolver(destinations, secure=True, threads=threads) for _ in range(2))
        lookups = [asyncio.create_task(slow.resolve("slow.example.org", 443)) for _ in range(5)]
        try:
            await wait_until(lambda: asked.count("slow.example.org") == 2, "two look-ups hang")
            lookups[0].cancel()  # the sender gave up; the thread is still busy
            (found,) = await quick.resolve("quick.example.org", 443)
            assert (found["host"], asked.count("slow.example.org")) == ("127.0.0.1", 2)
        finally:
            hanging.set()
        assert len(await asyncio.gather(*lookups[1:])) == 4


async def test_a_submitter_gets_no_result_of_a_kept_job(gateway_factory, delivering, receiver, pool, consumer):
    """`keep` returns the job of a key whatever its body: a webhook then needs `manage`; without one the job is kept."""
    gateway = await gateway_factory(**delivering)
    at = f"/v1/namespaces/{pool.namespace}/pools/{pool.name}/jobs"
    job = {"kind": "greet", "idempotency_key": "k", "webhook": {"url": f"{receiver.url}?mine"}}
    other = job | {"payload": 2, "on_conflict": "keep", "webhook": {"url": receiver.url}}
    async with gateway.client() as owner, gateway.client(tokens.SUBMITTER) as stranger:
        first = (await owner.post(at, json=job)).json()
        refusal = await stranger.post(at, json=other)
        assert (refusal.status_code, refusal.json()["type"]) == (403, "urn:agentpool:problem:forbidden")
        del other["webhook"]
        assert (await stranger.post(at, json=other)).json()["job_id"] == first["job_id"]
        await consumer.serve_one(result="mine")
        owner.base_url = f"{gateway.url}/v1/namespaces/{pool.namespace}/pools/{pool.name}"
        await deliveries_of(owner, first["job_id"], "delivered")
    assert [request.path_qs for request, _ in receiver.requests] == ["/hook?mine"]
