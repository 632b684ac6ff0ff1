"""Failures of the parts behind the gateway: which part failed, with which status, and when to send the request again.

A transient failure is a 503 with a short `Retry-After`. A failure that the owner of the pool or of the gateway has to
end is a 503 with a long `Retry-After`, or a 502 if the Kubernetes API refuses the gateway. No text contains an address
or a message of a server: the log has these. `problems` makes the document.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from agentpool_core.errors import (
    AgentPoolError,
    ClusterError,
    ClusterUnreachableError,
    QueueError,
    QueueUnreachableError,
    SubmitUnknownError,
)
from agentpool_core.kube.errors import ClusterRefusalError
from agentpool_core.redis_address import AddressError, without_address

RETRY_SECONDS = 1  # for a transient failure
RETRY_OWNER_SECONDS = 30  # for a failure that a person has to end
REDIS = "queue-unavailable"
CLUSTER = "cluster-unavailable"
CLUSTER_REFUSED = "cluster-refused"
AGAIN = "send the request again after the seconds of Retry-After"
NOT_EXECUTED = f"the gateway did not execute the request; {AGAIN}"
PERHAPS_SUBMITTED = (
    "the queue may have kept the job; send the request again with the same Idempotency-Key or job id, "
    "after the seconds of Retry-After"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outage:
    """A failure of Redis or of the Kubernetes API, in the form of a problem document."""

    name: str  # of the problem's type
    detail: str  # names the part that failed
    remedy: str
    status: HTTPStatus = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after_seconds: int = RETRY_SECONDS


def outage_of(error: AgentPoolError, *, executed: bool) -> Outage | None:
    """Return the outage that an error stands for; None if no part behind the gateway failed.

    `executed`: whether the request's handler has begun, so that the effect may be unknown.
    """
    again = AGAIN if executed else NOT_EXECUTED
    if isinstance(error, AddressError):
        return _unusable_address()
    if isinstance(error, QueueUnreachableError):
        remedy = PERHAPS_SUBMITTED if isinstance(error, SubmitUnknownError) else again
        return Outage(name=REDIS, detail="the Redis of the pool is unreachable", remedy=remedy)
    if isinstance(error, QueueError):
        return _unusable_redis(error)
    if isinstance(error, ClusterError):
        return _cluster(error, again)
    return None


def _unusable_address() -> Outage:
    return Outage(
        name=REDIS,
        detail="the AgentPool names no Redis that can be used",
        remedy="ask the owner of the AgentPool to correct spec.queue.redis; its conditions name the problem",
        retry_after_seconds=RETRY_OWNER_SECONDS,
    )


def _unusable_redis(error: QueueError) -> Outage:
    known = without_address(error)
    return Outage(
        name=REDIS,
        detail=f"the Redis of the pool cannot be used: {known.detail}",
        remedy=f"for the owner of the pool: {known.remedy}",
        retry_after_seconds=RETRY_OWNER_SECONDS,
    )


def _cluster(error: ClusterError, again: str) -> Outage:
    if isinstance(error, ClusterUnreachableError):
        return Outage(name=CLUSTER, detail="the Kubernetes API is unreachable", remedy=again)
    detail, to_check = "the Kubernetes API sent an answer that cannot be used", "its kubeconfig"
    if isinstance(error, ClusterRefusalError):
        if error.passing:
            detail = f"the Kubernetes API cannot serve at the moment (status {error.status})"
            return Outage(name=CLUSTER, detail=detail, remedy=again)
        detail = f"the Kubernetes API refuses the gateway (status {error.status})"
        to_check = "the rights of its ServiceAccount"
    return Outage(
        status=HTTPStatus.BAD_GATEWAY,
        name=CLUSTER_REFUSED,
        detail=detail,
        remedy=f"ask the owner of the gateway to check {to_check}; the log of the gateway has the answer",
        retry_after_seconds=RETRY_OWNER_SECONDS,
    )
