"""The pages for browsers: the served files, their policy, and the console's list of pools."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from agentpool_core import runbooks
from agentpool_core.errors import SettingError
from agentpool_core.jobs import JobId, JobRequest, PoolRef, WorkerId
from agentpool_core.kube.client import Cluster
from agentpool_core.kube.errors import refusal
from agentpool_core.queue import Consumer, Inspector, PoolSettings, Producer, connect
from agentpool_core.queue.completions import Failed
from agentpool_gateway import overview
from agentpool_gateway.addresses import dashboard_of
from agentpool_gateway.routes.pages import CONSOLE, POLICY, REFERENCE
from tests.fixtures import gateways as tokens
from tests.fixtures.controllers import reference_to
from tests.fixtures.serving import ServingConsumer


@pytest.mark.parametrize(
    ("where", "leads_to", "needed"),
    [("/", "/console/", {"main.js", "style.css"}), ("/docs", "/docs/", {"reference.js", "../console/style.css"})],
)
async def test_the_pages_and_their_files_are_served_under_a_strict_policy(gateway, where, leads_to, needed):
    """Scripts and styles load from this gateway only; no frames, no forms, no foreign content."""
    async with gateway.client(None, follow_redirects=True) as client:
        page = await client.get(where)
        assert page.url.path == leads_to
        named = re.findall(r'(?:src|href)="([\w./]+\.(?:js|css))"', page.text)
        assert needed <= set(named)
        for name in ["", *named, *(f"../console/{module.name}" for module in CONSOLE.glob("*.js"))]:
            answer = await client.get(f"{leads_to}{name}")
            assert answer.status_code == 200
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
        assert (await client.get(f"{leads_to}../settings.py")).status_code == 404
        assert (await client.get(f"{leads_to}%2e%2e/settings.py")).status_code == 404


async def test_the_runbooks_are_served_without_a_token(gateway):
    """A link of an alert opens its section, under the policy, in the console's style."""
    async with gateway.client(None) as client:
        answer = await client.get(runbooks.PATH)
        assert (answer.status_code, answer.headers["content-security-policy"]) == (200, POLICY)
        assert '<h2 id="agentpooldeadletters">' in answer.text
        style = re.search(r'href="([^"]+css)"', answer.text)
        assert style is not None
        assert (await client.get(str(answer.url.join(style[1])))).status_code == 200


def test_the_files_use_no_foreign_hosts_and_no_inline_code():
    """The files contain nothing that the policy would block, and never build markup from text."""
    for path in [*CONSOLE.iterdir(), *REFERENCE.iterdir()]:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, path.name
        assert "innerHTML" not in text, path.name
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=", text), path.name


async def test_a_strange_key_does_not_hide_the_pools(gateway_factory, redis, pool: PoolRef):
    """The list holds the pools in order, beside any foreign keys in that Redis."""
    strange = f"ap:{{Strange {pool.name}}}:conf"
    await redis.hset(strange, "revision", "1")
    gateway = await gateway_factory()
    try:
        async with gateway.client() as client:
            listed = (await client.get("/v1/pools")).json()["pools"]
    finally:
        await redis.delete(strange)
    assert str(pool) in listed
    assert listed == sorted(listed)
    assert not any("Strange" in name for name in listed)


async def test_the_list_of_pools_holds_only_readable_pools(gateway, pool: PoolRef):
    """A token of a different namespace does not learn the names."""
    async with gateway.client() as admin, gateway.client(tokens.ELSEWHERE) as other, gateway.client(None) as stranger:
        assert str(pool) in (await admin.get("/v1/pools")).json()["pools"]
        assert (await other.get("/v1/pools")).json() == {"pools": [], "cursor": None}
        assert (await stranger.get("/v1/pools")).status_code == 401


async def test_the_list_of_pools_comes_in_pages_by_namespace(gateway_factory, redis):
    """A cursor continues the list; a namespace narrows it."""
    named = [PoolRef(namespace, f"paged-{number}") for namespace in ("one", "two") for number in range(3)]
    for each in named:
        await Inspector(redis).configure(each, PoolSettings())
    gateway = await gateway_factory()
    listed, cursor = [], ""
    try:
        async with gateway.client() as client:
            while cursor is not None:
                params = {"namespace": ["one"], "limit": 2, "cursor": cursor}
                page = (await client.get("/v1/pools", params=params)).json()
                listed, cursor = [*listed, *page["pools"]], page["cursor"]
    finally:
        for each in named:
            await Inspector(redis).purge(each)
    assert listed == [f"one/paged-{number}" for number in range(3)]


