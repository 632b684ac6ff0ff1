"""Habits of HTTP: HEAD, Allow, compression, ETag, CORS, and query parameters that nobody knows."""

from __future__ import annotations

import json
import warnings
from http import HTTPStatus

import pytest

from agentpool_core.jobs import PoolRef, WorkerId
from agentpool_core.queue import Consumer, Inspector, PoolSettings
from tests.fixtures.gateways import ADMIN

PAGE = "https://app.example.org"


@pytest.mark.parametrize(
    ("method", "path", "known"),
    [
        ("GET", "/jobs?stat=running", "limit"),
        ("GET", "/jobs?state=running&limit=5&colour=red", "limit"),
        ("POST", "/jobs?prio=high", "wait"),
        ("GET", "/queue?verbose=1", "no query parameters"),
        ("GET", "/jobs:count?status=queued", "state"),
    ],
)
async def test_an_unknown_query_parameter_is_refused(http, method: str, path: str, known: str):
    """By its name, with the known ones: a misspelt condition would select everything."""
    answer = await http.request(method, path, json={"kind": "greet"} if method == "POST" else None)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:agentpool:problem:unknown-parameter")
    assert "there is no query parameter" in answer.json()["detail"]
    assert known in answer.json()["remedy"]
    assert (await http.get("/queue")).json()["totals"]["submitted"] == 0


async def test_a_stranger_learns_no_parameters(gateway, pool: PoolRef):
    """Without a token the answer is 401, whatever the query is."""
    async with gateway.client(None) as client:
        answer = await client.get(f"/v1/namespaces/{pool.namespace}/pools/{pool.name}/jobs?nonsense=1")
    assert answer.status_code == HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize("path", ["/queue", "/jobs", "/events", "/jobs/nobody"])
async def test_head_answers_as_get_without_the_body(http, path: str):
    """Same status and type; a stream is left after its headers."""
    answer = await http.head(path)
    assert answer.content == b""
    if path == "/events":
        assert answer.headers["content-type"].startswith("text/event-stream")
        return
    whole = await http.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (whole.status_code, whole.headers["content-type"])


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/jobs", "GET, HEAD, POST"), ("/jobs/x", "DELETE, GET, HEAD"), ("/paused", "PUT"), ("/mcp", "POST")],
)
async def test_a_wrong_method_is_answered_with_all_right_ones(http, path: str, allowed: str):
    """RFC 9110 wants every method of the resource."""
    answer = await http.patch(path)
    assert (answer.status_code, answer.headers["allow"]) == (HTTPStatus.METHOD_NOT_ALLOWED, allowed)


async def test_a_large_answer_is_compressed_for_who_asks(http):
    """A small one is not, and a stream never is."""
    job = (await http.post("/jobs", json={"kind": "greet", "payload": {"text": "x" * 10_000}})).json()["job_id"]
    answer = await http.get(f"/jobs/{job}", headers={"Accept-Encoding": "gzip"})
    assert (answer.headers["content-encoding"], answer.json()["payload"]["text"]) == ("gzip", "x" * 10_000)
    plain = await http.get(f"/jobs/{job}", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in (await http.get("/nothing", headers={"Accept-Encoding": "gzip"})).headers
    async with http.stream("GET", "/events", headers={"Accept-Encoding": "gzip"}) as stream:
        assert "content-encoding" not in stream.headers


async def test_a_job_that_has_not_changed_is_not_sent_again(http, consumer):
    """304 for the ETag of the record; a change has another ETag."""
    job = (await http.post("/jobs", json={"kind": "greet"})).json()["job_id"]
    first = await http.get(f"/jobs/{job}")
    same = await http.get(f"/jobs/{job}", headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", first.headers["etag"])
    await consumer.serve_one()
    changed = await http.get(f"/jobs/{job}", headers={"If-None-Match": first.headers["etag"]})
    assert (changed.status_code, changed.json()["state"]) == (200, "succeeded")


async def test_pages_of_other_origins_need_permission(gateway_factory, http, pool: PoolRef):
    """None by default; a named origin may send tokens and read the headers that matter."""
    preflight = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    assert "access-control-allow-origin" not in (await http.options("/jobs", headers=preflight)).headers
    assert "access-control-allow-origin" not in (await http.get("/queue", headers={"Origin": PAGE})).headers
    open_to_page = await gateway_factory(cors_origins=(PAGE,))
    async with open_to_page.client(ADMIN) as client:
        client.base_url = f"{open_to_page.url}/v1/namespaces/{pool.namespace}/pools/{pool.name}"
        allowed = await client.options("/jobs", headers=preflight)
        assert allowed.headers["access-control-allow-origin"] == PAGE
        assert "Authorization" in allowed.headers["access-control-allow-headers"]
        read = await client.get("/queue", headers={"Origin": PAGE})
        assert "ETag" in read.headers["access-control-expose-headers"]
        foreign = await client.get("/queue", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in foreign.headers


async def test_the_description_is_made_for_generators(gateway):
    """Every operation has a name of its own, a summary and a described tag; common shapes have names."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        document = gateway.app.openapi()
    operations = [each for path in document["paths"].values() for each in path.values()]
    names = [each["operationId"] for each in operations]
    assert len(set(names)) == len(names)
    assert all(each["summary"] and not each["summary"].endswith(".") for each in operations)
    assert {tag for each in operations for tag in each["tags"]} == {tag["name"] for tag in document["tags"]}
    free = [each["operationId"] for each in operations if each["security"] == []]
    assert free == ["a2a_card_keys", "health_healthz", "health_readyz"]
    assert (document["servers"][0]["url"], document["info"]["license"]["identifier"]) == ("/", "Apache-2.0")
    text = json.dumps(document["paths"])
    for name in ("Job", "JobRequest", "JobPage", "Queue", "Problem", "Result"):
        assert f'"#/components/schemas/{name}"' in text
        assert name in document["components"]["schemas"]


async def test_named_lists_come_in_pages(gateway, http, redis, pool: PoolRef):
    """Schedules, workers and agents by name: the pages together are the list, each entry once."""
    others = [PoolRef(pool.namespace, f"{pool.name}-{number}") for number in range(2)]
    for each in others:
        await Inspector(redis).configure(each, PoolSettings())
    for name in ("b", "c", "a"):
        await http.put(f"/schedules/{name}", json={"kind": "greet", "every": "90s"})
        await Consumer(redis, pool, WorkerId(name)).register(slots=1, host="h")
    base = f"/v1/namespaces/{pool.namespace}/pools/{pool.name}"
    lists = {f"{base}/schedules": "schedules", f"{base}/workers": "workers", "/v1/a2a/agents": "agents"}
    try:
        async with gateway.client() as client:
            for path, field in lists.items():
                whole, cursor, pages = (await client.get(path)).json(), "", []
                assert whole["cursor"] is None
                while cursor is not None and len(pages) <= len(whole[field]):
                    page = (await client.get(path, params={"limit": 2, "cursor": cursor})).json()
                    pages, cursor = [*pages, page[field]], page["cursor"]
                names = [entry["name"] for page in pages for entry in page]
                assert names == sorted(entry["name"] for entry in whole[field])
                assert len(names) >= 3
                assert {len(page) for page in pages[:-1]} == {2}
                assert (await client.get(path, params={"limit": 0})).status_code == 422
    finally:
        for each in others:
            await Inspector(redis).purge(each)
