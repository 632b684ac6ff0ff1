"""Requests of strangers: tokens, sizes, shapes, slowness, forged names."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import httpx
import pytest

from agentpool_core.jobs import PoolRef
from agentpool_gateway.pools import queues
from tests.fixtures import gateways as tokens
from tests.fixtures.hostile import hostile_redis


def at(pool: PoolRef) -> str:
    return f"/v1/namespaces/{pool.namespace}/pools/{pool.name}"


@pytest.mark.parametrize("token", [None, "-", "wrong", tokens.EXPIRED, tokens.ADMIN[:-1], "ü" * 32])
async def test_a_request_without_a_good_token_is_refused(gateway, pool: PoolRef, token: str | None):
    """401 names the authentication scheme, and nothing of the pool."""
    async with gateway.client(None) as client:
        headers = {b"Authorization": b"Bearer " + token.encode()} if token is not None else {}
        answer = await client.get(f"{at(pool)}/queue", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert pool.name not in answer.json()["detail"]


@pytest.mark.parametrize(
    ("token", "statuses"),
    [
        (tokens.READER, (200, 403, 403)),
        (tokens.SUBMITTER, (200, 202, 403)),
        (tokens.ELSEWHERE, (403, 403, 403)),
        (tokens.ADMIN, (200, 202, 200)),
    ],
)
async def test_a_token_is_limited_to_its_verbs_and_namespaces(
    gateway, pool, token: str, statuses: tuple[int, int, int]
):
    """A token is limited by verb (read, submit, manage) and by namespace."""
    async with gateway.client(token) as client:
        read = await client.get(f"{at(pool)}/queue")
        submit = await client.post(f"{at(pool)}/jobs", json={"kind": "a"})
        manage = await client.delete(f"{at(pool)}/dead")
    assert (read.status_code, submit.status_code, manage.status_code) == statuses


async def test_a_hidden_pool_looks_like_a_missing_pool(gateway, pool: PoolRef):
    """An existing and a missing pool get the same 403."""
    async with gateway.client(tokens.ELSEWHERE) as client:
        statuses = {
            (await client.get(f"/v1/namespaces/test/pools/{name}/queue")).status_code for name in (pool.name, "no")
        }
    assert statuses == {403}


async def test_a_missing_pool_is_a_404_with_the_remedy(gateway):
    """The 404 goes to callers with the right to see the pool."""
    async with gateway.client() as client:
        answer = await client.get("/v1/namespaces/test/pools/nobody/queue")
    assert answer.status_code == 404
    assert "apply the AgentPool" in answer.json()["remedy"] + answer.json()["detail"]


@pytest.mark.parametrize("name", ["..", "%2e%2e", "a%2fb", "UPPER", "a%00b", "x" * 300, "a%0d%0aSet-Cookie:x", "{}"])
async def test_a_name_cannot_lead_elsewhere(gateway, name: str):
    """Path tricks end as 400 or 404, never as a different pool, never as a 500."""
    async with gateway.client() as client:
        answer = await client.get(f"{gateway.url}/v1/namespaces/test/pools/{name}/queue")
    assert answer.status_code in {400, 404}
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "namespaces/test%2Fpools/POOL/queue",
        "namespaces%2ftest/pools/POOL/queue",
        "namespaces/test/pools/POOL%2Fqueue",
        "namespaces/test/pools/POOL/jobs/stranger%2Fresult",
    ],
)
async def test_an_encoded_slash_is_no_slash(gateway, pool: PoolRef, path: str):
    """A proxy that guards a path by a prefix would pass the request, and the gateway would see a different route."""
    async with gateway.client() as client:
        answer = await client.get(f"{gateway.url}/v1/{path.replace('POOL', pool.name)}")
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:agentpool:problem:encoded-slash")


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{}", "text/plain", 415),
        (b"{}", None, 415),
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"kind": "a", "payload": NaN}', "application/json", 400),
        (b'{"kind": "a", "payload": 1e999}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'"text"', "application/json", 422),
        (b'{"kind": "a b"}', "application/json", 422),
        (b'{"kind": "a", "payload": "\\ud800"}', "application/json", 202),
        (b'{"kind": "a", "after": ["nobody"]}', "application/json", 422),
        (b'{"kind": "a"}\nnot json\n', "application/x-ndjson", 400),
        (b"x" * 200_001, "application/json", 413),
    ],
)
async def test_each_unusable_body_has_a_status(gateway_factory, pool, content, kind, status):
    """415, 400, 413 and 422 are each a problem with a remedy, and nothing is stored."""
    served = await gateway_factory(max_body_bytes=200_000)
    async with served.client() as client:
        headers = {"Content-Type": kind} if kind else {}
        answer = await client.post(f"{at(pool)}/jobs", content=content, headers=headers)
        assert answer.status_code == status, answer.text
        if status != 202:
            assert answer.json()["remedy"]
            assert (await client.get(f"{at(pool)}/queue")).json()["depth"] == 0
        else:
            job = (await client.get(f"{at(pool)}/jobs/{answer.json()['job_id']}")).json()
            assert job["payload"] == "\ud800"


async def test_a_payload_above_the_queues_limit_is_a_413(http):
    """The limit applies even if the body was read."""
    answer = await http.post("/jobs", json={"kind": "a", "payload": "x" * 1_100_000})
    assert (answer.status_code, answer.json()["field"]) == (413, "payload")


async def test_a_body_without_end_is_cut_off(gateway_factory, pool: PoolRef):
    """The gateway closes the connection of an endless sender."""
    served = await gateway_factory(max_body_bytes=10_000)
    host, port = served.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST {at(pool)}/jobs HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {tokens.ADMIN}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )

    async def send_for_ever() -> None:
        while True:
            writer.write(b"3e8\r\n" + b"x" * 1_000 + b"\r\n")
            await writer.drain()

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(send_for_ever(), 10)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_a_body_that_is_too_large_is_refused_by_its_real_size(gateway_factory, pool: PoolRef):
    """Chunked bodies announce no length: the gateway counts bytes, and the sender can read the answer."""
    served = await gateway_factory(max_body_bytes=10_000)

    async def chunks():
        for _ in range(20):
            yield b"x" * 1_000

    async with served.client() as client:
        answer = await client.post(f"{at(pool)}/jobs", content=chunks(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


async def test_headers_that_trickle_in_are_cut_off(gateway_factory):
    """A slow-loris holds a connection for the limit, no longer."""
    served = await gateway_factory(header_timeout_s=0.1)
    assert await served.raw(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: ") == b""
    assert await served.raw(b"") == b""


async def test_a_body_that_trickles_in_is_a_408(gateway_factory, pool: PoolRef):
    """The sender gets the status, and the connection closes."""
    served = await gateway_factory(body_timeout_s=0.1)
    head = (
        f"POST {at(pool)}/jobs HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {tokens.ADMIN}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    answer = await served.raw(head.encode())
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_fast_caller_is_asked_to_wait(gateway_factory, pool: PoolRef):
    """A 429 of a separate type, for that caller only."""
    served = await gateway_factory(rate_per_s=0.001, rate_burst=2)
    async with served.client() as client, served.client(tokens.READER) as other:
        statuses = [(await client.get(f"{at(pool)}/queue")).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        answer = await client.get(f"{at(pool)}/queue")
        assert answer.json()["type"].endswith("rate-limited")
        assert int(answer.headers["retry-after"]) > 0
        assert (await other.get(f"{at(pool)}/queue")).status_code == 200


async def test_no_secret_and_no_forged_line_is_logged(gateway, pool: PoolRef, caplog):
    """The log has neither tokens nor queries; line breaks of a path are quoted."""
    with caplog.at_level(logging.DEBUG, logger="agentpool_gateway"):
        async with gateway.client() as client:
            await client.get(f"{at(pool)}/queue", params={"secret": "in-the-query"})
            await client.get("/nowhere%0d%0aERROR forged")
    text = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("agentpool_gateway"))
    assert f"{at(pool)}/queue" in text
    assert "caller 'admin'" in text
    assert tokens.ADMIN not in text
    assert "in-the-query" not in text
    assert "\nERROR forged" not in text


async def test_an_unreachable_redis_is_a_503_to_try_again(gateway_factory, tmp_path):
    """Unknown is not empty: no figures, a Retry-After, and nothing of the address of Redis."""
    served = await gateway_factory(redis=f"unix://{tmp_path}/nothing")
    async with served.client() as client:
        answer = await client.get("/v1/namespaces/test/pools/a/queue")
        ready = await client.get("/readyz")
    assert (answer.status_code, ready.status_code) == (503, 503)
    assert answer.json()["detail"] == "the Redis of the pool is unreachable"
    assert "did not execute" in answer.json()["remedy"]
    assert answer.headers["retry-after"] == "1"
    assert str(tmp_path) not in answer.text


async def test_a_redis_that_sends_without_end_is_cut_off(gateway_factory, monkeypatch):
    """A gateway serves all pools, and a pool may name any server: no reply may take the gateway's memory."""
    monkeypatch.setattr(queues, "LARGEST_REPLY_BYTES", 2**20)
    async with hostile_redis(b"$400000000\r\n" + b"x" * 2**21) as url:  # then silence: a reader of the rest waits long
        served = await gateway_factory(redis=url)
        async with served.client() as client, asyncio.timeout(20):
            answer = await client.get("/v1/namespaces/test/pools/a/queue")
    assert answer.status_code >= 500


