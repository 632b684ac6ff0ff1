"""Access decided by a real API server: TokenReview, SubjectAccessReview, and RBAC rules of an admin."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
import yaml

from agentpool_core.errors import ClusterError, UnknownPoolError
from agentpool_core.jobs import PoolRef
from agentpool_core.kube.connection import open_cluster
from agentpool_core.redis_address import SecretError
from agentpool_gateway.access.authority import AllowAll
from agentpool_gateway.access.reviews import KubernetesReviews
from agentpool_gateway.app import build
from agentpool_gateway.pools.locations import DeclaredRedis, SingleRedis
from agentpool_gateway.pools.queues import Queues
from agentpool_gateway.settings import GatewaySettings
from tests.fixtures.devcluster import ApiClient
from tests.fixtures.gateways import Served, serving
from tests.fixtures.reviews import POOLS, account


async def test_rbac_decides_about_submit_read_manage_and_pause(reviewed: Served, api: ApiClient, pool: PoolRef):
    """Each right is separate: get to read, create jobs to submit, delete jobs to manage, patch to pause."""
    at = f"/v1/namespaces/test/pools/{pool.name}"
    tokens = {
        "reader": await account(api, "reader", ("get", "agentpools")),
        "submitter": await account(api, "submitter", ("create", "agentpools/jobs")),
        "manager": await account(api, "manager", ("delete", "agentpools/jobs")),
        "pauser": await account(api, "pauser", ("patch", "agentpools")),
    }
    allowed = {}
    for name, token in tokens.items():
        async with reviewed.client(token) as client:
            answers = (
                await client.get(f"{at}/queue"),
                await client.post(f"{at}/jobs", json={"kind": "greet"}),
                await client.delete(f"{at}/jobs/none"),
                await client.put(f"{at}/paused", json={"paused": True}),
            )
        allowed[name] = [answer.status_code for answer in answers]
    assert allowed == {
        "reader": [200, 403, 403, 403],
        "submitter": [403, 202, 403, 403],
        "manager": [403, 403, 404, 403],
        "pauser": [403, 403, 403, 200],
    }
    assert (await api.get(f"{POOLS}/{pool.name}"))["spec"]["paused"] is True


async def test_a_foreign_namespace_and_an_invented_token_are_refused(reviewed: Served, api: ApiClient, pool: PoolRef):
    """A right in one namespace is none in a second namespace; the list of pools holds only readable pools."""
    token = await account(api, "lead", ("get", "agentpools"), ("create", "agentpools/jobs"))
    async with reviewed.client(token) as client:
        assert (await client.get("/v1/namespaces/other/pools/any/queue")).status_code == 403
        assert (await client.get("/v1/pools")).json() == {"pools": [str(pool)], "cursor": None}
    async with reviewed.client("made-up") as client:
        assert (await client.get("/v1/pools")).status_code == 401


def _as_account(kubeconfig: Path, token: str, file: Path) -> Path:
    """Return a kubeconfig by which a ServiceAccount reaches the same server."""
    config = yaml.safe_load(kubeconfig.read_text())
    (cluster,), (user,) = config["clusters"], config["users"]
    cluster["cluster"]["server"] = cluster["cluster"]["server"].split("/token/")[0]
    user["user"] = {"token": token}
    file.write_text(yaml.safe_dump(config))
    return file


async def test_a_gateway_of_some_namespaces_needs_no_right_elsewhere(
    declared_pool, api: ApiClient, server_kubeconfig: Path, tmp_path: Path, pool: PoolRef
):
    """With rights in some namespaces only, the gateway lists the pools there, and no pools elsewhere."""
    rights = (("get", "agentpools"), ("list", "agentpools"))
    token = await account(api, "gateway", *rights)
    async with open_cluster(_as_account(server_kubeconfig, token, tmp_path / "gateway")) as connection:
        with pytest.raises(ClusterError, match="forbidden"):
            await DeclaredRedis(connection, cache_s=0).list_pools()
        served = DeclaredRedis(connection, cache_s=0, namespaces=("test",))
        assert await served.list_pools() == [pool]
        with pytest.raises(UnknownPoolError):
            await served.address(PoolRef("other", "any"))


async def test_a_gateway_uses_only_secrets_that_opt_in(
    declared_pool, api: ApiClient, server_kubeconfig: Path, pool: PoolRef
):
    """Without the label the gateway does not read the queue or explain why; the gateway's log has the reason."""
    secret = "/api/v1/namespaces/test/secrets/agentpool-redis"
    async with open_cluster(server_kubeconfig) as connection:
        settings = GatewaySettings()
        app = build(settings, DeclaredRedis(connection, cache_s=0), AllowAll(), connection)
        async with serving(app, settings) as served, served.client(None) as client:
            at = f"/v1/namespaces/test/pools/{pool.name}/queue"
            assert (await client.get(at)).status_code == 200
            await api.patch(secret, {"metadata": {"labels": {"agentpool.dev/redis": None}}})
            refused = await client.get(at)
            assert refused.status_code == 503
            assert refused.json()["detail"] == "the AgentPool names no Redis that can be used"
            assert refused.headers["retry-after"] == "30"
        with pytest.raises(SecretError, match=r"label secret agentpool-redis agentpool\.dev/redis=true"):
            await connection.redis_address(pool)


