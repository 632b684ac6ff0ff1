"""Secrets with the Redis addresses of pools.

A Secret is read by name, never listed, and kept for `secret_recheck_s`; after a failure (missing, or Redis refused its
value) it is read again soon, so a repaired Secret heals its pools within seconds. `agentpool_core.redis_address` builds
the address, the only way in which a value leaves this module. `redis_connections` opens the connection.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentpool_core.kube import paths
from agentpool_core.kube.errors import ForbiddenError, NotThereError
from agentpool_core.redis_address import Address, SecretError, address_of, missing_secret, secret_of, secret_words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agentpool_core.jobs import PoolRef
    from agentpool_core.spec import AgentPoolSpec
    from agentpool_operator.cluster import Cluster
    from agentpool_operator.pools.pool import Pool
    from agentpool_operator.settings import ScalingLoopSettings

Json = dict[str, Any]
SecretName = tuple[str, str]  # namespace and name


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """A Secret as last read."""

    secret: Json
    problem: SecretError | None
    until: float  # seconds, monotonic: time of the next read


class Secrets:
    """The Secrets that pools name."""

    def __init__(self, cluster: Cluster, settings: ScalingLoopSettings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._read: dict[SecretName, _Read] = {}

    def keep_only(self, pools: Iterable[Pool]) -> None:
        """Forget the Secrets that none of these pools names: their values are credentials."""
        specs = [(pool.ref.namespace, pool.spec) for pool in pools if pool.spec is not None]
        named = {(place, ref.name) for place, spec in specs if (ref := secret_of(spec.queue.redis)) is not None}
        self._read = {name: read for name, read in self._read.items() if name in named}

    async def address(self, pool: PoolRef, spec: AgentPoolSpec) -> Address:
        """Return the address of the pool's Redis.

        Raises SecretError for an unusable Secret, and ClusterError if the API is unavailable.
        """
        redis = spec.queue.redis
        reference = secret_of(redis)
        if reference is None:
            return address_of(redis, pool.namespace, {})
        read = await self._current((pool.namespace, reference.name))
        if read.problem is not None:
            raise read.problem
        try:
            return address_of(redis, pool.namespace, read.secret)
        except SecretError:
            self.reread_soon(pool, spec)
            raise

    def reread_soon(self, pool: PoolRef, spec: AgentPoolSpec) -> None:
        """Read the pool's Secret again soon, because the value did not work."""
        reference = secret_of(spec.queue.redis)
        if reference is None:
            return
        name = (pool.namespace, reference.name)
        read = self._read.get(name)
        soon = time.monotonic() + self._settings.secret_retry_s
        if read is not None and read.until > soon:
            self._read[name] = _Read(secret=read.secret, problem=read.problem, until=soon)

    async def _current(self, name: SecretName) -> _Read:
        known = self._read.get(name)
        if known is None or time.monotonic() >= known.until:
            known = self._read[name] = await self._fetch(name)
        return known

    async def _fetch(self, name: SecretName) -> _Read:
        soon = time.monotonic() + self._settings.secret_retry_s
        try:
            found = await self._cluster.get(paths.secret(*name))
        except NotThereError:
            return _Read(secret={}, problem=missing_secret(*name), until=soon)
        except ForbiddenError:
            return _Read(secret={}, problem=_forbidden(name), until=soon)
        labels = (found.get("metadata") or {}).get("labels") or {}
        secret = {"metadata": {"labels": labels}, "data": found.get("data") or {}}
        return _Read(secret=secret, problem=None, until=time.monotonic() + self._settings.secret_recheck_s)


def _forbidden(name: SecretName) -> SecretError:
    return SecretError(
        reason="SecretForbidden",
        field=secret_words(*name),
        problem="the operator may not read it",
        remedy="grant the operator `get` on it (rbac.secretNames of the chart)",
    )