async def test_probes_need_no_token_and_name_no_pool(gateway, pool: PoolRef):
    """The metrics, which name pools, have a separate port."""
    async with gateway.client() as admin:
        await admin.post(f"{at(pool)}/jobs", json={"kind": "greet"})
    async with gateway.client(None) as client:
        assert (await client.get("/healthz")).text == "ok\n"
        assert (await client.get("/readyz")).text == "ok\n"
        assert (await client.get("/metrics")).status_code == 404
        for path in ("/", "/console/", "/docs/", "/openapi.json", "/v1/pools", "/metrics", "/metrics/"):
            answer = await client.get(path, follow_redirects=True)
            assert pool.name not in answer.text


async def test_the_metrics_are_an_app_of_their_own(gateway, pool: PoolRef):
    """Routes are labelled by template, so invented names create no series."""
    async with gateway.client() as admin:
        await admin.get(f"{at(pool)}/queue")
        await admin.get("/v1/namespaces/test/pools/made-up/queue")
    metrics = gateway.app.state.gateway.metrics
    transport = httpx.ASGITransport(app=metrics.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://metrics") as client:
        text = (await client.get("/metrics")).text
        assert (await client.get(f"{at(pool)}/queue")).status_code == 404
    assert 'route="/v1/namespaces/{namespace}/pools/{pool}/queue",status="200"' in text
    assert "made-up" not in text


async def test_every_answer_is_safe_in_a_browser(http):
    """No sniffing, no scripts, no caching."""
    answer = await http.get("/queue")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("name", ["Idempotency-Key", "traceparent", "Prefer", "Last-Event-ID"])
@pytest.mark.parametrize("smuggled", [b"a\r\nX-Forged: yes", b"a\nX-Forged: yes", b"a\x00b", b"a\rX-Forged: yes"])
async def test_no_header_is_forged_through_a_value(gateway, pool: PoolRef, name: str, smuggled: bytes):
    """A line break in a value is a separate header or a refusal, and never comes back in an answer."""
    body = b'{"kind": "greet"}'
    head = (
        f"POST {at(pool)}/jobs HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {tokens.ADMIN}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{name}: "
    )
    answer = await gateway.raw(head.encode() + smuggled + b"\r\n\r\n" + body)
    status = int(answer.split(b" ", 2)[1])
    assert status in {202, 400}, answer
    assert b"forged" not in answer.partition(b"\r\n\r\n")[0].lower()


async def test_two_lengths_are_refused(gateway, pool: PoolRef):
    """A proxy could read such a request differently, so the gateway refuses the request."""
    head = (
        f"POST {at(pool)}/jobs HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {tokens.ADMIN}\r\nConnection: close\r\n"
        "Content-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 40\r\n\r\n{}"
    )
    assert (await gateway.raw(head.encode())).startswith(b"HTTP/1.1 400 ")
