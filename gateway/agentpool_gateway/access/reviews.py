"""Kubernetes decides: TokenReview says who the caller is, SubjectAccessReview whether RBAC lets them.

So a ServiceAccount's own token is all that a job's submitter needs, and `kubectl create role` says where it may
submit. Answers hold for `review_cache_s`; the cache is keyed by a digest, so that no token stays in memory.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from typing import Any

from agentpool import api_paths
from agentpool.cluster import Cluster
from agentpool.jobs import PoolRef
from agentpool.spec import GROUP, PLURAL
from agentpool_gateway.access.authority import Caller, Verb, forbidden, unauthenticated

MOST_ANSWERS = 10_000
# verb and subresource of agentpools.agentpool.dev that RBAC is asked for
_RBAC = {
    Verb.READ: ("get", ""),
    Verb.SUBMIT: ("create", "jobs"),
    Verb.MANAGE: ("delete", "jobs"),
    Verb.CONFIGURE: ("patch", ""),
}


class KubernetesReviews:
    """An Authority that asks the API server."""

    def __init__(self, cluster: Cluster, *, cache_s: float, audiences: tuple[str, ...] = ()) -> None:
        self._cluster = cluster
        self._cache_s = cache_s
        self._audiences = audiences
        self._answers: OrderedDict[tuple[str, ...], tuple[float, Any]] = OrderedDict()

    async def caller(self, token: str | None) -> Caller:
        """The user whom the API server knows by the token."""
        if not token:
            raise unauthenticated("no token was sent")
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        found = self._kept(("token", digest))
        if found is None:
            found = await self._review_token(token)
            self._keep(("token", digest), found)
        if not found.get("authenticated"):
            raise unauthenticated("the API server does not know the token, or it has expired")
        user = found.get("user") or {}
        return Caller(name=str(user.get("username")), key=json.dumps(user, sort_keys=True))

    async def check(self, caller: Caller, verb: Verb, pool: PoolRef) -> None:
        """Whether RBAC lets the user do it to this AgentPool."""
        question = ("access", caller.key, verb.value, str(pool))
        allowed = self._kept(question)
        if allowed is None:
            allowed = await self._review_access(json.loads(caller.key), verb, pool)
            self._keep(question, allowed)
        if not allowed:
            raise forbidden(caller, verb, pool)

    async def close(self) -> None:
        """The connection belongs to who opened it."""

    async def _review_token(self, token: str) -> dict[str, Any]:
        spec: dict[str, Any] = {"token": token}
        if self._audiences:
            spec["audiences"] = list(self._audiences)
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        answer = await self._cluster.post(api_paths.resource("authentication.k8s.io/v1", "tokenreviews"), body)
        return dict(answer.get("status") or {})

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
        answer = await self._cluster.post(api_paths.resource("authorization.k8s.io/v1", "subjectaccessreviews"), body)
        return bool((answer.get("status") or {}).get("allowed"))

    def _kept(self, question: tuple[str, ...]) -> Any:
        """An answer that still holds; None: ask."""
        found = self._answers.get(question)
        return found[1] if found and found[0] > time.monotonic() else None

    def _keep(self, question: tuple[str, ...], answer: Any) -> None:
        self._answers[question] = (time.monotonic() + self._cache_s, answer)
        self._answers.move_to_end(question)
        while len(self._answers) > MOST_ANSWERS:
            self._answers.popitem(last=False)