async def test_the_overview_has_readable_pools_those_in_trouble_first(gateway, redis, pool: PoolRef):
    """A row has the figures and the reasons; a pool of a different namespace stays unknown to a foreign token."""
    calm = PoolRef(pool.namespace, f"{pool.name}-calm")
    await Inspector(redis).configure(calm, PoolSettings())
    await Inspector(redis).configure(pool, PoolSettings(paused=True))
    await Producer(redis, pool).submit(JobRequest(kind="greet"))
    async with gateway.client() as admin, gateway.client(tokens.ELSEWHERE) as other:
        found = (await admin.get("/v1/pools:overview")).json()
        rows = {row["pool"]: row for row in found["pools"]}
        assert rows[str(pool)]["queued"] == 1
        assert [trouble["reason"] for trouble in rows[str(pool)]["troubles"]] == ["Paused"]
        assert rows[str(calm)] == rows[str(calm)] | {"read": True, "troubles": [], "queued": 0, "oldest_wait_ms": None}
        names = list(rows)
        assert names.index(str(pool)) < names.index(str(calm))
        assert (await other.get("/v1/pools:overview")).json()["pools"] == []
    await Inspector(redis).purge(calm)


async def test_a_pool_whose_redis_is_silent_is_a_row_with_the_reason(
    gateway_factory, redis_server_factory, monkeypatch: pytest.MonkeyPatch
):
    """The list shows the trouble within seconds, in place of figures that no longer hold."""
    monkeypatch.setattr(overview, "ANSWER_WITHIN_SECONDS", 0.2)
    monkeypatch.setattr(overview, "HELD_SECONDS", (0.0, 0.0))
    server = redis_server_factory()
    pool = PoolRef("test", "silent")
    redis = connect(server.url)
    await Inspector(redis).configure(pool, PoolSettings())
    await redis.aclose()
    gateway = await gateway_factory(server.url, names_cache_s=600.0)
    async with gateway.client() as client:
        assert (await client.get("/v1/pools:overview")).json()["pools"][0]["read"]
        server.freeze()
        (row,) = (await client.get("/v1/pools:overview")).json()["pools"]
        server.thaw()
    (trouble,) = row["troubles"]
    assert (row["pool"], row["read"], trouble["reason"]) == (str(pool), False, "QueueUnreadable")
    assert trouble["message"] == "the Redis of the pool is unreachable"


async def test_failures_are_grouped_by_error_and_selected_by_it(
    gateway, redis, pool: PoolRef, consumer: ServingConsumer
):
    """Numbers make no difference; a group selects exactly its jobs for a count and a replay, unlike its match."""
    await Producer(redis, pool).submit_many([JobRequest(kind=kind) for kind in ("call", "parse", "call", "call")])
    for error in (
        "TimeoutError: no answer within 20 s",
        "TimeoutError: no answer within 31 s\nTraceback",
        "KeyError: 'a'",
        "RetryError: TimeoutError: no answer within 20 s",
    ):
        await consumer.serve_one(error=error)
    path = f"/v1/namespaces/{pool.namespace}/pools/{pool.name}"
    async with gateway.client() as admin, gateway.client(tokens.READER) as reader:
        found = (await reader.get(f"{path}/jobs:errors")).json()
        assert (found["counted"], found["complete"]) == (4, True)
        timeouts, other, _similar = found["groups"]
        assert (timeouts["error"], timeouts["count"]) == ("TimeoutError: no answer within … s", 2)
        assert (other["error"], other["match"]) == ("KeyError: 'a'", "KeyError: 'a'")
        chosen = {"state": "failed", "error": timeouts["match"]}
        assert (await reader.get(f"{path}/jobs:count", params=chosen)).json() == {"count": 3}
        chosen = {"state": "failed", "error_group": timeouts["error"]}
        assert (await reader.get(f"{path}/jobs:count", params=chosen)).json() == {"count": 2}
        assert len((await reader.get(f"{path}/jobs", params=chosen)).json()["jobs"]) == 2
        body = {"state": ["failed"], "error_group": timeouts["error"]}
        assert (await reader.post(f"{path}/jobs:replay", json=body)).status_code == 403
        assert (await admin.post(f"{path}/jobs:replay", json={"error": 3})).status_code == 422
        assert (await admin.post(f"{path}/jobs:replay", json={"error_group": ""})).status_code == 422
        assert (await admin.post(f"{path}/jobs:replay", json=body)).json() == {"changed": 2, "cursor": None}
        assert (await reader.get(f"{path}/verbs")).json()["verbs"] == ["read"]


