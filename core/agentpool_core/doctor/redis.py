"""Checks of the Redis server: reachable, recent, durable, writable.

The judgements are pure functions of INFO; only the probe writes, to its own key, which it deletes.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from agentpool_core.doctor.findings import Finding, failure, failure_of, fine, note, warning
from agentpool_core.errors import QueueError, UnsupportedServerError
from agentpool_core.jobs import Durability, PoolRef
from agentpool_core.queue.connection.client import ask, check_server
from agentpool_core.queue.connection.error_translation import Asking, Reading
from agentpool_core.queue.durability import REMEDIES, stored_durability
from agentpool_core.queue.keys import Keys, pressure_of

if TYPE_CHECKING:
    from agentpool_core.queue.connection.client import RedisClient

SKEW_WARNING_MS = 1_000  # error of displayed ages; the queue itself uses only the clock of Redis
FULL_SHARE = 0.8  # share of a limit that leads to a warning
PROBE_POOL = PoolRef("agentpool-doctor", "probe")  # owner of the probe's keys if no pool is named
Info = Mapping[str, Any]

# A command of each kind in the queue's scripts, on a temporary key.
PROBE = """
local key = KEYS[1]
redis.call('HSET', key, 'field', 'value')
redis.call('DEL', key)
redis.call('XADD', key, '*', 'field', 'value')
redis.call('XGROUP', 'CREATE', key, 'probe', '0')
redis.call('XREADGROUP', 'GROUP', 'probe', 'doctor', 'COUNT', 1, 'STREAMS', key, '>')
redis.call('XPENDING', key, 'probe')
redis.call('DEL', key)
redis.call('ZADD', key, 1, 'member')
redis.call('DEL', key)
redis.call('RPUSH', key, 'item')
redis.call('PEXPIRE', key, 1000)
redis.call('DEL', key)
return redis.call('TIME')
"""


async def examine(redis: RedisClient, pool: PoolRef | None) -> AsyncIterator[Finding]:
    """Yield all findings about a Redis, for a pool if named; stop at the first missing answer."""
    try:
        version = await check_server(redis)
    except UnsupportedServerError as error:
        yield failure("redis version", error.version, error.remedy)
        return
    except QueueError as error:
        yield failure_of("redis", error)
        return
    info = await _info(redis)
    yield fine("redis version", _server(info, version))
    for finding in (
        check_role(info),
        check_durability(info),
        check_confirmation(info, await _durability_of(redis, pool)),
        check_eviction(info),
        check_memory(info),
        check_clients(info),
    ):
        if finding is not None:
            yield finding
    yield await check_permissions(redis, pool)
    yield await check_clock(redis)


def check_role(info: Info) -> Finding:
    """Check the role: only a primary accepts jobs."""
    found = str(info.get("role", "unknown"))
    if found == "slave":
        return failure("redis role", "replica", "use the primary's URL, or redis+sentinel:// to follow it")
    return fine("redis role", "primary" if found == "master" else found)


def check_durability(info: Info) -> Finding:
    """Check the append-only file: without it, a crash loses accepted jobs."""
    if info.get("aof_enabled") in {1, "1"}:
        if info.get("aof_last_write_status", "ok") != "ok":
            return failure("durability", "the append-only file cannot be written", "free disk space on the Redis host")
        return fine("durability", "append-only file is on")
    saved = "snapshots only" if info.get("rdb_last_save_time") else "no snapshots"
    return warning(
        "durability",
        f"append-only file is off, {saved}: a crash of Redis loses accepted jobs",
        "CONFIG SET appendonly yes, and appendonly yes in redis.conf",
    )


def check_confirmation(info: Info, wanted: Durability) -> Finding | None:
    """Check that the server can confirm the pool's durability, or each submit is refused; None: nothing to confirm."""
    if wanted is Durability.LOCAL:
        return None
    problem = ""
    if wanted is Durability.FSYNC and info.get("aof_enabled") in {0, "0"}:
        problem = "the append-only file is off"
    if wanted is Durability.REPLICA and info.get("connected_slaves") in {0, "0"} and not _is_cluster(info):
        problem = "no replica is connected"
    setting = f"spec.queue.durability is {wanted.value.capitalize()}"
    if not problem:
        return fine("confirmation", setting)
    return failure(
        "confirmation",
        f"{setting}, and {problem}: every submit without its own durability is refused",
        f"{REMEDIES[wanted]}; or set spec.queue.durability to Local",
    )


