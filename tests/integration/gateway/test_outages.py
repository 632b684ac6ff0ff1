"""A failure behind the gateway: the answer names the failed component, with status and retry advice."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from agentpool_core.jobs import PoolRef
from agentpool_core.queue import Inspector, PoolSettings
from agentpool_core.queue.connection.client import connect
from tests.fixtures import gateways as tokens
from tests.fixtures.devcluster import ApiClient
from tests.fixtures.gateways import Served
from tests.fixtures.redis import RedisServer
from tests.fixtures.reviews import account

START_WITHIN_SECONDS = 60
JOB = {"kind": "greet"}


@dataclass(frozen=True, kw_only=True)
class ApiProcess:
    """An API server of the devcluster in a separate process."""

    process: asyncio.subprocess.Process
    admin_url: str
    url: str
    tokens: SimpleNamespace

    async def kill(self) -> None:
        """End the process as a crash of the machine would."""
        self.process.kill()
        await self.process.wait()


@pytest.fixture
async def api_server(tmp_path: Path) -> AsyncIterator[ApiProcess]:
    """Replace the API server of the remaining tests by a process that a test can kill."""
    file = tmp_path / "process.kubeconfig"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agentpool_devcluster.api", "--kubeconfig", str(file), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_WITHIN_SECONDS):
            assert (await process.stdout.readline()).decode().strip() == str(file)
        config = yaml.safe_load(file.read_text())
        url = config["clusters"][0]["cluster"]["server"]
        yield ApiProcess(
            process=process,
            admin_url=url,
            url=url.split("/token/")[0],
            tokens=SimpleNamespace(admin_token=config["users"][0]["user"]["token"]),
        )
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_submit_without_a_kubernetes_api_names_the_kubernetes_api(
    api_server: ApiProcess, reviewed: Served, api: ApiClient, pool: PoolRef
):
    """503 with Retry-After: nothing was submitted, so the advice is a plain repetition."""
    token = await account(api, "submitter", ("create", "agentpools/jobs"))
    async with reviewed.client(token) as client:
        jobs = f"/v1/namespaces/test/pools/{pool.name}/jobs"
        assert (await client.post(jobs, json=JOB)).status_code == 202
        await api_server.kill()
        answer = await client.post(jobs, json=JOB)
    problem = answer.json()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert problem["type"] == "urn:agentpool:problem:cluster-unavailable"
    assert problem["detail"] == "the Kubernetes API is unreachable"
    assert problem["remedy"].startswith("the gateway did not execute the request; send the request again")
    assert "Redis" not in answer.text
    assert api_server.url.split("//")[1] not in answer.text


async def test_a_kubernetes_api_that_refuses_the_gateway_is_named(
    api_server: ApiProcess, reviewed: Served, pool: PoolRef
):
    """A gateway without rights is a 502: a repetition alone changes nothing."""
    del api_server
    connection = reviewed.app.state.gateway.authority._cluster
    connection._api.configuration.api_key["BearerToken"] = "Bearer revoked"
    connection._api.configuration.host = connection._api.configuration.host.split("/token/")[0]
    async with reviewed.client("any") as client:
        answer = await client.post(f"/v1/namespaces/test/pools/{pool.name}/jobs", json=JOB)
    assert answer.status_code == 502
    assert answer.json()["type"] == "urn:agentpool:problem:cluster-refused"
    assert answer.json()["detail"] == "the Kubernetes API refuses the gateway (status 401)"


@pytest.fixture
async def own_redis(redis_server_factory) -> RedisServer:
    """A Redis of this test, with a pool `test/own`."""
    server = redis_server_factory()
    client = connect(server.url)
    await Inspector(client).configure(PoolRef("test", "own"), PoolSettings())
    await client.aclose()
    return server


async def test_a_submit_without_redis_names_redis_and_warns_of_a_duplicate(own_redis: RedisServer, gateway_factory):
    """Perhaps only the answer was lost, so the advice is the same Idempotency-Key."""
    served = await gateway_factory(redis=own_redis.url)
    async with served.client(tokens.SUBMITTER) as client:
        jobs = "/v1/namespaces/test/pools/own/jobs"
        assert (await client.post(jobs, json=JOB)).status_code == 202
        own_redis.kill()
        answer = await client.post(jobs, json=JOB)
        read = await client.get("/v1/namespaces/test/pools/own/queue")
    problem = answer.json()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert problem["type"] == "urn:agentpool:problem:queue-unavailable"
    assert problem["detail"] == "the Redis of the pool is unreachable"
    assert problem["remedy"].startswith("the queue may have kept the job; send the request again with the same")
    assert "Kubernetes" not in answer.text
    assert (read.status_code, read.json()["detail"]) == (503, "the Redis of the pool is unreachable")
    assert "job" not in read.json()["remedy"]


async def test_a_stored_job_has_a_receipt_even_if_redis_then_dies(
    own_redis: RedisServer, gateway_factory, monkeypatch: pytest.MonkeyPatch
):
    """Only the position is unknown: a 503 would make the caller submit a second job."""
    served = await gateway_factory(redis=own_redis.url)
    queue = await served.app.state.gateway.queues.of(PoolRef("test", "own"))
    submit = queue.producer.submit

    async def then_die(request, **options):
        receipt = await submit(request, **options)
        own_redis.kill()
        return receipt

    monkeypatch.setattr(queue.producer, "submit", then_die)
    async with served.client() as client:
        answer = await client.post("/v1/namespaces/test/pools/own/jobs", json=JOB)
    assert answer.status_code == 202, answer.text
    assert answer.json()["job_id"]
    assert answer.json()["position"] is None


async def test_a_redis_that_refuses_the_gateway_is_for_the_owner_of_the_pool(own_redis: RedisServer, gateway_factory):
    """The detail names the reason, never the text or the address of the server."""
    served = await gateway_factory(redis=f"redis://stranger:wrong@127.0.0.1:{own_redis.port}/0")
    async with served.client() as client:
        answer = await client.get("/v1/namespaces/test/pools/own/queue")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert answer.json()["detail"] == "the Redis of the pool cannot be used: it refuses the user"
    assert answer.json()["remedy"].startswith("for the owner of the pool: ")
    assert str(own_redis.port) not in answer.text
    assert "WRONGPASS" not in answer.text