async def test_a_family_has_ancestors_and_descendants_up_to_a_limit(gateway, redis, pool: PoolRef):
    """Generations count from the job; a limit that is reached is said."""
    producer = Producer(redis, pool)
    await producer.submit(JobRequest(kind="lead", job_id=JobId("lead")))
    await producer.submit(JobRequest(kind="middle", job_id=JobId("middle"), after=("lead",)))
    await producer.submit_many([JobRequest(kind="leaf", after=("middle",)) for _ in range(5)])
    path = f"/v1/namespaces/{pool.namespace}/pools/{pool.name}/jobs/middle/family"
    async with gateway.client() as client:
        found = (await client.get(path)).json()
        assert [job["generation"] for job in found["jobs"]] == [0, -1, 1, 1, 1, 1, 1]
        assert found["complete"]
        cut = (await client.get(path, params={"limit": 3})).json()
        assert (len(cut["jobs"]), cut["complete"]) == (4, False)
        assert (await client.get(path.replace("middle", "nothing"))).status_code == 404


async def test_workers_have_their_kinds_and_their_latest_failure(gateway, redis, pool: PoolRef):
    """A worker without failures has none; a cordoned worker says so."""
    path = f"/v1/namespaces/{pool.namespace}/pools/{pool.name}/workers"
    workers = [Consumer(redis, pool, WorkerId("a"), kinds=("call", "parse")), Consumer(redis, pool, WorkerId("b"))]
    for worker in workers:
        await worker.register(slots=2, host="h")
    await Inspector(redis).cordon(pool, [WorkerId("b")], hold_ms=60_000)
    await Producer(redis, pool).submit(JobRequest(kind="call", max_attempts=1))
    (lease,) = await workers[0].claim(1)
    await workers[0].settle([Failed(job_id=lease.job_id, token=lease.token, error="KeyError: 'a'\nTraceback")])
    async with gateway.client(tokens.READER) as client:
        first, second = (await client.get(path)).json()["workers"]
    assert (first["kinds"], first["live"], first["cordoned"]) == (["call", "parse"], True, False)
    assert (first["last_failure"]["job_id"], first["last_failure"]["error"]) == (lease.job_id, "KeyError: 'a'")
    assert (second["kinds"], second["cordoned"], second["last_failure"]) == (None, True, None)


class Logging(Cluster):
    """A cluster with pods of the pool and of others; a log is forbidden, one has not begun, one is long."""

    def __init__(self, pool: PoolRef) -> None:
        super().__init__(None)
        self._controllers = {f"pods/w-{number}": "replicasets/mine" for number in (1, 3, 5, 6)} | {
            "pods/w-2": "replicasets/other",
            "pods/w-7": "replicasets/mine of an earlier pool",
            "pods/w-8": f"agentpools/{pool.name}",
            "pods/w-9": None,
            "replicasets/mine": f"deployments/{pool.name}",
            "replicasets/other": "deployments/other",
            f"deployments/{pool.name}": f"agentpools/{pool.name}",
            "deployments/other": "agentpools/other",
            f"agentpools/{pool.name}": None,
            "agentpools/other": None,
        }
        self._pool = pool.name

    async def get(self, path: str, **query: str) -> Any:
        """Return an object with its controller. Every object has the label of the pool."""
        key = "/".join(path.split("/")[-2:])
        if key not in self._controllers:
            raise refusal(request="GET", status=404, message=f"no {key}", retry_after_s=None)
        controller = self._controllers[key]
        owners = [] if controller is None else [reference_to(controller)]
        labels = {"agentpool.dev/pool": self._pool}
        name = key.partition("/")[2]
        return {"metadata": {"name": name, "uid": f"uid of {key}", "labels": labels, "ownerReferences": owners}}

    async def text(self, path: str, **query: str) -> str:
        """Return the log."""
        if "w-3" in path:
            raise refusal(request="GET", status=403, message="no pods/log", retry_after_s=None)
        if "w-5" in path:
            raise refusal(request="GET", status=400, message="waiting to start", retry_after_s=None)
        if "w-6" in path:
            newest = [f"{number} {'x' * 10_000}\n" for number in range(1_000)][-int(query["tailLines"]) :]
            return "".join(newest)[: int(query["limitBytes"])]
        return f"{query['container']} {query['tailLines']}"


