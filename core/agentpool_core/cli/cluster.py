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
    from agentpool_core.kube.connection import open_cluster

    if not kubeconfig.files():
        missing = kubeconfig.missing()
        source = f"KUBECONFIG names {missing}, which does not exist" if missing else "there is no kubeconfig"
        raise SettingError(
            field="--redis",
            value=None,
            problem=f"no flag or environment variable names the Redis, and {source}",
            remedy=REMEDY,
        )
    try:
        async with open_cluster() as cluster:
            return await cluster.redis_address(pool)
    except ClusterError as error:
        remedy = f"{error.remedy}; or {REMEDY}" if error.remedy else REMEDY
        raise ClusterError(f"cannot read the queue's Redis from the cluster ({error.detail})", remedy=remedy) from error