def check_eviction(info: Info) -> Finding:
    """Check the eviction policy: an evicting Redis drops jobs when full."""
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        return fine("eviction", policy)
    if policy == "unknown":
        return note("eviction", "the server does not report its policy", "set maxmemory-policy noeviction")
    if policy.startswith("volatile") or not int(info.get("maxmemory", 0)):
        return warning("eviction", f"{policy} may drop results early", "CONFIG SET maxmemory-policy noeviction")
    return failure("eviction", f"{policy} would drop jobs", "CONFIG SET maxmemory-policy noeviction")


def check_memory(info: Info) -> Finding | None:
    """Check the memory use; None without a limit."""
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if not limit:
        return None
    found = f"{used / limit:.0%} of {info.get('maxmemory_human', limit)} used"
    if used >= limit * FULL_SHARE:
        return warning("memory", found, "raise maxmemory, or shorten spec.queue.retentionSeconds")
    return fine("memory", found)


def check_clients(info: Info) -> Finding | None:
    """Check the connections; None if the limit is unknown."""
    limit, connected = int(info.get("maxclients", 0)), int(info.get("connected_clients", 0))
    if not limit:
        return None
    found = f"{connected} of {limit}"
    if connected >= limit * FULL_SHARE:
        return warning("connections", found, "raise maxclients; each worker has several connections")
    return fine("connections", found)


async def check_permissions(redis: RedisClient, pool: PoolRef | None) -> Finding:
    """Check the user's permissions for submitters and workers, on the pool's keys if a pool is named."""
    key = f"{Keys(pool or PROBE_POOL).prefix}probe:{uuid.uuid4().hex}"
    try:
        with Asking("probe"):
            await redis.eval(PROBE, 1, key)
            await redis.execute_command("PUBLISH", pressure_of((pool or PROBE_POOL).namespace), str(PROBE_POOL))
    except QueueError as error:
        with contextlib.suppress(QueueError), Asking("probe"):
            await redis.delete(key)  # the script ended halfway
        found = (
            f"this user lacks permissions of submitters and workers (operators and readers need none): {error.detail}"
        )
        named = "" if pool else "if the user serves a single namespace or pool, name the pool with --pool"
        return failure("permissions", found, "; ".join(filter(None, (error.remedy, named))))
    return fine("permissions", "scripts, streams and pub/sub are allowed")


async def check_clock(redis: RedisClient) -> Finding:
    """Compare this machine's clock with that of Redis, allowing for half the round trip."""
    begun = time.time()
    try:
        with Asking("time"):
            seconds, micros = await redis.time()
    except QueueError as error:
        return note("clock", f"Redis does not report its time ({error.detail})")
    ended = time.time()
    skew_ms = abs((begun + ended) / 2 - (seconds + micros / 1_000_000)) * 1_000
    found = f"{skew_ms:.0f} ms from Redis, round trip {(ended - begun) * 1_000:.1f} ms"
    if skew_ms > SKEW_WARNING_MS:
        return warning("clock", found, "run NTP on both machines; ages in the output are wrong by this difference")
    return fine("clock", found)


async def _durability_of(redis: RedisClient, pool: PoolRef | None) -> Durability:
    """Return the durability of a submit without a choice; local without a pool, or if the user may not ask."""
    if pool is None:
        return Durability.LOCAL
    try:
        found = await ask(redis, "HGET", Keys(pool).conf, "durability")
    except QueueError:
        return Durability.LOCAL
    return stored_durability(found)


async def _info(redis: RedisClient) -> Info:
    """Return INFO; of a single node for a cluster. {} if the user may not ask."""
    try:
        with Asking("info"):
            info = await redis.execute_command("INFO")
        with Reading("info"):
            if "redis_version" in info:
                return dict(info)
            return next((node for node in info.values() if isinstance(node, dict)), {})
    except QueueError:
        return {}


def _is_cluster(info: Info) -> bool:
    """Return whether INFO is that of any node of a cluster, perhaps not of the pool's."""
    return info.get("cluster_enabled") in {1, "1"}


def _server(info: Info, version: str) -> str:
    if info.get("server_name") == "valkey":
        return f"Valkey {info.get('valkey_version')} (Redis {version})"
    return f"Redis {version}"