async def test_the_log_of_a_worker_is_that_of_a_pod_of_the_pool(gateway_factory, pool: PoolRef):
    """Pods with foreign or no owners and missing pods look alike.

    A gateway without the right names the chart's value; readers see no log.
    """
    gateway = await gateway_factory(cluster=Logging(pool))
    path = f"/v1/namespaces/{pool.namespace}/pools/{pool.name}/workers"
    async with gateway.client() as admin, gateway.client(tokens.READER) as reader:
        found = (await admin.get(f"{path}/w-1/log", params={"lines": 7})).json()
        assert found == {"worker": "w-1", "log": "worker 7"}
        log = (await admin.get(f"{path}/w-6/log", params={"lines": 1_000})).json()["log"]
        assert log.splitlines()[-1].startswith("999 "), "the newest line of a log with long lines"
        answers = [
            await admin.get(f"{path}/{name}/log") for name in ("w-2", "w-4", "w-3", "W_4", "w-5", "w-7", "w-8", "w-9")
        ]
        assert [answer.status_code for answer in answers] == [404] * 8
        assert "gateway.workerLogs" in answers[2].json()["detail"]
        assert answers[0].json()["remedy"].startswith("kubectl logs")
        assert (await reader.get(f"{path}/w-1/log")).status_code == 403
    without = await gateway_factory()
    async with without.client() as admin:
        assert (await admin.get(f"{path}/w-1/log")).json()["type"] == "urn:agentpool:problem:no-log"


async def test_a_job_says_why_it_has_not_started(gateway, redis, pool: PoolRef, consumer: ServingConsumer):
    """The sentence of the command line, until the job runs."""
    producer = Producer(redis, pool)
    job = await producer.submit(JobRequest(kind="work"))
    later = await producer.submit(JobRequest(kind="work", delay_ms=3_600_000))
    path = f"/v1/namespaces/{pool.namespace}/pools/{pool.name}/jobs"
    async with gateway.client() as client:
        found = (await client.get(f"{path}/{later.job_id}/pending-reason")).json()
        assert found["pending_reason"].startswith("the job is due in")
        await consumer.claim(1)
        running = (await client.get(f"{path}/{job.job_id}/pending-reason")).json()
        assert (running["state"], running["pending_reason"]) == ("running", None)
        assert (await client.get(f"{path}/missing/pending-reason")).status_code == 404


async def test_the_newest_events_come_first_and_the_stream_goes_on_after_them(gateway, redis, pool: PoolRef):
    """The limit counts events, not entries, and the first id is a place in the stream."""
    producer = Producer(redis, pool)
    jobs = await producer.submit_many([JobRequest(kind="work") for _ in range(3)])
    path = f"/v1/namespaces/{pool.namespace}/pools/{pool.name}/events"
    async with gateway.client() as client:
        found = (await client.get(f"{path}:newest", params={"limit": 2})).json()["events"]
        assert [event["job_id"] for event in found] == [jobs[2].job_id, jobs[1].job_id]
        last = await producer.submit(JobRequest(kind="work"))
        async with client.stream("GET", path, headers={"Last-Event-ID": found[0]["id"]}) as stream:
            lines = (line async for line in stream.aiter_lines() if line.startswith("data: "))
            assert json.loads((await anext(lines))[6:])["job_id"] == last.job_id


async def test_the_dashboard_of_a_pool_is_linked(gateway_factory, pool: PoolRef):
    """The link names namespace and pool; none without a setting, and none that a page could not follow."""
    gateway = await gateway_factory(grafana_url="https://grafana.example.org/d/agentpool")
    async with gateway.client() as client:
        found = (await client.get(f"/v1/namespaces/{pool.namespace}/pools/{pool.name}/verbs")).json()
    where = f"var-namespace={pool.namespace}&var-pool={pool.name}"
    assert found["grafana_url"] == f"https://grafana.example.org/d/agentpool?{where}"
    for wrong in ("javascript:alert(1)", "grafana.example.org", "https://grafana.example.org/d/a?x=1", "http://["):
        with pytest.raises(SettingError, match="--grafana-url"):
            dashboard_of(wrong)
