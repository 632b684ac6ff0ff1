"""The review resources: TokenReview and the access reviews. None of them is stored."""

from __future__ import annotations

from typing import Any

from agentpool_devcluster.api.access.rules import Attempt, Verdict, decide, rules_of
from agentpool_devcluster.api.access.tokens import Tokens, User, service_account
from agentpool_devcluster.api.errors import bad_request
from agentpool_devcluster.api.objects import Json, dig, timestamp, uid_of
from agentpool_devcluster.api.registry import Resource
from agentpool_devcluster.api.store import Store, Stored

_GROUPS = ("authentication.k8s.io", "authorization.k8s.io")
_DEFAULT_TOKEN_SECONDS = 3600


def is_review(resource: Resource) -> bool:
    """Return whether a resource is answered rather than stored."""
    return resource.group in _GROUPS


def review(store: Store, tokens: Tokens, user: User, resource: Resource, *, namespace: str, body: Any) -> Json:
    """Answer a review. Raises a 400 refusal if the question is malformed."""
    if not isinstance(body, dict):
        raise bad_request(f"expected a {resource.kind} object")
    spec = _spec_of(body)
    if resource.kind == "TokenReview":
        status = _token_status(*tokens.review(str(spec.get("token") or ""), _audiences(spec)))
    elif resource.kind == "SelfSubjectReview":
        status = {"userInfo": _user_info(user)}
    elif resource.kind == "SelfSubjectRulesReview":
        status = _rules_status(store, user, str(spec.get("namespace") or ""))
    else:
        asked = user if resource.kind == "SelfSubjectAccessReview" else _subject(spec)
        status = _access_status(decide(store, asked, _attempt(spec, namespace)))
    answer = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": body.get("metadata") or {}}
    return {**answer, "spec": spec, "status": status}


def _spec_of(body: Json) -> Json:
    spec = body.get("spec") or {}
    if not isinstance(spec, dict):
        raise bad_request(f"spec must be an object, not {type(spec).__name__}")
    return spec


def _user_info(user: User) -> Json:
    info: Json = {"username": user.name, "groups": list(user.groups)}
    return {**info, "uid": user.uid} if user.uid else info


def _audiences(spec: Json) -> list[str]:
    found = spec.get("audiences") or []
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise bad_request("spec.audiences must be a list of names")
    return found


def _token_status(user: User | None, audiences: list[str]) -> Json:
    if user is None:
        return {"authenticated": False, "error": "the token is unknown, has expired or is for other audiences"}
    return {"authenticated": True, "user": _user_info(user), "audiences": audiences}


def _subject(spec: Json) -> User:
    name, groups = str(spec.get("user") or ""), spec.get("groups") or []
    if not isinstance(groups, list):
        raise bad_request("spec.groups must be a list of names")
    if not name and not groups:
        raise bad_request("spec.user or spec.groups must be given")
    return User(name=name, groups=tuple(map(str, groups)))


def _attempt(spec: Json, namespace: str) -> Attempt:
    asked, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if isinstance(path, dict):
        return Attempt(verb=str(path.get("verb") or ""), path=str(path.get("path") or ""))
    if not isinstance(asked, dict):
        raise bad_request("exactly one of spec.resourceAttributes and spec.nonResourceAttributes must be given")
    return Attempt(
        verb=str(asked.get("verb") or ""),
        group=str(asked.get("group") or ""),
        resource=str(asked.get("resource") or ""),
        subresource=str(asked.get("subresource") or ""),
        namespace=str(asked.get("namespace") or namespace),
        name=str(asked.get("name") or ""),
    )


def _access_status(verdict: Verdict) -> Json:
    return {"allowed": verdict.allowed, **({"reason": verdict.reason} if verdict.reason else {})}


def _rules_status(store: Store, user: User, namespace: str) -> Json:
    rules = [rule for _, rule in rules_of(store, user, namespace)]
    if user.is_master:
        rules = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]}]
    return {
        "incomplete": False,
        "resourceRules": [rule for rule in rules if "resources" in rule],
        "nonResourceRules": [rule for rule in rules if "nonResourceURLs" in rule],
    }


def request_token(tokens: Tokens, namespace: str, account: Stored, body: Any) -> Json:
    """Answer a TokenRequest for a service account."""
    name = str(dig(account.body, "metadata", "name"))
    asked = dig(body, "spec", "expirationSeconds")
    lifetime_s = asked if isinstance(asked, int) and asked > 0 else _DEFAULT_TOKEN_SECONDS
    token = tokens.issue(
        service_account(namespace, name, uid_of(account.body)),
        lifetime_s=lifetime_s,
        audiences=_audiences(_spec_of(body or {})),
    )
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": timestamp()},
        "spec": {**_spec_of(body or {}), "expirationSeconds": lifetime_s},
        "status": {"token": token, "expirationTimestamp": _later(lifetime_s)},
    }


def _later(seconds: int) -> str:
    from datetime import UTC, datetime, timedelta

    return timestamp(datetime.now(UTC) + timedelta(seconds=seconds))
