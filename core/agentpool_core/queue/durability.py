"""Wait until submitted jobs are on the primary's disk, or on a replica.

The server's log and its replication are ordered, so the confirmation of a write covers all writes before it. `confirm`
therefore writes once more, on the connection that waits, and checks that the jobs are there: a failover between the
submit and the confirmation may have lost them. `Producer` calls it after a submit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError, ResponseError

from agentpool_core.errors import NotDurableError, QueueError, SettingError
from agentpool_core.jobs import Durability
from agentpool_core.queue import scripts
from agentpool_core.queue.codec.slices import slices
from agentpool_core.queue.connection.client import is_cluster, pipeline
from agentpool_core.queue.connection.error_translation import Asking, Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentpool_core.jobs import Receipt
    from agentpool_core.queue.connection.client import RedisClient

LONGEST_WAIT_MS = 5_000
IDS_A_CALL = 500  # bounds the time of the script
_WAITS = {Durability.FSYNC: ("WAITAOF", 1, 0), Durability.REPLICA: ("WAIT", 1)}  # and the time limit
_REMEDIES = {
    Durability.FSYNC: "set appendonly yes and appendfsync always or everysec, on Redis 7.2 or later or Valkey",
    Durability.REPLICA: "check that a replica is connected",
}


def check(redis: RedisClient, durability: Durability) -> None:
    """Refuse a durability that the server cannot confirm, before anything is submitted. Raises SettingError."""
    if durability is not Durability.LOCAL and is_cluster(redis):
        raise SettingError(
            field="durability",
            value=durability.value,
            problem="Redis Cluster may answer from a different connection than the one that wrote",
            remedy="submit with durability local, and set min-replicas-to-write on the cluster's nodes",
        )


async def confirm(redis: RedisClient, conf: str, receipts: Sequence[Receipt], durability: Durability) -> None:
    """Wait for at most `LONGEST_WAIT_MS` until the jobs of the receipts are durable.

    Raises NotDurableError with the receipts as `accepted`: the jobs are submitted, but a failure may lose them.
    """
    if durability is Durability.LOCAL or not receipts:
        return
    ids = [receipt.job_id for receipt in receipts]
    first, *rest = slices([len(job_id) for job_id in ids], most=IDS_A_CALL)
    try:
        missing, confirmed = await _ask(redis, conf, ids[slice(*first)], durability)
        for cut in rest:  # one wait covers all; checked after it, because a failover may come in between
            missing += await scripts.CONFIRM.run(redis, conf, ids[slice(*cut)])
    except QueueError as error:
        raise _not_durable(receipts, durability, error.detail) from error
    if missing:
        raise _not_durable(receipts, durability, f"a failover lost {missing} of them")
    if not confirmed:
        where = "a replica" if durability is Durability.REPLICA else "the disk"
        raise _not_durable(receipts, durability, f"{where} did not confirm within {LONGEST_WAIT_MS / 1000:g} s")


async def _ask(redis: RedisClient, conf: str, ids: Sequence[str], durability: Durability) -> tuple[int, bool]:
    """Return how many jobs are missing, and whether the rest is durable. Raises QueueError."""
    wait = (*_WAITS[durability], LONGEST_WAIT_MS)
    with Asking("confirm"):
        written, waited = await pipeline(redis, ("EVALSHA", scripts.CONFIRM.sha, 1, conf, *ids), wait)
        if isinstance(written, NoScriptError):
            written, waited = await pipeline(redis, ("EVAL", scripts.CONFIRM.source, 1, conf, *ids), wait)
        for reply in (written, waited):
            if isinstance(reply, ResponseError):
                raise reply
    with Reading("confirm"):
        return int(written), _count(waited) >= 1


def _count(waited: Any) -> int:
    """Return the number of confirmations: WAITAOF counts the primary's disk and the replicas' disks."""
    return int(waited[0] if isinstance(waited, list) else waited)


def _not_durable(receipts: Sequence[Receipt], durability: Durability, problem: str) -> NotDurableError:
    return NotDurableError(durability.value, problem, receipts, remedy=_REMEDIES[durability])