async def test_foreign_namespaces_on_a_shared_redis_are_hidden(redis_url: str, pool: PoolRef):
    """Of all pools in a Redis, the gateway lists and serves those of the named namespaces."""
    for namespaces, seen in (((), True), ((pool.namespace,), True), (("elsewhere",), False)):
        queues = Queues(SingleRedis(redis_url, namespaces=namespaces), GatewaySettings())
        try:
            assert (pool in await queues.names()) is seen
            if not seen:
                with pytest.raises(UnknownPoolError):
                    await queues.of(pool)
        finally:
            await queues.close()


async def test_a_token_for_a_different_service_is_refused(
    declared_pool, api: ApiClient, server_kubeconfig: Path, redis_url: str, pool: PoolRef
):
    """With --audience a token must name that audience: tokens for the API server or a different service are refused."""
    await account(api, "lead", ("get", "agentpools"))
    wanted = {"agentpool": 200, "billing": 401, "": 401}
    async with open_cluster(server_kubeconfig) as connection:
        settings = GatewaySettings()
        authority = KubernetesReviews(connection, cache_s=0, audiences=("agentpool",))
        app = build(settings, SingleRedis(redis_url), authority, connection)
        async with serving(app, settings) as served:
            answered = {}
            for audience in wanted:
                spec = {"audiences": [audience]} if audience else {}
                path = "/api/v1/namespaces/test/serviceaccounts/lead/token"
                token = (await api.create(path, {"spec": spec}))["status"]["token"]
                async with served.client(token) as client:
                    answer = await client.get(f"/v1/namespaces/test/pools/{pool.name}/queue")
                    answered[audience] = answer.status_code
    assert answered == wanted


async def test_scaling_is_reported_as_in_the_agentpool(reviewed: Served, api: ApiClient, pool: PoolRef):
    """The answer has desired and ready workers, the cap, and the reason."""
    status = {
        "replicas": 2, "readyReplicas": 1, "desiredReplicas": 2, "wantedReplicas": 9,
        "lastDecision": {"at": "2026-01-01T00:00:00Z", "reason": "12 jobs wait"},
        "conditions": [{"type": "ScalingLimited", "status": "True", "reason": "MaxReplicas", "message": "more wanted",
                        "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    }  # fmt: skip
    await api.patch(f"{POOLS}/{pool.name}/status", {"status": status})
    token = await account(api, "reader", ("get", "agentpools"))
    async with reviewed.client(token) as client:
        answered = (await client.get(f"/v1/namespaces/test/pools/{pool.name}/scaling")).json()
    assert (answered["wanted_replicas"], answered["ready_replicas"]) == (9, 1)
    assert answered["limited"] == {"reason": "MaxReplicas", "message": "more wanted"}


async def test_the_command_line_finds_redis_through_the_kubeconfig(
    declared_pool, server_kubeconfig: Path, pool: PoolRef
):
    """The pool is the only option: the AgentPool's Secret has the queue's address.

    The doctor checks the cluster too.
    """
    environment = {"KUBECONFIG": str(server_kubeconfig), "PATH": str(Path(shutil.which("python3") or "/").parent)}
    submitted = await ran(environment, "submit", "greet", "-n", "test", "-p", pool.name, "-o", "name")
    assert submitted[0] == 0, submitted
    code, report = await ran(environment, "doctor", "-n", "test", "-p", pool.name)
    assert code in {0, 1}, report
    for answered in ("kubernetes", "crd", "agentpools", "no status yet", "gpus", "append-only file", "1 queued"):
        assert answered in report, f"{answered!r} is missing in\n{report}"


async def ran(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Run an agentpool command as a process; return exit code and output."""
    import sys

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agentpool_core", *arguments,
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    return process.returncode or 0, output.decode()
