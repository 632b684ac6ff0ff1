"""Authorization by Kubernetes: TokenReview identifies the caller, SubjectAccessReview asks RBAC.

So a ServiceAccount's own token suffices for submitting jobs, and `kubectl create role` grants it. Answers hold for
`cache_s`; the caches are keyed by a digest of the token. Refusals have caches of their own, so that made-up tokens and
pools displace no valid answer. Refused reviews are limited for each client address, and concurrent reviews in total.
A token that was good within `PROVEN_SECONDS` is exempt: many callers may share an address with a guessing client.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

from agentpool_core.errors import ClusterError
from agentpool_core.jobs import PoolRef
from agentpool_core.kube import paths
from agentpool_core.kube.client import Cluster
from agentpool_core.spec import GROUP, PLURAL
from agentpool_gateway.access.authority import Caller, Verb, forbidden, unauthenticated
from agentpool_gateway.access.expiring_cache import ExpiringCache
from agentpool_gateway.access.rate import ReviewLimit

MOST_ANSWERS = 10_000  # of each kind
PROVEN_SECONDS = 3_600.0  # the usual lifetime of a ServiceAccount's token
REVIEWS_AT_ONCE = 32  # concurrent token reviews: the API server has further callers
# verb and subresource of agentpools.agentpool.dev that RBAC is asked for
_RBAC = {
    Verb.READ: ("get", ""),
    Verb.SUBMIT: ("create", "jobs"),
    Verb.MANAGE: ("delete", "jobs"),
    Verb.CONFIGURE: ("patch", ""),
}


class KubernetesReviews:
    """An Authority that asks the API server."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        cache_s: float,
        audiences: tuple[str, ...] = (),
        limit: ReviewLimit | None = None,
    ) -> None:
        self._cluster = cluster
        self._audiences = audiences
        self._limit = limit or ReviewLimit()
        self._users: ExpiringCache[dict[str, Any]] = ExpiringCache(seconds=cache_s, most=MOST_ANSWERS)
        self._proven: ExpiringCache[bool] = ExpiringCache(seconds=PROVEN_SECONDS, most=MOST_ANSWERS)
        self._unknown: ExpiringCache[bool] = ExpiringCache(seconds=cache_s, most=MOST_ANSWERS)
        self._allowed: ExpiringCache[bool] = ExpiringCache(seconds=cache_s, most=MOST_ANSWERS)
        self._denied: ExpiringCache[bool] = ExpiringCache(seconds=cache_s, most=MOST_ANSWERS)
        self._slots = asyncio.Semaphore(REVIEWS_AT_ONCE)

    async def caller(self, token: str | None, *, client: str = "") -> Caller:
        """Return the user that the API server knows by the token."""
        if not token:
            raise unauthenticated("no token was sent")
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        user = self._users.get(digest)
        if user is None and not self._unknown.get(digest):
            user = await self._review(token, digest, client)
        if user is None:
            raise unauthenticated("the API server rejects the token: unknown, expired, or for different audiences")
        return Caller(name=str(user["username"]), key=json.dumps(user, sort_keys=True))

    async def check(self, caller: Caller, verb: Verb, pool: PoolRef) -> None:
        """Check that RBAC lets the user act on this AgentPool."""
        question = (caller.key, verb, pool)
        if self._allowed.get(question):
            return
        if not self._denied.get(question):
            allowed = await self._review_access(json.loads(caller.key), verb, pool)
            (self._allowed if allowed else self._denied).keep(question, True)
            if allowed:
                return
        raise forbidden(caller, verb, pool)

    async def close(self) -> None:
        """Do nothing: the connection is closed by its owner."""

    async def _review(self, token: str, digest: str, client: str) -> dict[str, Any] | None:
        """Return the token's user; None: refused. Raises ProblemError (429) for a client with too many refusals."""
        limited = not self._proven.get(digest)
        if limited:
            self._limit.take(client)
        counts = False
        try:
            async with self._slots:
                user = self._users.get(digest)  # a concurrent request may have stored it
                if user is None and not self._unknown.get(digest):
                    user = _user_of(await self._ask(token), self._audiences)
                    counts = user is None
                    if user is None:
                        self._unknown.keep(digest, True)
                    else:
                        self._users.keep(digest, user)
                        self._proven.keep(digest, True)
                return user
        finally:
            if limited and not counts:
                self._limit.refund(client)

    async def _ask(self, token: str) -> dict[str, Any]:
        spec: dict[str, Any] = {"token": token}
        if self._audiences:
            spec["audiences"] = list(self._audiences)
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        answer = await self._cluster.create(paths.resource("authentication.k8s.io/v1", "tokenreviews"), body)
        return _status_of(answer)

    async def _review_access(self, user: dict[str, Any], verb: Verb, pool: PoolRef) -> bool:
        rbac_verb, subresource = _RBAC[verb]
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user.get("username"),
                "uid": user.get("uid", ""),
                "groups": user.get("groups") or [],
                "extra": user.get("extra") or {},
                "resourceAttributes": {
                    "group": GROUP,
                    "resource": PLURAL,
                    "subresource": subresource,
                    "verb": rbac_verb,
                    "namespace": pool.namespace,
                    "name": pool.name,
                },
            },
        }
        answer = await self._cluster.create(paths.resource("authorization.k8s.io/v1", "subjectaccessreviews"), body)
        status = _status_of(answer)
        return status.get("allowed") is True and not status.get("denied")


def _status_of(answer: Any) -> dict[str, Any]:
    """Return the status of a review. Raises ClusterError for an answer that is no review."""
    status = (answer.get("status") or {}) if isinstance(answer, dict) else None
    if not isinstance(status, dict):
        raise ClusterError("the API server's answer is not a review", remedy="check the server behind this address")
    return status


def _user_of(status: dict[str, Any], audiences: tuple[str, ...]) -> dict[str, Any] | None:
    """Return the user in a TokenReview's status; None if the token is not valid here.

    An API server without audience support answers without audiences, and would accept tokens for other services:
    https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/
    """
    if status.get("authenticated") is not True:
        return None
    confirmed = status.get("audiences")
    if audiences and not (isinstance(confirmed, list) and any(audience in confirmed for audience in audiences)):
        return None
    user = status.get("user")
    named = isinstance(user, dict) and isinstance(user.get("username"), str) and user["username"]
    return user if named else None
