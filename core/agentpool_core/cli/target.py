"""Pool and Redis of a command.

Flags win over the environment, the environment over the kubeconfig. The Redis URL is `--redis`, AGENTPOOL_REDIS_URL or
REDIS_URL; without any of them the AgentPool names its Redis, read through the kubeconfig, so `kubectl agentpool` needs
only kubectl's configuration.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from agentpool_core.cli.completion import complete_pools
from agentpool_core.cli.kube_options import kube_options
from agentpool_core.environment import redis_url
from agentpool_core.errors import ClusterError, SettingError
from agentpool_core.jobs import PoolRef
from agentpool_core.kube import kubeconfig

if TYPE_CHECKING:
    from agentpool_core.queue.connection.client import RedisClient
    from agentpool_core.redis_address import Address

REMEDY = "pass --redis URL, or set AGENTPOOL_REDIS_URL or REDIS_URL"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A pool, and the URL of its Redis if given."""

    pool: PoolRef
    redis: str | None  # None: ask the cluster

    async def connect(self) -> RedisClient:
        """Return a client of the Redis of the URL, else of the Redis that the AgentPool names.

        Raises SettingError with the remedy.
        """
        from agentpool_core.redis_address import connect_to

        return connect_to(await self.address())

    async def address(self) -> Address:
        """Return the address of that Redis. Raises as `connect`."""
        from agentpool_core.redis_address import Address

        return Address(url=self.redis) if self.redis else await _declared_address(self.pool)


async def _declared_address(pool: PoolRef) -> Address:
    """Return the address that the AgentPool names.

    Raises SettingError without a kubeconfig, ClusterError if the cluster does not know the address, UnknownPoolError.
    """
    from agentpool_core.kube.connection import open_cluster

    check_kubeconfig()
    try:
        async with open_cluster() as cluster:
            return await cluster.redis_address(pool)
    except ClusterError as error:
        remedy = f"{error.remedy}; or {REMEDY}" if error.remedy else REMEDY
        raise ClusterError(f"cannot read the queue's Redis from the cluster ({error.detail})", remedy=remedy) from error


def check_kubeconfig() -> None:
    """Raise SettingError if neither the Redis is named nor a kubeconfig leads to the AgentPools."""
    if kubeconfig.files():
        return
    missing = kubeconfig.missing()
    source = f"KUBECONFIG names {missing}, which does not exist" if missing else "there is no kubeconfig"
    problem = f"no flag or environment variable names the Redis, and {source}"
    remedy = f"{REMEDY}; for a system on this machine start `agentpool dev`, and paste its export lines here"
    raise SettingError(field="--redis", value=None, problem=problem, remedy=remedy)


def pool_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--pool`, `--namespace` and `--redis` to a command, and pass it a `target`."""

    @pool_option
    @pool_namespace_option
    @redis_option
    @kube_options
    @wraps(function)
    def with_target(*args: Any, pool: str | None, namespace: str | None, redis: str | None, **rest: Any) -> Any:
        return function(*args, target=target_of(pool, namespace, redis), **rest)

    return with_target


def pool_argument_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `pool_options` to a command that may name the pool as its only argument."""

    @click.argument("name", required=False, metavar="[NAMESPACE/]NAME", shell_complete=complete_pools)
    @pool_option
    @pool_namespace_option
    @redis_option
    @kube_options
    @wraps(function)
    def with_target(
        *args: Any, name: str | None, pool: str | None, namespace: str | None, redis: str | None, **rest: Any
    ) -> Any:
        if name and pool:
            raise click.UsageError("name the pool once: as the argument, or with --pool")
        return function(*args, target=target_of(name or pool, namespace, redis), **rest)

    return with_target


def pool_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--pool` to a command, as the parameter `pool`."""
    return click.option(
        "-p",
        "--pool",
        "pool",
        metavar="[NAMESPACE/]NAME",
        shell_complete=complete_pools,
        help="The AgentPool. [env: AGENTPOOL_POOL]",
    )(function)


def pool_namespace_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--namespace` to a command, as the parameter `namespace`."""
    return click.option(
        "-n",
        "--namespace",
        help="Its namespace. [env: AGENTPOOL_NAMESPACE; else the kubeconfig's; else default]",
    )(function)


def redis_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--redis` to a command, as the parameter `redis`."""
    return click.option(
        "--redis",
        metavar="URL",
        help="The Redis that holds the queue. [env: AGENTPOOL_REDIS_URL, REDIS_URL; else as the AgentPool says]",
    )(function)


def target_of(pool: str | None, namespace: str | None, redis: str | None) -> Target:
    """Return the target of flags and environment. Raises SettingError if no pool is named."""
    named = pool or os.environ.get("AGENTPOOL_POOL")
    if not named:
        raise SettingError(
            field="--pool",
            value=None,
            problem="no pool is named",
            remedy="pass --pool NAMESPACE/NAME, or set AGENTPOOL_POOL",
        )
    if namespace and "/" in named and not named.startswith(f"{namespace}/"):
        raise SettingError(
            field="--namespace",
            value=namespace,
            problem=f"differs from the namespace in --pool {named}",
            remedy="name the namespace once",
        )
    return Target(
        pool=PoolRef.parse(named, default_namespace=namespace or default_namespace()), redis=redis_from(redis)
    )


def default_namespace() -> str:
    """Return the namespace of a pool that is named without one."""
    return os.environ.get("AGENTPOOL_NAMESPACE") or kubeconfig.current_namespace() or "default"


def redis_from(flag: str | None) -> str | None:
    """Return the Redis URL of the flag or the environment; None if neither is set."""
    return flag or redis_url(os.environ)
