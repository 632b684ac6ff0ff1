"""What the cluster knows that a command was not told: which Redis holds a pool's queue.

Read through the kubeconfig, as kubectl reads it. Who takes over next: `agentpool.cluster` asks the API server.
"""

from __future__ import annotations

from agentpool import kubeconfig
from agentpool.errors import ClusterError, SettingError
from agentpool.jobs import PoolRef


async def redis_url(pool: PoolRef) -> str:
    """The URL that the AgentPool names. Raises SettingError where there is no kubeconfig, or it does not help."""
    from agentpool.cluster import connected

    found = kubeconfig.path()
    if found is None:
        raise _unknown("neither a flag, nor the environment, nor a kubeconfig says where the queue is")
    try:
        async with connected(found) as cluster:
            return await cluster.redis_url(pool)
    except ClusterError as error:
        raise _unknown(f"the cluster could not say it ({error})") from error


def _unknown(problem: str) -> SettingError:
    return SettingError(
        field="--redis",
        value=None,
        problem=problem,
        remedy="pass --redis URL, or set AGENTPOOL_REDIS_URL or REDIS_URL",
    )
