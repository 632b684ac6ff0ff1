"""Redis URLs, where they come from: a literal in the spec, or a key of a Secret.

A Secret is read by name, never listed, and kept for `secret_recheck_s`; after a failure (missing, or Redis
refused what it held) it is read again soon, so that a repaired Secret heals its pools within seconds. Values
never leave this module but as the URL itself. `links` takes over next.
"""

from __future__ import annotations

import base64
import binascii
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agentpool_operator import paths
from agentpool_operator.refusals import ForbiddenError, NotThereError
from agentpool_operator.registry import Problem

if TYPE_CHECKING:
    from agentpool.jobs import PoolRef
    from agentpool.spec import AgentPoolSpec
    from agentpool_operator.cluster import Cluster
    from agentpool_operator.settings import ScalingLoopSettings

SecretName = tuple[str, str]  # namespace and name


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """A Secret as it was last read."""

    values: dict[str, str]  # key -> text
    problem: Problem | None
    until: float  # seconds, monotonic: when it must be read again


class Secrets:
    """The Secrets that pools name."""

    def __init__(self, cluster: Cluster, settings: ScalingLoopSettings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._read: dict[SecretName, _Read] = {}

    async def redis_url(self, pool: PoolRef, spec: AgentPoolSpec) -> str | Problem:
        """The URL of the pool's Redis, or why there is none. Raises ClusterError when the API cannot be asked."""
        redis = spec.queue.redis
        if redis.url_from is None:
            return redis.url or ""
        source = redis.url_from.secret_key_ref
        read = await self._current((pool.namespace, source.name))
        if read.problem is not None:
            return read.problem
        url = read.values.get(source.key)
        if not url:
            self.doubt(pool, spec)
            return Problem(
                reason="SecretKeyMissing",
                message=f"Secret {source.name!r} has no key {source.key!r}; add it, or name another in "
                "spec.queue.redis.urlFrom.secretKeyRef.key",
            )
        return url.strip()

    def doubt(self, pool: PoolRef, spec: AgentPoolSpec) -> None:
        """What the Secret held did not work: reads it again soon."""
        if spec.queue.redis.url_from is None:
            return
        name = (pool.namespace, spec.queue.redis.url_from.secret_key_ref.name)
        read = self._read.get(name)
        soon = time.monotonic() + self._settings.secret_retry_s
        if read is not None and read.until > soon:
            self._read[name] = _Read(values=read.values, problem=read.problem, until=soon)

    async def _current(self, name: SecretName) -> _Read:
        known = self._read.get(name)
        if known is None or time.monotonic() >= known.until:
            known = self._read[name] = await self._fetched(name)
        return known

    async def _fetched(self, name: SecretName) -> _Read:
        soon = time.monotonic() + self._settings.secret_retry_s
        try:
            secret = await self._cluster.get(paths.secret(*name))
        except NotThereError:
            message = f"Secret {name[1]!r} does not exist in namespace {name[0]!r}; create it"
            return _Read(values={}, problem=Problem(reason="SecretNotFound", message=message), until=soon)
        except ForbiddenError:
            message = (
                f"the operator may not read Secret {name[1]!r} in namespace {name[0]!r}; grant it `get` on that Secret"
            )
            return _Read(values={}, problem=Problem(reason="SecretForbidden", message=message), until=soon)
        values = {key: _decoded(value) for key, value in (secret.get("data") or {}).items()}
        return _Read(values=values, problem=None, until=time.monotonic() + self._settings.secret_recheck_s)


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
