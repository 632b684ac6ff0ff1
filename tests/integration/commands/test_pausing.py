"""`agentpool pause` and `resume`, with an AgentPool and without one."""

from __future__ import annotations

import asyncio

import pytest
from click.testing import CliRunner, Result

from agentpool_core.cli.root import root
from agentpool_core.jobs import PoolRef
from agentpool_core.kube import paths
from agentpool_core.queue import Inspector, PoolSettings


@pytest.fixture
def agentpool():
    """Run a command in this process, in a thread, because the command starts an event loop."""

    async def run(*args: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, root, args, standalone_mode=False)

    return run


async def test_a_declared_pool_is_paused_in_its_agentpool(
    agentpool, pool_of, cluster, namespace, redis, api_kubeconfig, redis_server, monkeypatch
):
    """The pause lasts in the AgentPool, because the operator publishes the spec; no Redis is asked."""
    monkeypatch.setenv("KUBECONFIG", str(api_kubeconfig))
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")  # no server: the command needs only the cluster
    pool = PoolRef(namespace, "agents")
    await pool_of()
    await Inspector(redis).configure(pool, PoolSettings())
    for command, words, paused in (("pause", "paused", True), ("resume", "resumed", False)):
        result = await agentpool(command, "--pool", str(pool))
        where = f"spec.paused of its AgentPool is {str(paused).lower()}"
        assert result.output == f"pool {pool} {words} ({where})\n", result.exception
        assert (await cluster.get(paths.agentpools(namespace, "agents")))["spec"]["paused"] is paused
        assert not (await Inspector(redis).settings(pool)).paused
    await Inspector(redis).purge(pool)


async def test_an_undeclared_pool_is_paused_in_the_queue(
    agentpool, pool: PoolRef, redis, redis_url, monkeypatch, tmp_path
):
    """The case of a worker on a laptop; the text says that no cluster was asked for an AgentPool."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nosuch"))
    for command, words, paused in (("pause", "paused", True), ("resume", "resumed", False)):
        result = await agentpool(command, "--pool", str(pool), "--redis", redis_url)
        assert result.output == f"pool {pool} {words} (in its queue: without a kubeconfig, no cluster was asked)\n", (
            result.exception
        )
        assert (await Inspector(redis).settings(pool)).paused is paused


async def test_a_pool_that_the_cluster_does_not_declare_is_paused_in_the_queue(
    agentpool, pool: PoolRef, redis, redis_url, api_kubeconfig, monkeypatch
):
    """The text says that the cluster was asked."""
    monkeypatch.setenv("KUBECONFIG", str(api_kubeconfig))
    result = await agentpool("pause", "--pool", str(pool), "--redis", redis_url)
    assert result.output == f"pool {pool} paused (in its queue: the cluster has no AgentPool of this name)\n"
    assert (await Inspector(redis).settings(pool)).paused
