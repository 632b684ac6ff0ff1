"""Find the Redis of a pool through the cluster, for commands without a Redis URL.

Uses the kubeconfig, like kubectl. `agentpool_core.kube.client` asks the API server.
"""

from __future__ import annotations

from agentpool_core.errors import ClusterError, SettingError
from agentpool_core.jobs import PoolRef
from agentpool_core.kube import kubeconfig
from agentpool_core.redis_address import Address

REMEDY = "pass --redis URL, or set AGENTPOOL_REDIS_URL or REDIS_URL"


async def redis_address(pool: PoolRef) -> Address:
    """Return the address that the AgentPool names.

    Raises SettingError without a kubeconfig, ClusterError if the cluster does not know the address, UnknownPoolError.
    """
    from agentpool_core.kube.connection import connected

    if not kubeconfig.files():
        missing = kubeconfig.missing()
        source = f"KUBECONFIG ({missing}, which is not there)" if missing else "kubeconfig"
        raise SettingError(
            field="--redis",
            value=None,
            problem=f"the queue's Redis is named by no flag, environment variable or {source}",
            remedy=REMEDY,
        )
    try:
        async with connected() as cluster:
            return await cluster.redis_address(pool)
    except ClusterError as error:
        remedy = f"{error.remedy}; or {REMEDY}" if error.remedy else REMEDY
        raise ClusterError(f"the cluster could not say where the queue is ({error.detail})", remedy=remedy) from error
